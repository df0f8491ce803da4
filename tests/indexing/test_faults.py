"""What breaks under an indexer besides itself: a master, a disk, the clock. No product is lost."""

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from indexing.catalogue import open_catalogue
from indexing.errors import BuildConflict
from indexing.index import IndexOptions, Report, index
from indexing.progress import (
    SILENT_AFTER_S,
    Builder,
    BuildProgress,
    identify,
    refuse_if_building,
)
from tests.indexing.hash_encoder import FINGERPRINT, HashEncoder
from tests.indexing.test_resume import ROOT
from tests.sentinel import Sentinels
from vector_store.errors import StoreError, StoreUnavailable
from vector_store.open import open_store
from vector_store.rows import text_hash, text_hashes

WriteCsv = Callable[[list[tuple[str, str]]], Path]
PRODUCTS = {f"p{i}": f"title {i}" for i in range(1_000)}
SMALL_DISK_BYTES = 100_000
AGREED_WITHIN_S = 60  # the Sentinels, on a new master


def test_a_master_that_is_lost_while_it_is_written_to(
    sentinels: Sentinels, write_csv: WriteCsv, options: IndexOptions
) -> None:
    """Rows that the new master never got are found missing, and indexed again."""
    path = write_csv(list(PRODUCTS.items()))

    def lose_it(phase: str, done: int, total: int | None) -> None:
        if (phase, done) == ("encode", 500):
            sentinels.fail_over()

    try:
        report = _index(path, sentinels.url, options, lose_it)
    except (StoreError, BuildConflict):  # which one depends on what the replica has got
        report = _once_there_is_a_master(lambda: _index(path, sentinels.url, options))
    _assert_whole(sentinels.url, report)


def _once_there_is_a_master(index: Callable[[], Report]) -> Report:
    """Run again as a person would, while the Sentinels agree."""
    give_up = time.monotonic() + AGREED_WITHIN_S
    while True:
        try:
            return index()
        except StoreUnavailable:
            assert time.monotonic() < give_up
            time.sleep(0.2)


def test_a_full_disk_stops_the_build_and_the_next_run_goes_on(
    tmp_path: Path, write_csv: WriteCsv, options: IndexOptions
) -> None:
    path, url = write_csv(list(PRODUCTS.items())), f"lmdb:{tmp_path / 'store'}"
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tests.indexing.index_process"),
            *(str(path), url, str(options.reject_file), "pause:never"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (SMALL_DISK_BYTES, SMALL_DISK_BYTES)
        ),
    )
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("vector_store.errors.StoreError: the LMDB store at")
    assert "run the same command again" in last
    report = _index(path, url, options)
    assert report.how == "resumed"
    assert report.encoded == len(PRODUCTS)
    _assert_whole(url, report)


@pytest.mark.parametrize("ahead_s", [-10 * SILENT_AFTER_S, 10 * SILENT_AFTER_S, 86_400])
def test_a_builder_whose_clock_was_wrong_blocks_nobody(write_csv: WriteCsv, ahead_s: float) -> None:
    refuse_if_building("01.1", _elsewhere(write_csv, time.time() + ahead_s))


@pytest.mark.parametrize("ahead_s", [-SILENT_AFTER_S / 2, SILENT_AFTER_S / 2])
def test_a_builder_that_has_just_committed_is_left_alone(
    write_csv: WriteCsv, ahead_s: float
) -> None:
    with pytest.raises(BuildConflict, match="being built by process 1 on elsewhere"):
        refuse_if_building("01.1", _elsewhere(write_csv, time.time() + ahead_s))


def _elsewhere(write_csv: WriteCsv, updated_s: float) -> BuildProgress:
    assert socket.gethostname() != "elsewhere"
    return BuildProgress(
        catalogue=identify(open_catalogue(write_csv([("p", "title")]))),
        builder=Builder(host="elsewhere", pid=1, token="t"),
        updated_s=updated_s,
    )


def _index(
    path: Path,
    url: str,
    options: IndexOptions,
    watch: Callable[[str, int, int | None], None] = lambda *_: None,
) -> Report:
    store = open_store(url, timeout_ms=10_000)
    try:
        return index(open_catalogue(path), HashEncoder(), store, options, watch)
    finally:
        store.close()


def _assert_whole(url: str, report: Report) -> None:
    """Every product once, with the row of its title, and live."""
    store = open_store(url, timeout_ms=10_000)
    header = store.header(report.set_id)
    found = [pair for batch in store.scan(header) for pair in batch]
    assert sorted(product_id for product_id, _ in found) == sorted(PRODUCTS)
    hashes = text_hashes([record for _, record in found]).tolist()
    assert hashes == [text_hash(PRODUCTS[product_id]) for product_id, _ in found]
    assert (header.count, store.live(FINGERPRINT)) == (len(PRODUCTS), report.set_id)
    store.close()
