"""A real Redis with each wrong setting really set: what is found, and what is to be done."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from doctor.finding import Finding
from doctor.redis_server import Expected, server_findings
from doctor.store import safety, transport
from service.settings import Settings
from tests.conftest import ANSWER_WITHIN_S, RedisServer

EXPECTED = Expected("here", room_bytes=1_000_000, row_cache=True)


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Of a Redis that keeps no files, as the tests start it."""
    with redis.Redis(port=redis_server.port, decode_responses=True) as opened:
        yield opened
        # A child that rewrites the log outlives its server, and writes into a folder that is gone.
        give_up = time.monotonic() + ANSWER_WITHIN_S
        while _rewrites_its_log(opened):
            assert time.monotonic() < give_up, "the log is still rewritten"
            time.sleep(0.02)


def _rewrites_its_log(client: redis.Redis) -> bool:
    state = client.info("persistence")
    assert isinstance(state, dict)
    return bool(state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"])


def found(client: redis.Redis, check: str, expected: Expected = EXPECTED) -> Finding:
    """What one check says."""
    (finding,) = [f for f in server_findings(client, expected) if f.check == f"{check} of here"]
    assert bool(finding.to_do) == (finding.verdict != "fine")
    return finding


def test_a_server_as_it_should_be(client: redis.Redis) -> None:
    client.config_set("appendonly", "yes")
    client.config_set("maxmemory", "100mb")
    verdicts = {f.check: f.verdict for f in server_findings(client, EXPECTED)}
    assert set(verdicts.values()) == {"fine"}, verdicts


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [("noeviction", "fine"), ("allkeys-lru", "change"), ("volatile-ttl", "note")],
)
def test_the_eviction_policy(client: redis.Redis, policy: str, verdict: str) -> None:
    client.config_set("maxmemory-policy", policy)
    finding = found(client, "eviction")
    assert (finding.verdict, finding.found) == (verdict, policy)
    if verdict != "fine":
        assert "CONFIG SET maxmemory-policy noeviction" in finding.to_do


def test_no_file_and_a_file_each(client: redis.Redis) -> None:
    assert found(client, "persistence").verdict == "change"
    client.config_set("save", "3600 1")
    assert found(client, "persistence").verdict == "fine"
    client.config_set("save", "")
    client.config_set("appendonly", "yes")
    assert found(client, "persistence").verdict == "fine"


def test_a_snapshot_that_could_not_be_written(
    client: redis.Redis, redis_server: RedisServer
) -> None:
    folder = Path(str(client.config_get("dir")["dir"]))
    (folder / "dump.rdb").mkdir()  # nothing can be renamed to it
    client.set("a", "b")
    client.bgsave()
    give_up = time.monotonic() + 60
    while client.info("persistence")["rdb_bgsave_in_progress"]:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    finding = found(client, "files")
    assert (finding.verdict, finding.found) == ("change", "rdb_last_bgsave_status:err")
    (folder / "dump.rdb").rmdir()


def test_memory_left_and_no_limit(client: redis.Redis) -> None:
    unlimited = found(client, "memory")
    assert unlimited.verdict == "note"
    assert unlimited.found.endswith("no maxmemory")
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 500_000)
    finding = found(client, "memory")
    assert finding.verdict == "change"
    assert "winnow sets gc" in finding.to_do


@pytest.mark.parametrize(("row_cache", "verdict"), [(True, "change"), (False, "note")])
def test_a_user_who_may_not_track(
    client: redis.Redis, redis_server: RedisServer, row_cache: bool, verdict: str
) -> None:
    client.acl_setuser("reader", enabled=True, passwords=["+pw"], keys=["*"], categories=["+@all"])
    client.execute_command("ACL SETUSER reader -client|tracking")  # type: ignore[no-untyped-call]
    with _as_reader(redis_server) as reader:
        finding = found(reader, "tracking", Expected("here", 0, row_cache))
    assert finding.verdict == verdict
    assert "refused: " in finding.found
    assert "+client|tracking" in finding.to_do


def test_what_a_user_may_not_ask_is_a_note(client: redis.Redis, redis_server: RedisServer) -> None:
    client.acl_setuser("reader", enabled=True, passwords=["+pw"], keys=["*"], categories=["+@all"])
    client.execute_command("ACL SETUSER reader -info -config -time")  # type: ignore[no-untyped-call]
    with _as_reader(redis_server) as reader:
        findings = {f.check: f for f in server_findings(reader, EXPECTED)}
    asked = {"tracking of here"}
    assert {check for check, f in findings.items() if f.verdict == "fine"} == asked
    assert {f.verdict for check, f in findings.items() if check not in asked} == {"note"}
    assert "may not run TIME" in findings["clock of here"].found


@pytest.mark.parametrize(
    ("ahead_s", "verdict"), [(0.0, "fine"), (90.0, "change"), (-5.0, "change")]
)
def test_the_clock(client: redis.Redis, ahead_s: float, verdict: str) -> None:
    findings = server_findings(client, EXPECTED, now=lambda: time.time() - ahead_s)
    (clock,) = [finding for finding in findings if finding.check == "clock of here"]
    assert clock.verdict == verdict
    if verdict == "change":
        assert ("ahead" in clock.found) == (ahead_s > 0)


@pytest.mark.parametrize(
    ("url", "verdict", "lacking"),
    [
        ("redis://127.0.0.1:6379/0", "fine", ""),
        ("unix:///run/redis.sock", "fine", ""),
        ("redis://redis.example:6379/0", "note", "without TLS and a login"),
        ("redis://user:secret@redis.example:6379/0", "note", "without TLS,"),
        ("rediss://redis.example:6379/0", "note", "without a login,"),
        ("rediss://user:secret@redis.example:6379/0", "fine", ""),
    ],
)
def test_login_and_encryption(url: str, verdict: str, lacking: str) -> None:
    finding = transport(url)
    assert finding.verdict == verdict
    assert lacking in finding.to_do
    assert "secret" not in str(finding)


def test_every_master_of_a_cluster_is_asked(redis_cluster_url: str) -> None:
    findings = safety(Settings(store=redis_cluster_url), {})
    places = redis_cluster_url.removeprefix("redis+cluster://").rstrip("/").split(",")
    lost = {f.check for f in findings if f.verdict == "change"}
    assert lost == {f"persistence of {place}" for place in places}
    tracking = {f.check: f.verdict for f in findings if f.check.startswith("tracking")}
    assert tracking == {f"tracking of {place}": "fine" for place in places}


def _as_reader(server: RedisServer) -> redis.Redis:
    return redis.Redis(port=server.port, username="reader", password="pw", decode_responses=True)
