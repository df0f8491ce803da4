"""Whole builds on LMDB and Redis: counts, rows, rejects, generations, refusals."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexing.catalogue import open_catalogue
from indexing.errors import (
    BuildConflict,
    BuildRefused,
    CatalogueChanged,
    CatalogueDamaged,
)
from indexing.index import IndexOptions, Report, index
from indexing.progress import Builder, parse_progress
from tests.indexing.hash_encoder import FINGERPRINT, NOT_FINITE, HashEncoder
from vector_store.protocol import VectorStore
from vector_store.rows import FOUND, text_hash, text_hashes, unpack

WriteCsv = Callable[[list[tuple[str, str]]], Path]
PRODUCTS = [(f"p{i}", f"title {'x' * (i % 7)} {i}") for i in range(95)]


def quiet(phase: str, done: int, total: int | None) -> None:
    """Nobody watches."""


def _index(
    path: Path, store: VectorStore, options: IndexOptions, encoder: HashEncoder | None = None
) -> Report:
    return index(open_catalogue(path), encoder or HashEncoder(), store, options, quiet)


def _assert_holds(store: VectorStore, set_id: str, products: list[tuple[str, str]]) -> None:
    """The set holds exactly these products, each with the row of its title."""
    header = store.header(set_id)
    found = dict(pair for batch in store.scan(header) for pair in batch)
    assert sorted(found) == sorted(product_id for product_id, _ in products)
    records = [found[product_id] for product_id, _ in products]
    rows = unpack(records, header.width)
    titles = [title for _, title in products]
    assert (rows.status == FOUND).all()
    assert text_hashes(records).tolist() == [text_hash(title) for title in titles]
    np.testing.assert_array_equal(rows.values, HashEncoder().encode_products(titles))


def test_first_build(store: VectorStore, write_csv: WriteCsv, options: IndexOptions) -> None:
    encoder = HashEncoder()
    path = write_csv(PRODUCTS)
    events: list[tuple[str, int, int | None]] = []
    report = index(
        open_catalogue(path),
        encoder,
        store,
        options,
        lambda *event: events.append(event),
        total_rows=95,
    )
    _assert_holds(store, report.set_id, PRODUCTS)
    header = store.header(report.set_id)
    assert header.set_id == f"{FINGERPRINT[:8]}.1"
    assert (header.count, header.width, header.model) == (95, 16, "hash/1")
    assert header.segments == {"row": (0, 16)}
    assert header.sealed is not None
    assert store.live(FINGERPRINT) == report.set_id
    assert (report.how, report.live, report.previous_live) == ("new", True, None)
    assert (report.rows_read, report.encoded, report.inserted, report.verified) == (95, 95, 95, 8)
    assert (report.copied, report.rejected, report.duplicates) == (0, 0, 0)
    assert report.first_rejects == []
    assert max(encoder.batches) == 4
    encoded = [event for event in events if event[0] == "encode"]
    assert encoded == [("encode", min(n, 95), 95) for n in range(10, 101, 10)]
    assert events[-1] == ("verify", 95, 95)


def test_a_chunk_is_encoded_in_order_of_length(
    memory_store: VectorStore, write_csv: WriteCsv, options: IndexOptions
) -> None:
    encoder = HashEncoder()
    path = write_csv([(f"p{i}", "x" * (1 + i * 7 % 10)) for i in range(10)])
    _index(path, memory_store, replace(options, verify_sample=1), encoder)
    assert [len(title) for title in encoder.titles[:10]] == list(range(1, 11))


def test_rejects_and_duplicates(
    store: VectorStore, write_csv: WriteCsv, options: IndexOptions
) -> None:
    products = [
        *PRODUCTS[:5],
        ("p3", "again in the same chunk"),
        ("", "no id"),
        *PRODUCTS[5:30],
        ("p4", "again chunks later"),
        ("big", f"{NOT_FINITE} of float16"),
        ("twice", "first"),
        ("twice", "second"),
        ("empty", ""),
        *PRODUCTS[30:],
        ("twice", "third"),
    ]
    report = _index(write_csv(products), store, replace(options, verify_sample=500))
    _assert_holds(store, report.set_id, [*PRODUCTS, ("twice", "first")])
    assert (report.rows_read, report.encoded, report.rejected, report.duplicates) == (103, 96, 3, 4)
    written = [json.loads(line) for line in options.reject_file.read_text("utf-8").splitlines()]
    assert [(bad["line"], bad["reason"].split(":")[0]) for bad in written] == [
        (7, "duplicate id"),
        (8, "empty id"),
        (34, "duplicate id"),
        (35, "its row does not fit float16 (infinite or not a number)"),
        (37, "duplicate id"),
        (38, "empty title"),
        (104, "duplicate id"),
    ]
    assert written[0]["text"] == '["p3", "again in the same chunk"]'
    assert [bad.line_number for bad in report.first_rejects] == [7, 8, 34, 35, 37]


def test_next_generation_is_built_beside_the_live_one(
    store: VectorStore, write_csv: WriteCsv, options: IndexOptions
) -> None:
    first = _index(write_csv(PRODUCTS), store, options)
    second = _index(
        write_csv(PRODUCTS[:40]), store, replace(options, activate=False), HashEncoder()
    )
    assert second.set_id == f"{FINGERPRINT[:8]}.2"
    assert (second.live, second.previous_live) == (False, first.set_id)
    assert store.live(FINGERPRINT) == first.set_id
    third = _index(write_csv(PRODUCTS[:50]), store, options)
    assert store.live(FINGERPRINT) == third.set_id == f"{FINGERPRINT[:8]}.3"
    for report, products in ((first, PRODUCTS), (second, PRODUCTS[:40]), (third, PRODUCTS[:50])):
        _assert_holds(store, report.set_id, products)


def test_another_student_has_sets_of_its_own(
    store: VectorStore, write_csv: WriteCsv, options: IndexOptions
) -> None:
    path = write_csv(PRODUCTS[:20])
    first = _index(path, store, options)
    second = _index(path, store, options, HashEncoder(fingerprint="f" * 64))
    assert second.set_id == "ffffffff.1"
    assert store.live(FINGERPRINT) == first.set_id
    assert store.live("f" * 64) == second.set_id


def test_only_changed_copies_rows(
    store: VectorStore, write_csv: WriteCsv, options: IndexOptions
) -> None:
    copying = replace(options, only_changed=True)
    first = _index(write_csv(PRODUCTS), store, copying)
    assert (first.encoded, first.copied) == (95, 0)
    before = dict(p for batch in store.scan(store.header(first.set_id)) for p in batch)
    changed = [("p7", "a new title"), *PRODUCTS[8:], ("new", "product")]
    encoder = HashEncoder()
    second = _index(write_csv(changed), store, replace(copying, verify_sample=1), encoder)
    assert (second.encoded, second.copied) == (2, 87)
    assert set(encoder.titles[:2]) == {"a new title", "product"}
    _assert_holds(store, second.set_id, changed)
    after = dict(p for batch in store.scan(store.header(second.set_id)) for p in batch)
    assert all(after[product_id] == before[product_id] for product_id, _ in PRODUCTS[8:])


def test_only_changed_encodes_again_where_the_live_row_is_corrupt(
    memory_store: VectorStore, write_csv: WriteCsv, options: IndexOptions
) -> None:
    copying = replace(options, only_changed=True)
    header = memory_store.header(_index(write_csv(PRODUCTS), memory_store, copying).set_id)
    rows = memory_store._rows[header.set_id]  # type: ignore[attr-defined]
    rows["p3"] = b"\xff" * 32 + rows["p3"][32:]
    rows["p4"] = rows["p4"][:-1]
    report = _index(write_csv(PRODUCTS), memory_store, copying)
    assert (report.encoded, report.copied) == (2, 93)
    _assert_holds(memory_store, report.set_id, PRODUCTS)


def test_nothing_to_index_leaves_the_live_set(
    store: VectorStore, write_csv: WriteCsv, options: IndexOptions
) -> None:
    first = _index(write_csv(PRODUCTS[:5]), store, options)
    for products in ([], [("", "no id")]):
        with pytest.raises(BuildRefused, match="the file gave no products"):
            _index(write_csv(products), store, options)
        assert store.live(FINGERPRINT) == first.set_id


def test_catalogue_written_to_while_it_is_read(
    store: VectorStore, write_csv: WriteCsv, options: IndexOptions
) -> None:
    path = write_csv(PRODUCTS)

    def append(phase: str, done: int, total: int | None) -> None:
        if done == 20:
            path.write_text(path.read_text("utf-8") + "late,product\n", "utf-8")

    with pytest.raises(CatalogueChanged, match="written to while it was read"):
        index(open_catalogue(path), HashEncoder(), store, options, append)
    assert store.live(FINGERPRINT) is None
    report = _index(path, store, options)
    assert (report.how, report.rows_read) == ("restarted", 96)


def test_truncated_gzip_keeps_its_rows_unsealed(
    store: VectorStore, tmp_path: Path, options: IndexOptions
) -> None:
    import gzip

    lines = "".join(f"p{i},title {i * 7919 % 10007}\n" for i in range(10_000))
    packed = gzip.compress(b"product_id,title\n" + lines.encode())
    path = tmp_path / "catalogue.csv.gz"
    path.write_bytes(packed[: len(packed) // 2])
    options = replace(options, chunk_rows=1_000, batch_titles=256)
    for how in ("new", "resumed"):
        with pytest.raises(CatalogueDamaged, match=r"truncated or damaged after \d+ rows"):
            _index(path, store, options)
        (header,) = store.headers()
        progress = parse_progress(store.progress(header.set_id))
        assert progress is not None
        assert 1_000 < progress.rows_read < 10_000, how
        assert progress.rows_read == sum(len(batch) for batch in store.scan(header))
        assert header.sealed is None
    assert store.live(FINGERPRINT) is None


def test_student_that_is_not_as_its_manifest_says(
    memory_store: VectorStore, write_csv: WriteCsv, options: IndexOptions
) -> None:
    class Wide(HashEncoder):
        def encode_products(self, titles):  # type: ignore[no-untyped-def]
            return np.zeros((len(titles), 17), np.float16)

    with pytest.raises(BuildRefused, match=r"float16 \[4, 16\] of hash/1, got float16 \[4, 17\]"):
        _index(write_csv(PRODUCTS), memory_store, options, Wide())


@pytest.mark.parametrize("field", ["chunk_rows", "batch_titles", "verify_sample"])
def test_options_below_one(options: IndexOptions, field: str) -> None:
    sizes: dict[str, Any] = {field: 0}
    with pytest.raises(BuildRefused, match=f"expected {field} of 1 or more, got 0"):
        IndexOptions(options.reject_file, **sizes)


def _steal(store: VectorStore, host: str, pid: int) -> None:
    """Writes progress to the unsealed set as another indexer would."""
    (header,) = [header for header in store.headers() if header.sealed is None]
    progress = parse_progress(store.progress(header.set_id))
    assert progress is not None
    other = Builder(host=host, pid=pid, token="other")
    stolen = progress.model_copy(update={"builder": other, "updated_s": time.time()})
    store.insert(header, [], [], stolen.stored())


def test_set_taken_over_while_building(
    store: VectorStore, write_csv: WriteCsv, options: IndexOptions
) -> None:
    def steal(phase: str, done: int, total: int | None) -> None:
        if done == 30:
            _steal(store, "elsewhere", 1)

    path = write_csv(PRODUCTS)
    with pytest.raises(BuildConflict, match="another indexer has written to it"):
        index(open_catalogue(path), HashEncoder(), store, options, steal)
    with pytest.raises(BuildConflict, match="built by process 1 on elsewhere"):
        _index(path, store, options)


def test_set_dropped_while_building(
    store: VectorStore, write_csv: WriteCsv, options: IndexOptions
) -> None:
    def drop(phase: str, done: int, total: int | None) -> None:
        if done == 30:
            store.drop(store.headers()[0])

    with pytest.raises(BuildConflict, match="or dropped it"):
        index(open_catalogue(write_csv(PRODUCTS)), HashEncoder(), store, options, drop)


@pytest.mark.parametrize(("pid", "refused"), [(os.getppid(), True), (os.getpid(), False)])
def test_builder_on_this_machine(
    memory_store: VectorStore, write_csv: WriteCsv, options: IndexOptions, pid: int, refused: bool
) -> None:
    import socket

    def steal(phase: str, done: int, total: int | None) -> None:
        if done == 30:
            _steal(memory_store, socket.gethostname(), pid)

    path = write_csv(PRODUCTS)
    with pytest.raises(BuildConflict):
        index(open_catalogue(path), HashEncoder(), memory_store, options, steal)
    if refused:
        with pytest.raises(BuildConflict, match=f"built by process {pid}"):
            _index(path, memory_store, options)
    else:
        report = _index(path, memory_store, options)
        assert (report.how, report.why) == ("resumed", "after row 30")
