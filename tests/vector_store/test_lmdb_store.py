"""What is particular to LMDB: files that are missing, damaged or open twice."""

import multiprocessing
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from vector_store.errors import SetCorrupt, StoreError
from vector_store.header import SetHeader
from vector_store.lmdb_environment import MAP_BYTES
from vector_store.lmdb_store import LmdbStore
from vector_store.rows import CORRUPT, FOUND, unpack

HeaderOf = Callable[..., SetHeader]
RecordsOf = Callable[..., list[bytes]]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, header_of: HeaderOf, records_of: RecordsOf) -> Path:
    """A closed store with one set of 3,000 rows."""
    path = tmp_path / "rows"
    store = LmdbStore(path, read_only=False)
    store.put_header(header_of())
    store.insert(header_of(), [f"p{i}" for i in range(3000)], records_of(3000), b"3000")
    store.close()
    return path


def overwrite(folder: Path, database: bytes, key: bytes, value: bytes) -> None:
    with (
        lmdb.open(str(folder), map_size=MAP_BYTES, max_dbs=8) as env,
        env.begin(write=True) as txn,
    ):
        txn.put(key, value, db=env.open_db(database, txn=txn))


def test_the_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    LmdbStore(tmp_path / "a" / "b", read_only=False).close()
    assert (tmp_path / "a" / "b" / "data.mdb").is_file()


def test_the_file_is_no_larger_than_its_rows_need(folder: Path) -> None:
    assert (folder / "data.mdb").stat().st_size < 1 << 20


def transactions(folder: Path) -> int:
    with lmdb.open(str(folder), map_size=MAP_BYTES, readonly=True) as env:
        return env.info()["last_txnid"]


def test_rows_and_progress_land_in_one_transaction(
    folder: Path, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    before = transactions(folder)
    store = LmdbStore(folder, read_only=False)
    store.insert(header_of(), ["new 1", "new 2"], records_of(2), b"3002")
    store.close()
    assert transactions(folder) == before + 1


@pytest.mark.parametrize("made", ["nothing", "folder", "empty file"])
def test_reading_a_store_that_is_not_there_says_what_to_do(tmp_path: Path, made: str) -> None:
    path = tmp_path / "rows"
    if made != "nothing":
        path.mkdir()
    if made == "empty file":
        (path / "data.mdb").touch()
    with pytest.raises(StoreError, match=r"no LMDB store at .*rows .*winnow index"):
        LmdbStore(path, read_only=True)
    assert path.exists() == (made != "nothing")


@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_where_the_folder_should_be_is_refused(tmp_path: Path, read_only: bool) -> None:
    (tmp_path / "rows").write_text("not a folder")
    with pytest.raises(StoreError, match="LMDB store at"):
        LmdbStore(tmp_path / "rows", read_only=read_only)


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "is truncated: expected .* bytes or more"),
        (lambda data: data[:-4096], "is truncated: expected .* bytes or more"),
        (lambda data: data[:100], "damaged or not an LMDB store"),
        (lambda data: bytes(len(data)), "damaged or not an LMDB store"),
        (lambda data: b"hello world" * 5000, "damaged or not an LMDB store"),
        (lambda data: bytes(8192) + data[8192:], "damaged or not an LMDB store"),
    ],
    ids=["half", "one page short", "100 bytes", "zeros", "foreign", "meta pages gone"],
)
def test_a_damaged_file_is_refused_when_it_is_opened(
    folder: Path, damage: Callable[[bytes], bytes], message: str, read_only: bool
) -> None:
    data = folder / "data.mdb"
    intact = data.read_bytes()
    data.write_bytes(damage(intact))
    with pytest.raises(StoreError, match=f"{message}.*index the catalogue again"):
        LmdbStore(folder, read_only=read_only)
    data.write_bytes(intact)
    LmdbStore(folder, read_only=read_only).close()


def test_damaged_pages_are_a_store_error_not_a_crash(folder: Path, header_of: HeaderOf) -> None:
    data = folder / "data.mdb"
    rest = data.stat().st_size - 8192
    data.write_bytes(data.read_bytes()[:8192] + b"\xa5" * rest)
    store = LmdbStore(folder, read_only=True)
    with pytest.raises(StoreError, match="damaged or not an LMDB store"):
        store.get(header_of(), ["p1"])
    store.close()


def test_rows_of_the_wrong_length_are_corrupt(folder: Path, header_of: HeaderOf) -> None:
    overwrite(folder, b"rows:0123abcd.1", b"p1", b"short")
    store = LmdbStore(folder, read_only=True)
    rows = unpack(store.get(header_of(), ["p0", "p1", "p2"]), header_of().width)
    assert rows.status.tolist() == [FOUND, CORRUPT, FOUND]
    store.close()


@pytest.mark.parametrize("stored", [b"{", b'{"format_version": 1}', b""])
def test_a_header_that_cannot_be_read_is_named(
    folder: Path, header_of: HeaderOf, records_of: RecordsOf, stored: bytes
) -> None:
    overwrite(folder, b"meta", b"header:0123abcd.1", stored)
    store = LmdbStore(folder, read_only=False)
    reads: list[Callable[[], object]] = [
        store.headers,
        lambda: store.header("0123abcd.1"),
        lambda: store.set_live(header_of().fingerprint, "0123abcd.1"),
        lambda: store.insert(header_of(), ["new"], records_of(1), b""),
    ]
    for read in reads:
        with pytest.raises(SetCorrupt, match=r"header of vector set 0123abcd\.1 is unreadable"):
            read()
    store.drop(header_of())
    assert store.headers() == []
    store.close()


def test_one_process_opens_a_path_once_however_it_is_written(
    folder: Path, header_of: HeaderOf, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(folder)
    stores = [
        LmdbStore(path, read_only=read_only)
        for path in (folder, tmp_path / "x" / ".." / "rows", tmp_path / "link")
        for read_only in (False, True)
    ]
    for store in stores:
        assert None not in store.get(header_of(), ["p1", "p2"])
        store.close()
    with pytest.raises(StoreError, match="closed"):
        stores[0].get(header_of(), ["p1"])


def test_closing_twice_does_not_close_for_others(folder: Path, header_of: HeaderOf) -> None:
    first, second = (LmdbStore(folder, read_only=True) for _ in range(2))
    first.close()
    first.close()
    assert None not in second.get(header_of(), ["p1"])
    second.close()


def test_writing_is_refused_where_this_process_reads_already(folder: Path) -> None:
    reader = LmdbStore(folder, read_only=True)
    with pytest.raises(StoreError, match="open read-only in this process"):
        LmdbStore(folder, read_only=False)
    reader.close()
    LmdbStore(folder, read_only=False).close()


def test_a_store_opened_before_a_fork_is_refused_in_the_child(folder: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from vector_store.errors import StoreError
from vector_store.lmdb_store import LmdbStore

path = Path(sys.argv[1])
store = LmdbStore(path, read_only=True)
child = os.fork()
if child == 0:
    try:
        LmdbStore(path, read_only=True)
    except StoreError as error:
        os._exit(0 if "already open in this process" in str(error) else 2)
    os._exit(1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True)


def read_row(folder: Path) -> bytes | None:
    store = LmdbStore(folder, read_only=True)
    (header,) = store.headers()
    (record,) = store.get(header, ["p7"])
    store.close()
    return record


def test_several_processes_read_while_one_writes(
    folder: Path, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    writer = LmdbStore(folder, read_only=False)
    with multiprocessing.get_context("spawn").Pool(2) as readers:
        answers = readers.map_async(read_row, [folder] * 6)
        for i in range(20):
            writer.insert(header_of(), [f"new {i}"], records_of(1), b"")
        assert answers.get(timeout=120) == [records_of(8)[7]] * 6
    writer.close()


def test_a_copy_of_the_folder_is_a_store(folder: Path, header_of: HeaderOf) -> None:
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    store = LmdbStore(copy, read_only=True)
    assert store.headers() == [header_of()]
    store.close()
