"""Watching rows in a real Redis: what changes arrives, and a watch that does not stand says so."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from redis.crc import key_slot

from vector_store.header import SetHeader
from vector_store.open import open_store
from vector_store.protocol import VectorStore

if TYPE_CHECKING:
    from tests.conftest import RedisCluster, RedisServer

HeaderOf = Callable[..., SetHeader]
RecordsOf = Callable[..., list[bytes]]

TIMEOUT_MS = 20_000
WITHIN_S = 30


class Recorder:
    """A watcher that remembers what it was told, and can be waited for."""

    def __init__(self) -> None:
        self.told: list[str | bytes] = []
        self._changed = threading.Condition()

    def invalidated(self, ids: Sequence[bytes]) -> None:
        self._tell(*ids)

    def lost(self) -> None:
        self._tell("lost")

    def ready(self) -> None:
        self._tell("ready")

    def wait_for(self, what: str | bytes, times: int = 1) -> None:
        with self._changed:
            told = self._changed.wait_for(lambda: self.told.count(what) >= times, WITHIN_S)
            assert told, f"expected {what!r} {times} times, was told {self.told}"

    def _tell(self, *what: str | bytes) -> None:
        with self._changed:
            self.told.extend(what)
            self._changed.notify_all()


@pytest.fixture
def store(redis_server: "RedisServer", header_of: HeaderOf) -> Iterator[VectorStore]:
    opened = open_store(redis_server.url, timeout_ms=TIMEOUT_MS)
    opened.put_header(header_of())
    yield opened
    opened.close()


@pytest.fixture
def admin(redis_server: "RedisServer") -> Iterator[redis.Redis]:
    with redis.Redis(port=redis_server.port) as client:
        yield client


@pytest.fixture
def watcher(store: VectorStore, header_of: HeaderOf) -> Iterator[Recorder]:
    """A recorder that watches the set of `store` and stands."""
    recorder = Recorder()
    watch = store.watch(header_of(), recorder)
    recorder.wait_for("ready")
    yield recorder
    watch.close()


def test_rows_that_are_written_removed_or_expire_are_told(
    store: VectorStore,
    admin: redis.Redis,
    watcher: Recorder,
    header_of: HeaderOf,
    records_of: RecordsOf,
) -> None:
    store.insert(header_of(), ["牛奶", "a:{b}"], records_of(2), b"2")
    watcher.wait_for("牛奶".encode())
    watcher.wait_for(b"a:{b}")
    (key,) = admin.scan_iter("winnow:0123abcd.1:*:a:{b}")
    admin.set(key, "another")
    watcher.wait_for(b"a:{b}", 2)
    admin.pexpire(key, 20)  # told as a write now, and once more when it expires
    watcher.wait_for(b"a:{b}", 4)
    store.drop(header_of())
    watcher.wait_for("牛奶".encode(), 2)
    assert "lost" not in watcher.told


def test_other_keys_are_not_told(
    store: VectorStore, watcher: Recorder, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    for generation in (2, 11):
        store.put_header(header_of(generation))
        store.insert(header_of(generation), ["other"], records_of(1), b"1")
    store.insert(header_of(), ["a"], records_of(1), b"1")
    watcher.wait_for(b"a")
    assert watcher.told == ["ready", b"a"]


@pytest.mark.parametrize("flush", ["FLUSHALL", "FLUSHDB"])
def test_a_flush_clears_everything(admin: redis.Redis, watcher: Recorder, flush: str) -> None:
    admin.execute_command(flush)  # type: ignore[no-untyped-call]
    watcher.wait_for("ready", 2)
    assert watcher.told == ["ready", "lost", "ready"]


def test_a_connection_that_is_killed_is_lost_and_made_again(
    store: VectorStore,
    admin: redis.Redis,
    watcher: Recorder,
    header_of: HeaderOf,
    records_of: RecordsOf,
) -> None:
    (tracking,) = [client for client in admin.client_list() if "t" in client["flags"]]
    admin.client_kill_filter(_id=tracking["id"])
    watcher.wait_for("ready", 2)
    assert watcher.told == ["ready", "lost", "ready"]
    store.insert(header_of(), ["a"], records_of(1), b"1")
    watcher.wait_for(b"a")


def test_a_server_that_is_killed_is_lost_until_it_is_back(
    redis_server: "RedisServer",
    store: VectorStore,
    watcher: Recorder,
    header_of: HeaderOf,
    records_of: RecordsOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    redis_server.stop()
    watcher.wait_for("lost")
    assert watcher.told.count("ready") == 1
    redis_server.start()
    watcher.wait_for("ready", 2)
    store.put_header(header_of())
    store.insert(header_of(), ["a"], records_of(1), b"1")
    watcher.wait_for(b"a")
    assert "go unseen" in caplog.text


def test_a_server_that_is_silent_is_lost(redis_server: "RedisServer", watcher: Recorder) -> None:
    redis_server.freeze()
    watcher.wait_for("lost")
    redis_server.thaw()
    watcher.wait_for("ready", 2)


def test_a_user_who_may_not_track_is_told_once_what_to_allow(
    redis_server: "RedisServer",
    store: VectorStore,
    admin: redis.Redis,
    header_of: HeaderOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    admin.acl_setuser(
        "reader",
        enabled=True,
        passwords=["+pass"],
        keys=["*"],
        commands=["+@read", "+@connection", "-client|tracking"],
    )
    reader = open_store(redis_server.url.replace("//", "//reader:pass@"), timeout_ms=TIMEOUT_MS)
    recorder = Recorder()
    watch = reader.watch(header_of(), recorder)
    recorder.wait_for("lost", 3)
    assert "ready" not in recorder.told
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "refuses tracking" in warnings[0]
    assert "+client|tracking" in warnings[0]
    assert "pass@" not in warnings[0]
    admin.execute_command("ACL SETUSER", "reader", "+client|tracking")  # type: ignore[no-untyped-call]
    recorder.wait_for("ready")
    watch.close()
    reader.close()


@pytest.mark.parametrize("state", ["standing", "connecting", "frozen"])
def test_close_ends_the_thread(
    redis_server: "RedisServer", store: VectorStore, header_of: HeaderOf, state: str
) -> None:
    recorder = Recorder()
    before = threading.active_count()
    if state == "connecting":
        redis_server.stop()
    watch = store.watch(header_of(), recorder)
    recorder.wait_for("lost" if state == "connecting" else "ready")
    if state == "frozen":
        redis_server.freeze()
    assert threading.active_count() == before + 1
    watch.close()
    assert threading.active_count() == before
    told = list(recorder.told)
    watch.close()
    redis_server.stop()
    assert recorder.told == told


@pytest.mark.parametrize("url", ["memory:", "lmdb:{path}"])
def test_a_store_whose_rows_never_change_is_ready_at_once(
    tmp_path: Path, header_of: HeaderOf, records_of: RecordsOf, url: str
) -> None:
    store = open_store(url.format(path=tmp_path / "rows"))
    store.put_header(header_of())
    recorder = Recorder()
    watch = store.watch(header_of(), recorder)
    store.insert(header_of(), ["a"], records_of(1), b"1")
    watch.close()
    watch.close()
    assert recorder.told == ["ready"]
    store.close()


def test_rows_in_every_master_of_a_cluster_are_told(
    redis_cluster: "RedisCluster", header_of: HeaderOf, records_of: RecordsOf
) -> None:
    store = open_store(redis_cluster.url, timeout_ms=TIMEOUT_MS)
    store.put_header(header_of())
    recorder = Recorder()
    watch = store.watch(header_of(), recorder)
    recorder.wait_for("ready")
    ids = [f"product {i}" for i in range(300)]
    store.insert(header_of(), ids, records_of(300), b"1")
    for product_id in ids:
        recorder.wait_for(product_id.encode())
    assert set(recorder.told) == {"ready", *(product_id.encode() for product_id in ids)}
    time.sleep(1.5)  # a ping and its answer: the masters are still the same
    assert "lost" not in recorder.told
    redis_cluster.masters[1].stop()
    recorder.wait_for("lost")
    assert recorder.told.count("ready") == 1
    redis_cluster.masters[1].start()
    recorder.wait_for("ready", 2)
    watch.close()
    store.close()


def test_a_cluster_with_other_masters_is_watched_again(
    redis_cluster: "RedisCluster", header_of: HeaderOf
) -> None:
    replica = redis_cluster.add_replica(redis_cluster.masters[2])
    store = open_store(redis_cluster.url, timeout_ms=TIMEOUT_MS)
    recorder = Recorder()
    watch = store.watch(header_of(), recorder)
    recorder.wait_for("ready")
    with redis.Redis(port=replica.port) as client:
        # The old master lives on: no connection breaks.
        client.execute_command("CLUSTER FAILOVER")
    recorder.wait_for("lost")
    recorder.wait_for("ready", 2)
    with redis.Redis(port=replica.port) as client:
        key = next(
            f"winnow:0123abcd.1:{{{b:03d}}}:new"
            for b in range(256)
            if key_slot(b"{%03d}" % b) > 10923  # the third master's
        )
        client.set(key, "x")
    recorder.wait_for(b"new")
    watch.close()
    store.close()
