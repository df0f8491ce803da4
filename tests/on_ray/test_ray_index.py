"""Vector sets encoded on a Ray cluster of two workers: the rows of one process."""

from functools import partial
from pathlib import Path

import pytest

from indexing.catalogue import open_catalogue
from indexing.index import IndexOptions, Report, index_rows
from indexing.ray_encode import RayChunks, open_product_rows
from indexing.ray_work import ray_cluster
from indexing.student import RowEncoder
from model_store.registry import DEFAULT_ROOT, bundle_folder, find
from tests.on_ray.conftest import kill_a_worker, restarts
from vector_store.open import open_store

pytestmark = [
    pytest.mark.usefixtures("two_workers"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),  # names Ray itself deprecated
]

NAME = "shop-bert2dnn"
CHUNK = 100  # rows per commit: many chunks are under way at once
TIME_BYTES = 4  # of a record, at its end: when it was encoded


@pytest.fixture(scope="module")
def bundle() -> Path:
    """The shop's student."""
    student = find(DEFAULT_ROOT, NAME)
    return bundle_folder(DEFAULT_ROOT, NAME, student.current or student.versions[-1])


@pytest.fixture(scope="module")
def encoder(bundle: Path) -> RowEncoder:
    return open_product_rows(bundle, threads=2)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 rows: ids that came before, in the same chunk and in earlier ones, and bad lines."""
    lines = ["product_id,title"]
    for number in range(3000):
        if number % 50 == 7:
            lines.append(f",no id {number}")
        elif number % 40 == 9:
            lines.append(f"p{number - number % 120},second title {number}")
        else:
            lines.append(f"p{number},Red lamp {number} of steel {'手机 ' * (number % 9)}")
    path = tmp_path_factory.mktemp("catalogue") / "products.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def records(url: str, report: Report) -> dict[str, bytes]:
    store = open_store(url, timeout_ms=10_000)
    header = store.header(report.set_id)
    found = {key: record[:-TIME_BYTES] for batch in store.scan(header) for key, record in batch}
    store.close()
    return found


def build(
    catalogue: Path, encoder: RowEncoder, url: str, folder: Path, chunks: RayChunks | None
) -> Report:
    options = IndexOptions(folder / "rejects.jsonl", chunk_rows=CHUNK, batch_titles=16)
    killed: list[int] = []

    def on_progress(phase: str, done: int, _: int | None) -> None:
        if phase == "encode" and done >= 3 * CHUNK and chunks and not killed:
            killed.append(kill_a_worker())

    store = open_store(url, timeout_ms=10_000)
    try:
        return index_rows(
            open_catalogue(catalogue), encoder, store, options, on_progress, None, chunks
        )
    finally:
        store.close()


def test_a_set_encoded_on_ray_is_that_of_one_process_though_a_worker_is_killed(
    catalogue: Path, bundle: Path, encoder: RowEncoder, tmp_path: Path
) -> None:
    urls = [f"lmdb:{tmp_path / name}" for name in ("here", "there")]
    for name in ("here", "there"):
        (tmp_path / f"{name}-rejects").mkdir()
    here = build(catalogue, encoder, urls[0], tmp_path / "here-rejects", None)
    before = restarts()
    with ray_cluster("auto") as cluster:
        slow = partial(open_slowly, threads=1)
        chunks = RayChunks(bundle, slow, encoder, cluster, 16)
        assert chunks.ahead > 30  # so the whole catalogue is under way at once
        there = build(catalogue, encoder, urls[1], tmp_path / "there-rejects", chunks)
    assert restarts() > before
    assert there.live
    assert (there.encoded, there.rejected, there.duplicates, there.rows_read) == (
        *(here.encoded, here.rejected, here.duplicates, here.rows_read),
    )
    assert here.duplicates > 50
    assert records(urls[1], there) == records(urls[0], here)
    rejects = [tmp_path / f"{name}-rejects" / "rejects.jsonl" for name in ("here", "there")]
    assert rejects[0].read_bytes() == rejects[1].read_bytes()


def open_slowly(folder: Path, threads: int) -> RowEncoder:
    """The student, slow enough for a worker to be killed in the middle of its work."""
    import time
    from dataclasses import replace

    encoder = open_product_rows(folder, threads)

    def encode(texts):  # type: ignore[no-untyped-def]
        time.sleep(0.05)
        return encoder.encode(texts)

    return replace(encoder, encode=encode)


def test_unchanged_texts_are_copied_not_encoded(
    catalogue: Path, bundle: Path, encoder: RowEncoder, tmp_path: Path
) -> None:
    url = f"lmdb:{tmp_path / 'rows'}"
    first = build(catalogue, encoder, url, tmp_path, None)
    changed = tmp_path / "changed.csv"
    changed.write_text(catalogue.read_text("utf-8").replace("lamp 77 ", "lamp 77a "), "utf-8")
    options = IndexOptions(tmp_path / "rejects.jsonl", only_changed=True, chunk_rows=CHUNK)
    store = open_store(url, timeout_ms=10_000)
    with ray_cluster("auto") as cluster:
        chunks = RayChunks(bundle, partial(open_product_rows, threads=1), encoder, cluster, 16)
        second = index_rows(
            open_catalogue(changed), encoder, store, options, lambda *_: None, None, chunks
        )
    store.close()
    assert (second.encoded, second.copied) == (1, first.encoded - 1)
