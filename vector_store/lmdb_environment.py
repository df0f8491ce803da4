"""Opening LMDB environments: one per path and process, shared and counted. Knows no sets, no rows.

A file that is missing, damaged or foreign ends here in one StoreError.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

import lmdb

from vector_store.errors import StoreError
from vector_store.keys import LMDB_META

# Address space, not memory and not disk: data.mdb grows as rows come, and a map that is never
# too small never has to be resized under readers in other processes.
MAP_BYTES: Final = 1 << 40
MAX_SETS: Final = 1024  # named databases that one process can hold open
MAX_READERS: Final = 1024  # read transactions at the same time, over all processes
SPARE_READERS: Final = 64  # kept per process, so that a request needn't register as a reader

# A full disk takes a part of a page at first, and LMDB calls that an input/output error.
FULL: Final = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)))
DAMAGED: Final = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn errors of lmdb and of the file system into StoreError."""
    try:
        yield
    except DAMAGED as error:
        raise StoreError(
            f"the LMDB store at {path} is damaged or not an LMDB store ({error}); restore it "
            "from a copy, or remove the folder and index the catalogue again"
        ) from error
    except lmdb.ReadersFullError as error:
        raise StoreError(
            f"the LMDB store at {path} already has {MAX_READERS} readers; "
            "stop some of the processes that use it"
        ) from error
    except (lmdb.Error, OSError) as error:
        if any(reason in str(error) for reason in FULL):
            raise StoreError(
                f"the LMDB store at {path} stored nothing of this batch ({error}): its disk is "
                "full, or fails; make room there, then run the same command again: it resumes"
            ) from error
        raise StoreError(f"the LMDB store at {path} failed: {error}") from error


class SharedEnvironment:
    """One open LMDB environment and its named databases; threads of this process share it."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self.users = 0
        self._databases: dict[bytes, lmdb._Database] = {}
        self._lock = Lock()  # lmdb wants databases opened by one thread at a time
        with translated(path):
            self.env = _open(path, read_only=read_only)
            try:
                if not read_only:
                    self.env.reader_check()  # readers that were killed would pin old pages
                    self.create(LMDB_META)
            except (lmdb.Error, OSError):
                self.env.close()
                raise

    def database(self, name: bytes) -> "lmdb._Database | None":
        """The named database, None if it isn't there (yet)."""
        found = self._databases.get(name)
        if found is not None:
            return found
        with self._lock:
            try:
                # In a transaction of lmdb's own: it forgets what is opened in a reader's.
                found = self.env.open_db(name, create=False)
            except lmdb.NotFoundError:
                return None
        self._databases[name] = found
        return found

    def create(self, name: bytes) -> "lmdb._Database":
        """The named database, made if it isn't there."""
        found = self.database(name)
        if found is None:
            with self._lock:
                found = self.env.open_db(name)
            self._databases[name] = found
        return found


def _open(path: Path, *, read_only: bool) -> lmdb.Environment:
    data = path / "data.mdb"
    if read_only and not (data.is_file() and data.stat().st_size):
        raise StoreError(
            f"there is no LMDB store at {path} (expected {data}); `winnow index` makes one, "
            "or correct the path"
        )
    path.mkdir(parents=True, exist_ok=True)
    env = lmdb.open(
        str(path),
        map_size=MAP_BYTES,
        readonly=read_only,
        max_dbs=MAX_SETS,
        max_readers=MAX_READERS,
        max_spare_txns=SPARE_READERS,
        readahead=False,  # ids of one request lie anywhere: pages read ahead would be wasted
    )
    # Beyond the end of a truncated file a read would kill the process with SIGBUS, so the file
    # must be as long as its own page count says.
    expected = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    got = data.stat().st_size
    if got < expected:
        env.close()
        raise StoreError(
            f"the LMDB store at {path} is truncated: expected {expected} bytes or more in "
            f"data.mdb, got {got}; restore it from a copy, or remove the folder and index the "
            "catalogue again"
        )
    return env


_open_environments: dict[tuple[int, Path], SharedEnvironment] = {}
_open_lock = Lock()


def acquire(path: Path, *, read_only: bool) -> SharedEnvironment:
    """The environment at `path`, opened unless this process has it open already.

    lmdb forbids opening one file twice in a process: the second close would drop the locks of
    both. The process id is part of the key because an environment doesn't survive a fork; a
    forked child that opens the path of its parent gets lmdb's own refusal.

    Raises:
        StoreError: missing (read-only), damaged, or open here for reading when writing is wanted.
    """
    path = path.absolute()
    with _open_lock:
        key = (os.getpid(), path.resolve())
        shared = _open_environments.get(key)
        if shared is None:
            shared = _open_environments[key] = SharedEnvironment(path, read_only=read_only)
        elif shared.read_only and not read_only:
            raise StoreError(
                f"the LMDB store at {path} is open read-only in this process and cannot be "
                "opened for writing as well; close it first or index in another process"
            )
        shared.users += 1
        return shared


def release(shared: SharedEnvironment) -> None:
    """Give an environment back; the last user closes it."""
    with _open_lock:
        shared.users -= 1
        if shared.users == 0:
            _open_environments.pop((os.getpid(), shared.path.resolve()), None)
            shared.env.close()
