"""What is particular to a Redis Cluster: one MGET per bucket, slots that move, masters that die."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import pytest
import redis
from redis.crc import key_slot

from vector_store.errors import StoreError, StoreUnavailable
from vector_store.header import SetHeader
from vector_store.ids import ProductIds
from vector_store.keys import RedisKeys
from vector_store.open import open_store
from vector_store.redis_cluster import RedisClusterStore
from vector_store.redis_url import parse_redis_url
from vector_store.rows import CORRUPT, FOUND, MISSING, unpack

if TYPE_CHECKING:
    from tests.conftest import RedisCluster, RedisServer

HeaderOf = Callable[..., SetHeader]
RecordsOf = Callable[..., list[bytes]]

TIMEOUT_MS = 20_000
RECOVERS_WITHIN_S = 30
SEALED = "2024-05-01T11:00:00Z"
IDS = [f"product {i}" for i in range(1500)]
BUCKETS = [crc32(product_id.encode()) % 256 for product_id in IDS]


@pytest.fixture
def store(redis_cluster: "RedisCluster", header_of: HeaderOf) -> Iterator[RedisClusterStore]:
    """A store in a cluster of its own, with one empty set."""
    opened = _open(redis_cluster.url)
    opened.put_header(header_of())
    yield opened
    opened.close()


def _open(url: str, timeout_ms: int = TIMEOUT_MS) -> RedisClusterStore:
    opened = open_store(url, timeout_ms=timeout_ms)
    assert isinstance(opened, RedisClusterStore)
    return opened


def _slot(bucket: int) -> int:
    return key_slot(b"{%03d}" % bucket)


def _fetched(store: RedisClusterStore, header: SetHeader, ids: list[str]) -> list[float]:
    """First value of each row, -1 where there is none; the same through `fetch` and `get`."""
    rows = store.fetch(header, ProductIds.from_strings(ids))
    expected = unpack(store.get(header, ids), header.width)
    np.testing.assert_array_equal(rows.values, expected.values)
    np.testing.assert_array_equal(rows.status, expected.status)
    return [
        float(v) if s == FOUND else -1 for v, s in zip(rows.values[:, 0], rows.status, strict=True)
    ]


def _calls(client: redis.Redis, command: str) -> int:
    stats = client.info("commandstats")
    assert isinstance(stats, dict)
    calls: int = stats.get(f"cmdstat_{command}", {"calls": 0})["calls"]
    return calls


def _errors(client: redis.Redis, kind: str) -> int:
    stats = client.info("errorstats")
    assert isinstance(stats, dict)
    count: int = stats.get(f"errorstat_{kind}", {"count": 0})["count"]
    return count


def _said(client: redis.Redis, *command: str | int) -> Any:
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


class Move:
    """A slot on its way from one master to another, step by step."""

    def __init__(self, cluster: "RedisCluster", slot: int) -> None:
        self._slot = slot
        self._clients = [redis.Redis(port=master.port) for master in cluster.masters]
        self._ids = [_said(client, "CLUSTER MYID").decode() for client in self._clients]
        self._ports = [master.port for master in cluster.masters]
        owners = [i for i, client in enumerate(self._clients) if self._owns(client)]
        self.source, self.target = owners[0], (owners[0] + 1) % 3

    def _owns(self, client: redis.Redis) -> bool:
        try:
            client.exists(f"{{{_tag_of(self._slot)}}}")
        except redis.exceptions.MovedError:
            return False
        return True

    @property
    def source_client(self) -> redis.Redis:
        return self._clients[self.source]

    def begin(self) -> None:
        self._set(self.target, "IMPORTING", self._ids[self.source])
        self._set(self.source, "MIGRATING", self._ids[self.target])

    def migrate(self, keys: list[bytes]) -> None:
        self.source_client.migrate("127.0.0.1", self._ports[self.target], keys, 0, 5000)

    def keys(self) -> list[bytes]:
        return sorted(_said(self.source_client, "CLUSTER GETKEYSINSLOT", self._slot, 10_000))

    def end(self) -> None:
        for i in (self.target, self.source, 3 - self.source - self.target):
            self._set(i, "NODE", self._ids[self.target])

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def _set(self, node: int, state: str, node_id: str) -> None:
        _said(self._clients[node], "CLUSTER SETSLOT", self._slot, state, node_id)


def _tag_of(slot: int) -> str:
    return next(f"{bucket:03d}" for bucket in range(256) if _slot(bucket) == slot)


@pytest.fixture
def move(redis_cluster: "RedisCluster") -> Iterator[Move]:
    """The slot of the bucket with the most of IDS."""
    moving = Move(redis_cluster, _slot(max(set(BUCKETS), key=BUCKETS.count)))
    yield moving
    moving.close()


def test_fetch_asks_one_mget_per_bucket_of_the_node_that_has_it(
    redis_cluster: "RedisCluster",
    store: RedisClusterStore,
    header_of: HeaderOf,
    records_of: RecordsOf,
) -> None:
    header = header_of()
    store.insert(header, IDS, records_of(1500), b"")
    asked = IDS[100:900]
    ids = ProductIds.from_strings(asked)
    store.fetch(header, ids)
    clients = [redis.Redis(port=master.port) for master in redis_cluster.masters]
    before = [_calls(client, "mget") for client in clients]
    rows = store.fetch(header, ids)
    after = [_calls(client, "mget") for client in clients]
    assert rows.values[:, 0].tolist() == list(range(100, 900))
    expected = [0, 0, 0]
    for bucket in set(BUCKETS[100:900]):
        expected[_slot(bucket) * 3 // 16384] += 1
    assert [b - a for a, b in zip(before, after, strict=True)] == expected
    assert min(expected) > 50
    for client in clients:
        client.close()


def test_fetch_is_aligned_and_says_what_is_missing_or_corrupt(
    store: RedisClusterStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.insert(header, IDS, records_of(1500), b"")
    names = RedisKeys("winnow", cluster=True)
    broken = names.rows(header.set_id, 256, [b"product 7", b"product 8"])
    store._client.set(broken[0], b"short")
    store._client.delete(broken[1])
    ids = ["none", "product 7", "product 3", "", "product 8", "x" * 300, "product 3", "\ud800"]
    rows = store.fetch(header, ProductIds.from_strings(ids))
    assert rows.status.tolist() == [
        *(MISSING, CORRUPT, FOUND, MISSING),
        *(MISSING, MISSING, FOUND, MISSING),
    ]
    assert rows.values[:, 0].tolist() == [0, 0, 3, 0, 0, 0, 3, 0]
    assert len(store.fetch(header, ProductIds.from_strings([])).status) == 0


def test_a_slot_that_has_moved_is_found_and_remembered(
    store: RedisClusterStore, move: Move, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.insert(header, IDS, records_of(1500), b"")
    assert _fetched(store, header, IDS) == list(range(1500))
    move.begin()
    move.migrate(move.keys())
    move.end()
    assert store.fetch(header, ProductIds.from_strings(IDS)).values[:, 0].tolist() == list(
        range(1500)
    )
    told = _errors(move.source_client, "MOVED")
    assert told > 0
    assert _fetched(store, header, IDS) == list(range(1500))
    assert _errors(move.source_client, "MOVED") == told


def test_every_call_works_while_a_slot_is_moving(
    store: RedisClusterStore, move: Move, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.insert(header, IDS[:1000], records_of(1000), b"")
    move.begin()
    keys = move.keys()
    assert len(keys) > 2
    move.migrate(keys[: len(keys) // 2])
    expected = [*range(1000), *([-1] * 500)]
    assert _fetched(store, header, IDS) == expected
    assert _errors(move.source_client, "ASK") > 0
    added = store.insert(header, IDS, records_of(1500), b"1500")
    assert added == [False] * 1000 + [True] * 500
    assert _fetched(store, header, IDS) == list(range(1500))
    store.drop(header)
    assert _fetched(store, header, IDS) == [-1] * 1500
    move.end()


def _until_recovered(call: Callable[[], Any]) -> Any:
    give_up = time.monotonic() + RECOVERS_WITHIN_S
    while True:
        try:
            return call()
        except StoreUnavailable:
            assert time.monotonic() < give_up
            time.sleep(0.05)


def test_a_lost_master_is_unavailable_until_it_is_back(
    redis_cluster: "RedisCluster",
    store: RedisClusterStore,
    header_of: HeaderOf,
    records_of: RecordsOf,
) -> None:
    header = header_of()
    store.insert(header, IDS, records_of(1500), b"")
    ids = ProductIds.from_strings(IDS)
    store.fetch(header, ids)
    lost = _without_meta(redis_cluster)
    lost.stop()
    for call in (
        lambda: store.fetch(header, ids),
        lambda: store.get(header, IDS),
        lambda: list(store.scan(header)),
        store.ping,
    ):
        with pytest.raises(StoreUnavailable, match=r"Redis.* at redis\+cluster://"):
            call()
    lost.start()
    redis_cluster.wait_until_ok()
    rows = _until_recovered(lambda: store.fetch(header, ids))
    # It has no disk: what it held is missing, the rows of the other masters are all there.
    assert 700 < (rows.status == FOUND).sum() < 1300


def _without_meta(cluster: "RedisCluster") -> "RedisServer":
    """A master that does not hold the headers of the namespace `winnow`."""
    return cluster.masters[(key_slot(b"{winnow}") * 3 // 16384 + 1) % 3]


def test_rows_come_from_the_replica_once_the_cluster_has_failed_over(
    redis_cluster: "RedisCluster",
    store: RedisClusterStore,
    header_of: HeaderOf,
    records_of: RecordsOf,
) -> None:
    header = header_of()
    store.insert(header, IDS, records_of(1500), b"")
    ids = ProductIds.from_strings(IDS)
    lost = _without_meta(redis_cluster)
    redis_cluster.add_replica(lost)
    store.fetch(header, ids)
    lost.stop()
    with pytest.raises(StoreUnavailable):
        store.fetch(header, ids)
    rows = _until_recovered(lambda: store.fetch(header, ids))
    assert rows.values[:, 0].tolist() == list(range(1500))


def test_a_master_that_does_not_answer_is_a_timeout(
    redis_cluster: "RedisCluster",
    store: RedisClusterStore,
    header_of: HeaderOf,
    records_of: RecordsOf,
) -> None:
    header = header_of()
    store.insert(header, IDS, records_of(1500), b"")
    ids = ProductIds.from_strings(IDS)
    impatient = _open(redis_cluster.url, timeout_ms=50)
    impatient.ping()
    frozen = _without_meta(redis_cluster)
    frozen.freeze()
    with pytest.raises(StoreUnavailable, match="did not answer within 50 ms"):
        impatient.fetch(header, ids)
    frozen.thaw()
    rows = _until_recovered(lambda: impatient.fetch(header, ids))
    assert rows.values[:, 0].tolist() == list(range(1500))
    impatient.close()


def test_a_batch_that_one_full_master_refuses_leaves_nothing(
    redis_cluster: "RedisCluster",
    store: RedisClusterStore,
    header_of: HeaderOf,
    records_of: RecordsOf,
) -> None:
    header = header_of()
    store.insert(header, IDS[:100], records_of(100), b"100")
    with redis.Redis(port=_without_meta(redis_cluster).port) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(StoreError, match="out of memory"):
            store.insert(header, IDS, records_of(1500), b"1500")
        client.config_set("maxmemory", "0")
    assert _fetched(store, header, IDS) == [*range(100), *([-1] * 1400)]
    assert store.progress(header.set_id) == b"100"
    assert store.insert(header, IDS, records_of(1500), b"1500") == [False] * 100 + [True] * 1400


@pytest.mark.parametrize("step", ["insert", "seal"])
def test_what_a_killed_insert_left_is_undone_before_the_next_step(
    redis_cluster: "RedisCluster",
    store: RedisClusterStore,
    header_of: HeaderOf,
    records_of: RecordsOf,
    step: str,
) -> None:
    class Killed(BaseException):
        pass

    class DiesBeforeProgress(RedisClusterStore):
        def _set_absent(self, rows: dict[bytes, bytes]) -> dict[bytes, bool]:
            super()._set_absent(rows)
            raise Killed

    header = header_of()
    store.insert(header, IDS[:100], records_of(100), b"100")
    dying = DiesBeforeProgress(
        parse_redis_url(redis_cluster.url), timeout_ms=TIMEOUT_MS, read_only=False
    )
    with pytest.raises(Killed):
        dying.insert(header, IDS[:200], records_of(200), b"200")
    dying.close()
    assert store.progress(header.set_id) == b"100"
    if step == "insert":
        assert store.insert(header, [], [], b"100") == []
    else:
        store.put_header(header_of(sealed=SEALED))
    assert _fetched(store, header, IDS[:200]) == [*range(100), *([-1] * 100)]


def test_a_batch_that_was_undone_by_another_process_is_refused(
    redis_cluster: "RedisCluster",
    store: RedisClusterStore,
    header_of: HeaderOf,
    records_of: RecordsOf,
) -> None:
    header = header_of()

    class IsOvertaken(RedisClusterStore):
        def _set_absent(self, rows: dict[bytes, bytes]) -> dict[bytes, bool]:
            added = super()._set_absent(rows)
            store.insert(header, [], [], b"other")
            return added

    overtaken = IsOvertaken(
        parse_redis_url(redis_cluster.url), timeout_ms=TIMEOUT_MS, read_only=False
    )
    with pytest.raises(
        StoreUnavailable, match=r"saw another process change vector set 0123abcd\.1"
    ):
        overtaken.insert(header, IDS, records_of(1500), b"mine")
    overtaken.close()
    assert store.progress(header.set_id) == b"other"
    assert _fetched(store, header, IDS) == [-1] * 1500


def test_the_keys_of_a_cluster_are_these_and_drop_leaves_none(
    redis_cluster: "RedisCluster",
    store: RedisClusterStore,
    header_of: HeaderOf,
    records_of: RecordsOf,
) -> None:
    def keys() -> set[bytes]:
        found: set[bytes] = set()
        for master in redis_cluster.masters:
            with redis.Redis(port=master.port) as client:
                found.update(client.scan_iter())
        return found

    header = header_of(sealed=SEALED)
    store.insert(header_of(), ["B1"], records_of(1), b"1")
    store.put_header(header)
    store.set_live(header.fingerprint, header.set_id)
    assert keys() == {
        b"winnow:0123abcd.1:{066}:B1",
        b"{winnow}:set:0123abcd.1",
        b"{winnow}:progress:0123abcd.1",
        b"{winnow}:sets",
        b"{winnow}:live",
    }
    other = header_of(2, sealed=SEALED)
    store.put_header(other)
    store.set_live(header.fingerprint, other.set_id)
    store.drop(header)
    assert keys() == {b"{winnow}:set:0123abcd.2", b"{winnow}:sets", b"{winnow}:live"}


def test_a_store_is_opened_while_the_cluster_is_down(
    redis_cluster: "RedisCluster", header_of: HeaderOf
) -> None:
    for master in redis_cluster.masters:
        master.stop()
    store = _open(redis_cluster.url)
    header = header_of()
    calls: list[Callable[[], object]] = [
        store.ping,
        store.headers,
        lambda: store.put_header(header),
        lambda: store.get(header, ["a"]),
        lambda: store.fetch(header, ProductIds.from_strings(["a"])),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match=r"cannot be reached \(.*refused"):
            call()
    for master in redis_cluster.masters:
        master.start()
    redis_cluster.wait_until_ok()
    _until_recovered(lambda: store.put_header(header))
    store.close()


def test_a_server_and_a_cluster_are_not_mistaken_for_each_other(
    redis_url: str, redis_cluster_url: str, header_of: HeaderOf
) -> None:
    no_cluster = _open(redis_url.replace("redis://", "redis+cluster://"))
    with pytest.raises(StoreError, match=r"is no Redis Cluster; give its URL as redis://"):
        no_cluster.headers()
    no_cluster.close()
    place = redis_cluster_url.removeprefix("redis+cluster://").split(",")[0]
    one_node = open_store(f"redis://{place}", timeout_ms=TIMEOUT_MS)
    with pytest.raises(StoreError, match=r"part of a Redis Cluster; give its URL as redis\+clus"):
        one_node.get(header_of(), IDS)
    one_node.close()


@pytest.mark.parametrize("first", ["127.0.0.1:1", "[::1]:1"])
def test_one_node_that_is_up_is_enough(redis_cluster_url: str, first: str) -> None:
    last = redis_cluster_url.rstrip("/").rpartition(",")[2]
    store = _open(f"redis+cluster://{first},{last}/")
    store.ping()
    store.close()
