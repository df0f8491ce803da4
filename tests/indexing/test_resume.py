"""Builds that are killed, and what the next run makes of them."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis

from indexing.catalogue import open_catalogue
from indexing.errors import BuildConflict, BuildRefused
from indexing.index import IndexOptions, Report, index
from indexing.progress import parse_progress
from tests.conftest import RedisServer
from tests.indexing.hash_encoder import FINGERPRINT, HashEncoder
from vector_store.errors import StoreError
from vector_store.open import open_store
from vector_store.protocol import VectorStore
from vector_store.rows import text_hash, text_hashes, unpack

ROOT = Path(__file__).parents[2]
WriteCsv = Callable[[list[tuple[str, str]]], Path]

# 60 rows: 48 products, 6 later rows with an id that came before, 6 bad lines; six chunks of ten.
ROWS = [
    (f"p{i}", f"title {i}") if i % 10 not in (4, 9) else (f"p{i - i % 10}", f"again {i}")
    for i in range(60)
]
ROWS = [("", f"no id {i}") if i % 10 == 9 else row for i, row in enumerate(ROWS)]
PRODUCTS = {f"p{i}": f"title {i}" for i in range(60) if i % 10 not in (4, 9)}


def _start(catalogue: Path, url: str, rejects: Path, death: str) -> subprocess.Popen[str]:
    arguments = [str(catalogue), url, str(rejects), death]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.indexing.index_process", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def _kill_at(catalogue: Path, url: str, rejects: Path, death: str) -> None:
    with _start(catalogue, url, rejects, death) as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL


def _finish(catalogue: Path, url: str, options: IndexOptions) -> tuple[Report, HashEncoder]:
    store = open_store(url, timeout_ms=10_000)
    encoder = HashEncoder()
    try:
        report = index(open_catalogue(catalogue), encoder, store, options, lambda *_: None)
        _assert_complete(store, report, options.reject_file)
    finally:
        store.close()
    return report, encoder


def _assert_complete(store: VectorStore, report: Report, rejects: Path) -> None:
    """Every product once, every reject once, counts that add up, live."""
    header = store.header(report.set_id)
    found = [pair for batch in store.scan(header) for pair in batch]
    assert sorted(product_id for product_id, _ in found) == sorted(PRODUCTS)
    titles = [PRODUCTS[product_id] for product_id, _ in found]
    records = [record for _, record in found]
    assert text_hashes(records).tolist() == [text_hash(title) for title in titles]
    np.testing.assert_array_equal(
        unpack(records, header.width).values, HashEncoder().encode_products(titles)
    )
    assert (report.rows_read, report.inserted) == (60, 48)
    assert (report.rejected, report.duplicates) == (6, 6)
    bad = [json.loads(line) for line in rejects.read_text("utf-8").splitlines()]
    assert [row["line"] for row in bad] == [2 + i for i in range(60) if i % 10 in (4, 9)]
    assert header.count == 48
    assert store.live(FINGERPRINT) == report.set_id


@pytest.mark.parametrize(
    ("death", "how", "encoded_again"),
    [
        ("put_header:1:before", "new", 48),
        ("put_header:1:after", "restarted", 48),
        ("insert:1:after", "resumed", 48),
        ("encode:2", "resumed", 48),
        ("insert:2:before", "resumed", 48),
        ("insert:2:after", "resumed", 40),
        ("insert:5:before", "resumed", 24),
        ("insert:5:after", "resumed", 16),
        ("insert:7:after", "resumed", 0),
        ("scan:1:before", "resumed", 0),
        ("put_header:2:before", "resumed", 0),
    ],
)
def test_killed_and_continued(
    store_url: str,
    write_csv: WriteCsv,
    options: IndexOptions,
    death: str,
    how: str,
    encoded_again: int,
) -> None:
    path = write_csv(ROWS)
    _kill_at(path, store_url, options.reject_file, death)
    report, encoder = _finish(path, store_url, options)
    assert report.how == how
    assert report.set_id == f"{FINGERPRINT[:8]}.1"
    assert len(encoder.titles) == encoded_again + report.verified


@pytest.mark.parametrize("death", ["_set_absent:3:before", "_set_absent:3:after"])
def test_killed_inside_an_insert_of_a_cluster(
    cluster_store_url: str, write_csv: WriteCsv, options: IndexOptions, death: str
) -> None:
    path = write_csv(ROWS)
    _kill_at(path, cluster_store_url, options.reject_file, death)
    report, encoder = _finish(path, cluster_store_url, options)
    assert (report.how, report.why) == ("resumed", "after row 10")
    assert len(encoder.titles) == 40 + report.verified


@pytest.mark.parametrize("death", ["put_header:2:after", "set_live:1:before"])
def test_killed_between_sealing_and_making_live(
    store_url: str, write_csv: WriteCsv, options: IndexOptions, death: str
) -> None:
    path = write_csv(ROWS)
    _kill_at(path, store_url, options.reject_file, death)
    store = open_store(store_url, timeout_ms=10_000)
    (header,) = store.headers()
    assert (header.count, store.live(FINGERPRINT)) == (48, None)
    store.close()
    report, _ = _finish(path, store_url, options)
    assert report.set_id == f"{FINGERPRINT[:8]}.2"


def test_killed_again_and_again_at_any_moment(
    store_url: str, write_csv: WriteCsv, options: IndexOptions
) -> None:
    path = write_csv(ROWS)
    chance = random.Random(7)
    for _ in range(8):
        with _start(path, store_url, options.reject_file, "slow") as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 3)):
                process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
        store = open_store(store_url, timeout_ms=10_000)
        headers = store.headers()
        rows = sum(len(batch) for header in headers for batch in store.scan(header))
        store.close()
        if any(header.sealed for header in headers):
            break
        assert rows <= 48
    store = open_store(store_url, timeout_ms=10_000)
    done = [header for header in store.headers() if header.sealed]
    store.close()
    if not done:
        _finish(path, store_url, options)
        return
    assert (len(done), done[0].count) == (1, 48)


def test_two_kills_and_rejects_in_the_wrong_place(
    store_url: str, write_csv: WriteCsv, options: IndexOptions
) -> None:
    path = write_csv(ROWS)
    _kill_at(path, store_url, options.reject_file, "insert:3:before")
    _kill_at(path, store_url, options.reject_file, "insert:3:before")
    kept = options.reject_file.read_bytes()
    options.reject_file.unlink()
    with pytest.raises(BuildRefused, match="put it back, or start the build over"):
        _finish(path, store_url, options)
    options.reject_file.write_bytes(kept)
    report, _ = _finish(path, store_url, options)
    assert report.how == "resumed"


def test_second_indexer_is_refused_and_the_first_goes_on(
    store_url: str, write_csv: WriteCsv, options: IndexOptions, tmp_path: Path
) -> None:
    path = write_csv(ROWS)
    with _start(path, store_url, options.reject_file, "pause:20") as process:
        os.waitpid(process.pid, os.WUNTRACED)
        with pytest.raises(BuildConflict, match=f"being built by process {process.pid} on"):
            _finish(path, store_url, replace(options, reject_file=tmp_path / "second.jsonl"))
        process.send_signal(signal.SIGCONT)
        process.communicate()
    assert process.returncode == 0
    store = open_store(store_url, timeout_ms=10_000)
    assert [header.count for header in store.headers()] == [48]
    store.close()


def test_redis_out_of_memory(
    redis_server: RedisServer, write_csv: WriteCsv, options: IndexOptions
) -> None:
    path = write_csv(ROWS)
    with redis.Redis.from_url(redis_server.url) as client:

        def fill_up(phase: str, done: int, total: int | None) -> None:
            if done == 20:
                client.config_set("maxmemory", 1)

        store = open_store(redis_server.url, timeout_ms=10_000)
        with pytest.raises(StoreError, match="out of memory"):
            index(open_catalogue(path), HashEncoder(), store, options, fill_up)
        store.close()
        client.config_set("maxmemory", 0)
    report, encoder = _finish(path, redis_server.url, options)
    assert (report.how, report.why) == ("resumed", "after row 20")
    assert len(encoder.titles) == 32 + report.verified


@pytest.mark.parametrize("change", ["content", "time", "name", "reading"])
def test_changed_catalogue_starts_over(
    store_url: str, write_csv: WriteCsv, options: IndexOptions, change: str
) -> None:
    path = write_csv([("other", "product"), *ROWS] if change == "content" else ROWS)
    _kill_at(path, store_url, options.reject_file, "insert:4:after")
    said = {"content": "bytes was", "time": "mtime_ns was", "name": "file_name was"}
    if change == "content":
        write_csv(ROWS)
    elif change == "time":
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    elif change == "name":
        path = path.rename(path.with_name("renamed.csv"))
    catalogue = open_catalogue(path, encoding="ascii" if change == "reading" else "utf-8")
    store = open_store(store_url, timeout_ms=10_000)
    report = index(catalogue, HashEncoder(), store, options, lambda *_: None)
    assert report.how == "restarted"
    assert report.why.startswith("the catalogue changed: ")
    assert said.get(change, "encoding was 'utf-8', is 'ascii'") in report.why
    _assert_complete(store, report, options.reject_file)
    assert len(store.headers()) == 1
    store.close()


def test_restart_and_unusable_progress(
    store_url: str, write_csv: WriteCsv, options: IndexOptions
) -> None:
    path = write_csv(ROWS)
    _kill_at(path, store_url, options.reject_file, "insert:4:after")
    store = open_store(store_url, timeout_ms=10_000)
    (header,) = store.headers()
    store.insert(header, [], [], b"not ours")
    assert parse_progress(store.progress(header.set_id)) is None
    store.close()
    report, _ = _finish(path, store_url, options)
    assert (report.how, report.why) == (
        "restarted",
        f"set {header.set_id} was left without progress",
    )
    report, _ = _finish(path, store_url, replace(options, restart=True))
    assert report.how == "new"


def test_only_changed_continues_copying(
    store_url: str, write_csv: WriteCsv, options: IndexOptions
) -> None:
    path = write_csv(ROWS)
    _finish(path, store_url, options)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    _kill_at(path, store_url, options.reject_file, "insert:4:after")
    report, encoder = _finish(path, store_url, replace(options, only_changed=True))
    assert (report.how, report.encoded, report.copied) == ("resumed", 24, 24)
    assert len(encoder.titles) == report.verified
