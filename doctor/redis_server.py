"""One Redis server: whether rows are safe there, fit, and are heard of when they change."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import redis

from doctor.finding import Finding, Verdict, judged, megabytes

TRACKING_SINCE: Final = 6  # major version with CLIENT TRACKING and RESP3
MOST_CLOCK_DIFFERENCE_S: Final = 1.0
DURABLE: Final = "appendonly yes, or points of save: a restart keeps the rows"
Info = dict[str, Any] | None
"""A section of INFO; None where this user may not ask."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Of one server.

    place: how findings name it
    room_bytes: its part of one more vector set, which an indexer writes beside the live one
    row_cache: whether workers keep rows, and so want to be told of changes
    """

    place: str
    room_bytes: int
    row_cache: bool


def server_findings(
    client: redis.Redis, expected: Expected, now: Callable[[], float] = time.time
) -> list[Finding]:
    """All checks of one server that answers.

    Raises:
        redis.RedisError: it does not answer any more.
    """
    memory = _info(client, "memory")
    return [
        _version(_info(client, "server"), expected),
        _policy(memory, expected),
        _room(memory, expected),
        _persistence(client, expected),
        _last_write(_info(client, "persistence"), expected),
        _tracking(client, expected),
        _clock(client, expected, now),
    ]


def _version(info: Info, expected: Expected) -> Finding:
    check, wanted = f"version of {expected.place}", f"Redis {TRACKING_SINCE} or newer"
    if info is None:
        return _not_asked(check, wanted, "INFO")
    version = str(info["redis_version"])
    return judged(
        "fine" if int(version.partition(".")[0]) >= TRACKING_SINCE else "change",
        check,
        f"Redis {version}",
        wanted,
        "upgrade it: without CLIENT TRACKING every row is read from it for every request",
    )


def _policy(info: Info, expected: Expected) -> Finding:
    check, wanted = f"eviction of {expected.place}", "maxmemory-policy noeviction"
    if info is None:
        return _not_asked(check, wanted, "INFO")
    policy = str(info.get("maxmemory_policy", "noeviction"))
    verdict: Verdict = "note" if policy.startswith("volatile") else "change"
    to_do = "CONFIG SET maxmemory-policy noeviction, and in redis.conf: "
    if verdict == "change":
        to_do += "a row that is evicted is a product without a score"
    else:
        to_do += "rows have no expiry and are safe, but keys of others here are not"
    return judged("fine" if policy == "noeviction" else verdict, check, policy, wanted, to_do)


def _room(info: Info, expected: Expected) -> Finding:
    check = f"memory of {expected.place}"
    wanted = f"{megabytes(expected.room_bytes)} free for one more vector set"
    if info is None:
        return _not_asked(check, wanted, "INFO")
    used, limit = int(info["used_memory"]), int(info.get("maxmemory", 0))
    whole = limit or int(info.get("total_system_memory", 0))
    left = max(0, whole - used)
    found = f"{megabytes(used)} used, {megabytes(left)} left of {megabytes(whole)}"
    if left < expected.room_bytes:
        return Finding(
            check,
            "change",
            found,
            wanted,
            "raise maxmemory or drop old sets (winnow sets gc): the next winnow index won't fit",
        )
    return judged(
        "fine" if limit else "note",
        check,
        found if limit else f"{found}, no maxmemory",
        wanted,
        "set maxmemory: an index that is too large is then refused, and Redis is not killed",
    )


def _persistence(client: redis.Redis, expected: Expected) -> Finding:
    check = f"persistence of {expected.place}"
    try:
        config = {  # one by one: Redis 6 takes one name
            name: cast(dict[str, str], client.config_get(name)).get(name, "")
            for name in ("appendonly", "save")
        }
    except redis.ResponseError:  # no permission, or a managed Redis that has no CONFIG
        return _not_asked(check, DURABLE, "CONFIG GET")
    appends, saves = config["appendonly"] == "yes", config["save"]
    return judged(
        "fine" if appends or saves else "change",
        check,
        f"appendonly {config['appendonly']}, save {saves!r}",
        DURABLE,
        "CONFIG SET appendonly yes, and in redis.conf: else index again after every restart",
    )


def _last_write(info: Info, expected: Expected) -> Finding:
    check, wanted = f"files of {expected.place}", "the last writes of its files succeeded"
    if info is None:
        return _not_asked(check, wanted, "INFO")
    states = {
        name: str(info.get(name, "ok"))
        for name in ("rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status")
    }
    failed = ", ".join(f"{name}:{state}" for name, state in states.items() if state != "ok")
    return judged(
        "change" if failed else "fine",
        check,
        failed or "all succeeded",
        wanted,
        "its log says why: disk full, folder not writable, no memory to fork",
    )


def _tracking(client: redis.Redis, expected: Expected) -> Finding:
    check = f"tracking of {expected.place}"
    refused = ""
    try:
        _try_tracking(client)
    except (redis.ResponseError, redis.ConnectionError) as error:
        refused = str(error)
    return judged(
        "fine" if not refused else "change" if expected.row_cache else "note",
        check,
        f"refused: {refused}" if refused else "CLIENT TRACKING answers",
        "CLIENT TRACKING in RESP3, for the row cache",
        "let the user +client|tracking +hello +ping; until then the row cache stays off",
    )


def _try_tracking(client: redis.Redis) -> None:
    """Switches it on, on a connection that is closed at once."""
    pool = client.connection_pool
    connection = pool.connection_class(**pool.connection_kwargs | {"protocol": 3})
    try:
        connection.connect()
        prefix = ("PREFIX", "winnow-doctor:")
        connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *prefix, "NOLOOP")
        connection.read_response()
    finally:
        connection.disconnect()


def _clock(client: redis.Redis, expected: Expected, now: Callable[[], float]) -> Finding:
    check = f"clock of {expected.place}"
    wanted = f"within {MOST_CLOCK_DIFFERENCE_S:g} s of this machine's"
    before = now()
    try:
        seconds, microseconds = client.time()
    except redis.ResponseError:
        return _not_asked(check, wanted, "TIME")
    after = now()
    ahead = seconds + microseconds / 1e6 - (before + after) / 2
    unsure = (after - before) / 2  # the server's clock was read somewhere in between
    return judged(
        "fine" if abs(ahead) - unsure <= MOST_CLOCK_DIFFERENCE_S else "change",
        check,
        f"{abs(ahead):.3f} s {'ahead' if ahead > 0 else 'behind'}, asked in {after - before:.3f} s",
        wanted,
        "let both follow one time source (chrony): ages of vector sets and their alert are wrong",
    )


def _info(client: redis.Redis, section: str) -> Info:
    try:
        return client.info(section)
    except redis.ResponseError:  # as with CONFIG
        return None


def _not_asked(check: str, wanted: str, command: str) -> Finding:
    to_do = f"let this user run {command} (read only), or look where its owner shows it"
    return Finding(check, "note", f"unknown: this user may not run {command}", wanted, to_do)
