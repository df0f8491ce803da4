"""What outlives a process: reopening, read-only use, an indexer killed between two batches."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vector_store.errors import StoreError
from vector_store.header import SetHeader
from vector_store.open import open_store
from vector_store.rows import unpack

HeaderOf = Callable[..., SetHeader]
RecordsOf = Callable[..., list[bytes]]

ROOT = Path(__file__).parents[2]
TIMEOUT_MS = 20_000
BATCH = 50
SEALED = "2024-05-01T11:00:00Z"

# Inserts batches without end, says how many it has finished, and resumes where progress says.
INDEXER = f"""
import sys
from vector_store.header import SetHeader
from vector_store.open import open_store

url, header_json = sys.argv[1:]
header = SetHeader.model_validate_json(header_json)
store = open_store(url, timeout_ms={TIMEOUT_MS})
store.put_header(header)
batch = int(store.progress(header.set_id) or b"0")
while True:
    ids = [f"product {{i}}" for i in range(batch * {BATCH}, (batch + 1) * {BATCH})]
    added = store.insert(header, ids, [bytes(header.record_bytes)] * {BATCH}, b"%d" % (batch + 1))
    assert all(added), "a row was there that progress did not know of"
    batch += 1
    print(batch, flush=True)
"""


@pytest.fixture(params=["lmdb", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "lmdb":
        return f"lmdb:{tmp_path / 'rows'}"
    shared: str = request.getfixturevalue("shared_redis_url")
    return shared


def index_and_kill(url: str, header: SetHeader, until: int) -> None:
    """Run the indexer and kill it as soon as it has said that `until` batches are in."""
    with subprocess.Popen(
        [sys.executable, "-c", INDEXER, url, header.model_dump_json()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as indexer:
        assert indexer.stdout is not None
        assert indexer.stderr is not None
        for line in indexer.stdout:
            if int(line) >= until:
                break
        else:
            pytest.fail(f"the indexer ended by itself: {indexer.stderr.read()}")
        indexer.kill()


def test_a_killed_indexer_leaves_exactly_the_rows_its_progress_tells(
    url: str, header_of: HeaderOf
) -> None:
    header = header_of()
    for until in (3, 10, 20):
        index_and_kill(url, header, until)
        store = open_store(url, timeout_ms=TIMEOUT_MS)
        batches = int(store.progress(header.set_id) or b"0")
        stored = {product_id for batch in store.scan(header) for product_id, _ in batch}
        store.close()
        assert batches >= until
        assert stored == {f"product {i}" for i in range(batches * BATCH)}


def test_readers_see_whole_batches_while_another_process_indexes(
    url: str, header_of: HeaderOf
) -> None:
    header = header_of()
    writer = open_store(url, timeout_ms=TIMEOUT_MS)
    writer.put_header(header)
    writer.close()
    with subprocess.Popen(
        [sys.executable, "-c", INDEXER, url, header.model_dump_json()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as indexer:
        assert indexer.stdout is not None
        reader = open_store(url, read_only=True, timeout_ms=TIMEOUT_MS)
        for line, _ in zip(indexer.stdout, range(30), strict=False):
            finished = int(line)
            ids = [f"product {i}" for i in range((finished - 1) * BATCH, finished * BATCH)]
            assert not unpack(reader.get(header, ids), header.width).status.any()
            assert int(reader.progress(header.set_id) or b"0") >= finished
        indexer.kill()
        reader.close()


def test_everything_is_there_after_reopening(
    url: str, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header, sealed = header_of(), header_of(count=2, sealed=SEALED)
    store = open_store(url, timeout_ms=TIMEOUT_MS)
    store.put_header(header)
    store.insert(header, ["a", "b"], records_of(2), b"done")
    store.put_header(sealed)
    store.set_live(header.fingerprint, header.set_id)
    store.close()
    for read_only in (True, False):
        store = open_store(url, read_only=read_only, timeout_ms=TIMEOUT_MS)
        assert store.headers() == [sealed]
        assert store.live(header.fingerprint) == header.set_id
        assert store.progress(header.set_id) == b"done"
        assert store.get(header, ["b", "a"]) == records_of(2)[::-1]
        store.close()


def test_read_only_refuses_every_write(
    url: str, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of(sealed=SEALED)
    open_store(url, timeout_ms=TIMEOUT_MS).close()
    store = open_store(url, read_only=True, timeout_ms=TIMEOUT_MS)
    writes: list[Callable[[], object]] = [
        lambda: store.put_header(header),
        lambda: store.insert(header, ["a"], records_of(1), b""),
        lambda: store.set_live(header.fingerprint, header.set_id),
        lambda: store.drop(header),
    ]
    for write in writes:
        with pytest.raises(StoreError, match="opened read-only; open it for writing"):
            write()
    assert store.headers() == []
    store.close()


def test_two_handles_on_one_store_see_each_others_writes(
    url: str, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    writer = open_store(url, timeout_ms=TIMEOUT_MS)
    reader = open_store(url, read_only=True, timeout_ms=TIMEOUT_MS)
    assert reader.get(header, ["a"]) == [None]
    writer.put_header(header)
    writer.insert(header, ["a"], records_of(1), b"")
    assert reader.get(header, ["a"]) == records_of(1)
    writer.close()
    assert reader.headers() == [header]
    reader.close()
