"""The verify pass: a set that is not what was written is never sealed, let alone served."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import lmdb
import numpy as np
import pytest
import redis

from indexing.catalogue import Entry, open_catalogue
from indexing.errors import VerifyFailed
from indexing.index import IndexOptions, index
from indexing.verify import Sample
from tests.indexing.hash_encoder import FINGERPRINT, HashEncoder
from vector_store import keys
from vector_store.lmdb_store import LmdbStore
from vector_store.protocol import VectorStore
from vector_store.redis_url import parse_redis_url
from vector_store.rows import pack, text_hash

WriteCsv = Callable[[list[tuple[str, str]]], Path]
PRODUCTS = [(f"p{i}", f"title {i}") for i in range(40)]
Damage = Callable[[bytes], bytes | None]


def _overwrite(store: VectorStore, url: str, product_id: str, damage: Damage) -> None:
    """Changes one stored record behind the store's back."""
    (header,) = [header for header in store.headers() if header.sealed is None]
    raw = product_id.encode()
    if isinstance(store, LmdbStore):
        environment: lmdb.Environment = store._env
        rows = environment.open_db(keys.lmdb_rows(header.set_id), create=False)
        with environment.begin(write=True, db=rows) as txn:
            record = damage(txn.get(raw) or b"")
            txn.delete(raw) if record is None else txn.put(raw, record)
        return
    parsed = parse_redis_url(url)
    key = keys.RedisKeys(parsed.namespace).rows(header.set_id, header.bucket_count, [raw])[0]
    connect = redis.RedisCluster.from_url if parsed.nodes else redis.Redis.from_url
    with connect(parsed.connect) as client:
        record = damage(cast(bytes, client.get(key)))
        client.delete(key) if record is None else client.set(key, record)


def _other_row(record: bytes) -> bytes:
    row = np.frombuffer(record[:32], "<f2").astype(np.float16).copy()
    row[3] += np.float16(0.01)
    return pack(row[None], np.array([text_hash("title 7")], np.uint64), 0)[0]


DAMAGES: list[tuple[Damage, str]] = [
    (lambda record: record[:-1], r"read back 40, of which 1 corrupt \(p7\)"),
    (lambda record: record + b"\0", r"read back 40, of which 1 corrupt \(p7\)"),
    (lambda record: b"\0\x7c" + record[2:], r"read back 40, of which 1 corrupt \(p7\)"),
    (lambda record: None, "expected 40 whole rows, read back 39, of which 0 corrupt"),
    (lambda record: record[:32] + b"\1" * 12, "product 'p7': its row was encoded from another te"),
    (_other_row, r"product 'p7': its row differs by 0\.0\d+ from what the student gives"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damaged_row(
    store: VectorStore,
    store_url: str,
    write_csv: WriteCsv,
    options: IndexOptions,
    damage: Damage,
    message: str,
) -> None:
    options = replace(options, verify_sample=40)
    path = write_csv(PRODUCTS)

    def after_the_last_chunk(phase: str, done: int, total: int | None) -> None:
        if phase == "encode" and done == 40:
            _overwrite(store, store_url, "p7", damage)

    with pytest.raises(VerifyFailed, match=message):
        index(open_catalogue(path), HashEncoder(), store, options, after_the_last_chunk)
    assert store.live(FINGERPRINT) is None
    assert [header.sealed for header in store.headers()] == [None]

    # It stays so until the build is started over.
    with pytest.raises(VerifyFailed, match=message):
        index(open_catalogue(path), HashEncoder(), store, options, lambda *_: None)
    restarted = replace(options, restart=True)
    report = index(open_catalogue(path), HashEncoder(), store, restarted, lambda *_: None)
    assert (report.how, report.why) == ("restarted", "asked to start over")
    assert store.live(FINGERPRINT) == report.set_id


def test_rounding_of_another_batch_is_tolerated(
    memory_store: VectorStore, write_csv: WriteCsv, options: IndexOptions
) -> None:
    encoder = HashEncoder()

    def drift(phase: str, done: int, total: int | None) -> None:
        if phase == "verify":
            encoder.offset = 0.0005

    index(open_catalogue(write_csv(PRODUCTS)), encoder, memory_store, options, drift)


def test_student_that_gives_other_rows(
    memory_store: VectorStore, write_csv: WriteCsv, options: IndexOptions
) -> None:
    encoder = HashEncoder()

    def drift(phase: str, done: int, total: int | None) -> None:
        if phase == "verify":
            encoder.offset = 0.01

    with pytest.raises(VerifyFailed, match=r"expected at most 0\.00"):
        index(open_catalogue(write_csv(PRODUCTS)), encoder, memory_store, options, drift)


def test_sample_is_the_same_in_every_order_and_keeps_first_titles() -> None:
    products = [Entry(i, f"p{i}", f"title {i}") for i in range(1_000)]
    forward, backward, other = Sample(20, "set.1"), Sample(20, "set.1"), Sample(20, "set.2")
    for product in products:
        forward.offer(product)
        other.offer(product)
    for product in reversed(products):
        backward.offer(product)
    for product in products:
        forward.offer(product._replace(text="a later title"))
    assert len(forward.texts()) == 20
    assert forward.texts() == backward.texts()
    assert set(other.texts()) != set(forward.texts())
