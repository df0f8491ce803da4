"""A Redis that misbehaves under a running service: docs/reliability.md is this file in words.

One service for all tests; each breaks its Redis, and leaves it whole.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
import redis

from tests.conftest import RedisServer
from tests.service.conftest import READY_WITHIN_S, Service, index_shop, start
from tests.service.test_bad_requests import problem
from tests.service.test_operation import counter

MODEL = "shop-deepdot"
IDS = ["p0001", "p0002", "p0003"]
LOGIN = "scorer:right"
PAUSED_MS = 8_000  # nothing ends it earlier: Redis holds CLIENT UNPAUSE back too


@dataclass(frozen=True)
class Served:
    """A ready service with one worker, and the Redis that its rows lie in."""

    service: Service
    server: RedisServer
    expected: list[float]

    def admin(self) -> "redis.Redis":
        """The user that may do everything."""
        return redis.Redis(port=self.server.port)

    def wait_until_well(self) -> None:
        """Until it is ready, and scores as before anything broke."""
        self.service.wait_for("/readyz")
        give_up = time.monotonic() + READY_WITHIN_S
        answer = self.service.score("shoes", IDS)
        while not _is_full(answer) and time.monotonic() < give_up:
            time.sleep(0.05)
            answer = self.service.score("shoes", IDS)
        assert answer.json()["scores"] == self.expected


def _is_full(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and bool(answer.json()["coverage"]["full"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Without a row cache, so that every request needs Redis."""
    folder = tmp_path_factory.mktemp("reliability")
    with ExitStack() as stack:
        own = stack.enter_context(TemporaryDirectory(prefix="winnow-redis-"))
        server = RedisServer(Path(own))
        server.start()
        stack.callback(server.stop)
        index_shop(server.url, (MODEL,), folder)
        with redis.Redis(port=server.port) as admin:
            admin.acl_setuser(
                "scorer", enabled=True, passwords=["+right"], keys="*", commands=["+@all"]
            )
        url = server.url.replace("redis://", f"redis://{LOGIN}@")
        settings = {"models": MODEL, "store_refresh_ms": "50", "row_cache_mb": "0"}
        settings["store_timeout_ms"] = "2000"  # a test machine may be slow
        service = start(stack, folder, url, settings)
        service.wait_for("/readyz")
        answer = service.score("shoes", IDS, {"deadline_ms": 20_000}).json()
        assert answer["coverage"]["full"]
        yield Served(service, server, answer["scores"])


def assert_store_down(service: Service) -> None:
    """The one outcome of every Redis that does not answer as it should."""
    problem(service.wait_for("/readyz", 503), 503)
    response = service.score("shoes", IDS, {"deadline_ms": 20_000})
    problem(response, 503)
    assert response.headers["retry-after"] == "1"
    page = service.filter("shoes", IDS, {"threshold": 1.0, "deadline_ms": 20_000}).json()
    assert page["kept"] == IDS
    assert page["passed_through"] is True
    assert page["coverage"]["degraded"] == {"store_error": len(IDS)}
    assert service.client.get("/healthz").status_code == 200
    text = service.client.get("/metrics").text
    assert counter(text, "winnow_store_up") == 0
    assert counter(text, 'winnow_store_failures_total{operation="rows"}') > 0
    assert counter(text, 'winnow_degraded_responses_total{endpoint="/filter",reason="store_error"}')


def test_a_silent_redis(served: Served) -> None:
    served.server.freeze()
    try:
        assert_store_down(served.service)
    finally:
        served.server.thaw()
    served.wait_until_well()


def test_a_redis_that_is_slower_than_the_deadline(served: Served) -> None:
    short: dict[str, object] = {"deadline_ms": 100}
    with served.admin() as admin:
        admin.client_pause(PAUSED_MS)
    answer = served.service.score("shoes", IDS, short).json()
    page = served.service.filter("shoes", IDS, {"threshold": 1.0, **short}).json()
    assert answer["scores"] == [None] * len(IDS)
    assert answer["coverage"]["degraded"] == {"deadline": len(IDS)}
    assert (page["kept"], page["passed_through"]) == (IDS, True)
    served.wait_until_well()


def test_short_deadlines_leave_no_queue_behind_a_silent_redis(served: Served) -> None:
    """A read that nobody waits for any more is not made: well again as soon as Redis is."""
    with served.admin() as admin:
        before = _reads(admin)
        served.server.freeze()
        try:
            with ThreadPoolExecutor(8) as pool:
                hasty: dict[str, object] = {"deadline_ms": 5}
                answers = [*pool.map(lambda _: served.service.score("a", IDS, hasty), range(100))]
        finally:
            served.server.thaw()
        assert {answer.status_code for answer in answers} <= {200, 503}
        served.wait_until_well()
        assert _reads(admin) - before < 50


def _reads(admin: "redis.Redis") -> int:
    """How many times Redis was asked for rows."""
    found: dict[str, dict[str, int]] = admin.info("commandstats")
    return found["cmdstat_mget"]["calls"]


def test_a_redis_that_loads_its_data(served: Served) -> None:
    with served.admin() as admin:
        admin.save()
    served.server.stop()
    served.server.start(
        *("--key-load-delay", "3000", "--loading-process-events-interval-bytes", "1024"),
        *("--user", "scorer", "on", ">right", "~*", "&*", "+@all"),
    )
    assert_store_down(served.service)
    served.wait_until_well()


def test_a_login_that_is_refused(served: Served) -> None:
    with served.admin() as admin:
        admin.acl_setuser("scorer", enabled=True, passwords=["-right", "+changed"])
        admin.client_kill_filter(_type="normal", skipme=True)
        assert_store_down(served.service)
        admin.acl_setuser("scorer", enabled=True, passwords=["+right"])
    served.wait_until_well()


def test_a_user_that_may_no_longer_read(served: Served) -> None:
    with served.admin() as admin:
        admin.acl_setuser("scorer", enabled=True, commands=["-mget"])
        page = served.service.filter("shoes", IDS, {"deadline_ms": 20_000}).json()
        assert page["coverage"]["degraded"] == {"store_error": len(IDS)}
        assert page["kept"] == IDS
        admin.acl_setuser("scorer", enabled=True, commands=["+mget"])
    served.wait_until_well()


def test_a_full_redis_is_read_as_ever(served: Served) -> None:
    with served.admin() as admin:
        admin.config_set("maxmemory", 1)
        try:
            served.wait_until_well()
        finally:
            admin.config_set("maxmemory", 0)


@pytest.mark.parametrize("stale_data", ["yes", "no"])
def test_a_replica_that_has_lost_its_primary(served: Served, stale_data: str) -> None:
    """READONLY stops nobody who reads; MASTERDOWN, where Redis is set to it, is Redis down."""
    with served.admin() as admin:
        admin.config_set("replica-serve-stale-data", stale_data)
        admin.replicaof("127.0.0.1", "1")
        try:
            if stale_data == "yes":
                served.wait_until_well()
            else:
                assert_store_down(served.service)
        finally:
            admin.replicaof("NO", "ONE")
    served.wait_until_well()


def test_a_redis_that_comes_back_empty(served: Served, tmp_path: Path) -> None:
    """Pages pass through as they did while it was down."""
    with served.admin() as admin:
        admin.flushall()
    served.service.wait_for_reason("winnow index")
    problem(served.service.wait_for("/readyz", 503), 503)
    problem(served.service.score("shoes", IDS), 503)
    page = served.service.filter("shoes", IDS).json()
    assert page["kept"] == IDS
    assert page["passed_through"] is True
    assert page["coverage"]["degraded"] == {"store_error": len(IDS)}
    index_shop(served.server.url, (MODEL,), tmp_path)
    served.wait_until_well()


def test_all_of_that_ended_no_process(served: Served) -> None:
    assert served.service.process.poll() is None
    assert "Traceback" not in served.service.log.read_text()
    assert httpx.get(f"{served.service.url}/healthz", timeout=30).status_code == 200
