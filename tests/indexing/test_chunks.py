"""Several chunks under way at once: the set, the counts and the rejects are those of one by one."""

import gzip
from pathlib import Path

import pytest

from indexing.catalogue import open_catalogue
from indexing.encode import LocalChunks
from indexing.errors import CatalogueDamaged
from indexing.index import IndexOptions, Report, index_rows
from indexing.student import product_rows
from tests.indexing.hash_encoder import HashEncoder
from vector_store.memory import MemoryStore

TIME_BYTES = 4  # of a record, at its end: when it was encoded


def write(path: Path, rows: int = 205) -> Path:
    """Ids come again within a chunk of ten, in the next one, and far behind; some lines are bad."""
    lines = ["product_id,title"]
    for number in range(rows):
        again = {3: 1, 17: 10, 50: 40}.get(number % 60)
        product = "" if number % 31 == 30 else f"p{number - again if again else number}"
        lines.append(f"{product},title {number}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def build(catalogue: Path, folder: Path, ahead: int) -> tuple[Report, MemoryStore, HashEncoder]:
    folder.mkdir()
    encoder, store = HashEncoder(), MemoryStore()
    rows = product_rows(encoder)
    options = IndexOptions(folder / "rejects.jsonl", chunk_rows=10, batch_titles=4)
    chunks = LocalChunks(rows, options.batch_titles, ahead)
    report = index_rows(
        open_catalogue(catalogue), rows, store, options, lambda *_: None, None, chunks
    )
    return report, store, encoder


def records(store: MemoryStore, report: Report) -> dict[str, bytes]:
    pairs = [pair for batch in store.scan(store.header(report.set_id)) for pair in batch]
    return {product_id: record[:-TIME_BYTES] for product_id, record in pairs}


@pytest.mark.parametrize("ahead", [2, 7, 21, 100])
def test_the_set_is_that_of_one_chunk_after_the_other(tmp_path: Path, ahead: int) -> None:
    catalogue = write(tmp_path / "products.csv")
    one, one_store, one_encoder = build(catalogue, tmp_path / "one", 1)
    many, many_store, many_encoder = build(catalogue, tmp_path / "many", ahead)
    assert one.duplicates == 10
    assert one.rejected == 6
    for name in ("rows_read", "encoded", "copied", "rejected", "duplicates", "verified"):
        assert getattr(many, name) == getattr(one, name), name
    assert records(many_store, many) == records(one_store, one)
    # The same titles in the same batches, which is what makes rows equal to the last bit.
    assert many_encoder.titles == one_encoder.titles
    assert many_encoder.batches == one_encoder.batches
    assert many.reject_file.read_bytes() == one.reject_file.read_bytes()


def test_what_was_read_before_a_file_breaks_off_is_stored(tmp_path: Path) -> None:
    whole = gzip.compress(write(tmp_path / "products.csv", 20_000).read_bytes(), mtime=0)
    catalogue = tmp_path / "products.csv.gz"
    catalogue.write_bytes(whole[: len(whole) // 2])
    stored = []
    for ahead in (1, 50):
        encoder, store = HashEncoder(), MemoryStore()
        rows = product_rows(encoder)
        options = IndexOptions(tmp_path / f"{ahead}.jsonl", chunk_rows=10)
        with pytest.raises(CatalogueDamaged):
            index_rows(
                *(open_catalogue(catalogue), rows, store, options, lambda *_: None, None),
                LocalChunks(rows, 4, ahead),
            )
        stored.append(encoder.titles)
    assert len(stored[0]) > 5000
    assert stored[0] == stored[1]
