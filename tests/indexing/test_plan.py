"""Counting a catalogue, projecting its set, and refusing one that does not fit."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from indexing.catalogue import Catalogue, open_catalogue
from indexing.errors import CatalogueChanged, StoreTooSmall
from indexing.index import IndexOptions, index
from indexing.plan import Count, Plan, count, plan, require_room
from indexing.room import redis_key_prefix_bytes, room, set_bytes
from indexing.student import product_rows
from tests.conftest import RedisCluster, RedisServer
from tests.indexing.hash_encoder import FINGERPRINT, HashEncoder
from vector_store.errors import StoreUnavailable
from vector_store.header import SetHeader
from vector_store.open import open_store
from vector_store.protocol import VectorStore

WriteCsv = Callable[[list[tuple[str, str]]], Path]
PRODUCTS = [(f"p{i:03d}", f"title {i}") for i in range(100)]


def _plan(catalogue: Catalogue, store: VectorStore, url: str, width: int = 16) -> Plan:
    encoder = product_rows(HashEncoder(width))
    return plan(catalogue, encoder, store, url, timeout_ms=10_000, on_progress=lambda *_: None)


def _fill(
    store: VectorStore, width: int, products: int, id_bytes: int, shuffled: bool
) -> SetHeader:
    header = SetHeader(
        format_version=1,
        set_id=f"{FINGERPRINT[:8]}.1",
        fingerprint=FINGERPRINT,
        model="hash/1",
        width=width,
        dtype="float16",
        segments={},
        count=0,
        created="2025-01-01T00:00:00+00:00",
        sealed=None,
    )
    store.put_header(header)
    ids = [f"{i:0{id_bytes}d}" for i in range(products)]
    if shuffled:
        random.Random(0).shuffle(ids)
    record = bytes(header.record_bytes)
    for start in range(0, products, 4_096):
        chunk = ids[start : start + 4_096]
        store.insert(header, chunk, [record] * len(chunk), b"{}")
    return header


def test_count(write_csv: WriteCsv) -> None:
    events: list[tuple[str, int, int | None]] = []
    path = write_csv([*PRODUCTS, ("", "no id"), PRODUCTS[0]])
    counted = count(open_catalogue(path), lambda *event: events.append(event))
    assert counted == Count(rows=102, entries=101, bad_lines=1, mean_id_bytes=4.0)
    assert events == [("count", 102, 102)]
    assert count(open_catalogue(write_csv([])), lambda *_: None).mean_id_bytes == 0.0


def test_plan(store: VectorStore, store_url: str, write_csv: WriteCsv) -> None:
    planned = _plan(open_catalogue(write_csv(PRODUCTS)), store, store_url)
    assert planned.record_bytes == 2 * 16 + 12
    assert planned.set_bytes == planned.needed_bytes > 100 * planned.record_bytes
    assert planned.room.kind == store_url.partition(":")[0].partition("+")[0]
    assert planned.room.left_bytes is not None
    require_room(planned)


def test_plan_leaves_out_what_an_unfinished_set_holds(
    store: VectorStore, store_url: str, write_csv: WriteCsv, options: IndexOptions
) -> None:
    path = write_csv(PRODUCTS)

    def append(phase: str, done: int, total: int | None) -> None:
        if phase == "encode" and done == 100:
            path.write_text(path.read_text("utf-8") + "more,lines\n" * 100, "utf-8")

    with pytest.raises(CatalogueChanged):
        index(open_catalogue(path), HashEncoder(), store, options, append)
    planned = _plan(open_catalogue(path), store, store_url)
    assert planned.needed_bytes < planned.set_bytes


def test_memory_has_no_known_limit(memory_store: VectorStore, write_csv: WriteCsv) -> None:
    planned = _plan(open_catalogue(write_csv(PRODUCTS)), memory_store, "memory:")
    assert planned.room.left_bytes is None
    require_room(planned)


def test_set_that_does_not_fit(redis_server: RedisServer, write_csv: WriteCsv) -> None:
    catalogue = open_catalogue(write_csv(PRODUCTS * 100))
    store = open_store(redis_server.url, timeout_ms=10_000)
    with redis.Redis.from_url(redis_server.url) as client:
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", used + 1_000_000)
        client.config_set("maxmemory-policy", "allkeys-lru")
    planned = _plan(catalogue, store, redis_server.url, width=64)
    store.close()
    assert planned.room.evicts == "allkeys-lru"
    with pytest.raises(
        StoreTooSmall, match=r"10000 products need about .* 0\.\d MiB left \(maxmem"
    ):
        require_room(planned)
    require_room(replace(planned, room=replace(planned.room, left_bytes=None)))


def test_redis_that_may_not_be_asked(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.execute_command("ACL", "SETUSER", "shop", "on", ">secret", "~*", "+@all", "-info")
    asked = room(redis_server.url.replace("//", "//shop:secret@"), 10_000)
    assert (asked.left_bytes, asked.limit) == (None, "unknown: this Redis user may not run INFO")


def test_redis_that_is_down(redis_server: RedisServer) -> None:
    redis_server.stop()
    with pytest.raises(StoreUnavailable):
        room(redis_server.url, 1_000)


def test_a_cluster_has_the_room_of_its_fullest_master_times_three(
    redis_cluster: RedisCluster,
) -> None:
    for master, megabytes in zip(redis_cluster.masters, (30, 10, 20), strict=True):
        with redis.Redis(port=master.port) as client:
            used = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory", used + megabytes * 1_000_000)
    asked = room(redis_cluster.url, 10_000)
    assert asked.limit == "maxmemory of Redis, times 3 masters"
    assert asked.left_bytes is not None
    assert 24_000_000 < asked.left_bytes <= 30_000_000
    for master in redis_cluster.masters:
        master.stop()
    with pytest.raises(StoreUnavailable, match=r"redis\+cluster://.* cannot be reached"):
        room(redis_cluster.url, 1_000)


def test_lmdb_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    asked = room(f"lmdb:{tmp_path / 'a' / 'b'}", 1_000)
    assert asked.left_bytes is not None
    assert asked.left_bytes > 0


@pytest.mark.parametrize(("width", "id_bytes"), [(16, 8), (64, 36), (256, 8), (512, 20)])
def test_projection_against_a_real_redis(
    redis_server: RedisServer, width: int, id_bytes: int
) -> None:
    store = open_store(redis_server.url, timeout_ms=10_000)
    with redis.Redis.from_url(redis_server.url) as client:
        before = int(client.info("memory")["used_memory"])
        header = _fill(store, width, 20_000, id_bytes, shuffled=True)
        store.close()
        after = int(client.info("memory")["used_memory"])
    key_bytes = redis_key_prefix_bytes(redis_server.url, header.set_id) + id_bytes
    projected = set_bytes("redis", 20_000, key_bytes, header.record_bytes)
    # The margin below covers memory allocators with finer steps than the one projected for.
    assert 0.9 * projected < after - before < 1.05 * projected


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize(
    ("width", "id_bytes"), [(16, 8), (64, 36), (256, 8), (900, 8), (1_100, 20)]
)
def test_projection_against_a_real_lmdb(
    tmp_path: Path, width: int, id_bytes: int, shuffled: bool
) -> None:
    store = open_store(f"lmdb:{tmp_path}")
    header = _fill(store, width, 20_000, id_bytes, shuffled)
    store.close()
    size = (tmp_path / "data.mdb").stat().st_size
    projected = set_bytes("lmdb", 20_000, id_bytes, header.record_bytes)
    # Ids in order cost less, and so do few commits; the projection is an upper bound.
    assert (0.65 if shuffled else 0.2) * projected < size < 1.05 * projected


def test_an_empty_set_takes_nothing() -> None:
    assert [set_bytes(kind, 0, 8, 44) for kind in ("memory", "lmdb", "redis")] == [0, 0, 0]
