"""How far a build is: what is stored beside its rows, and what is told to who watches."""

import os
import socket
import time
import uuid
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from indexing.catalogue import Catalogue
from indexing.errors import BuildConflict, CatalogueError

Phase = Literal["count", "skip", "encode", "verify"]
OnProgress = Callable[[Phase, int, int | None], None]
"""Called with the phase, the rows done and, where it is known, the rows there are."""

SILENT_AFTER_S = 60  # a builder that committed nothing for so long counts as gone


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CatalogueIdentity(_Frozen):
    """Tells whether a file, and the way to read it, is the one a build started with."""

    file_name: str
    bytes: int
    mtime_ns: int
    file_format: str
    encoding: str
    id_column: str
    title_column: str


class Builder(_Frozen):
    """The process that builds a set."""

    host: str
    pid: int
    token: str


class BuildProgress(_Frozen):
    """Stored with every batch of rows, in the same transaction.

    Every row of the catalogue read so far is in one of encoded, copied, rejected, duplicates.
    """

    format_version: Literal[1] = 1
    catalogue: CatalogueIdentity
    builder: Builder
    updated_s: float
    reject_bytes: int = 0
    rows_read: int = 0
    encoded: int = 0
    copied: int = 0
    rejected: int = 0
    duplicates: int = 0

    @property
    def inserted(self) -> int:
        """Rows in the set."""
        return self.encoded + self.copied

    def stored(self) -> bytes:
        """As it is stored beside the rows."""
        return self.model_dump_json().encode()


def parse_progress(stored: bytes | None) -> BuildProgress | None:
    """The progress of a build, None where nothing usable is stored."""
    try:
        return None if stored is None else BuildProgress.model_validate_json(stored)
    except ValidationError:
        return None


def identify(catalogue: Catalogue) -> CatalogueIdentity:
    """Identity of the file as it is now.

    Raises:
        CatalogueError: it is gone.
    """
    try:
        stat = catalogue.path.stat()
    except OSError as error:
        raise CatalogueError(f"{catalogue.path}: is gone: {error.strerror}") from error
    return CatalogueIdentity(
        file_name=catalogue.path.name,
        bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        file_format=catalogue.file_format,
        encoding=catalogue.encoding,
        id_column=catalogue.id_column,
        title_column=catalogue.title_column,
    )


def this_builder() -> Builder:
    """A builder for this process, different at every call."""
    return Builder(host=socket.gethostname(), pid=os.getpid(), token=uuid.uuid4().hex)


def refuse_if_building(set_id: str, progress: BuildProgress) -> None:
    """Refuses a set that another indexer seems to be building.

    A killed builder on this machine is told by its process; one elsewhere, by its silence. Where
    clocks have jumped, a live one may be taken for gone: it stops at its next commit, since the
    set is no longer its own, and no row is lost.

    Raises:
        BuildConflict: it committed within the last SILENT_AFTER_S seconds and may be alive.
    """
    # A commit from far in the future, by a clock that was wrong, must not block the set until then.
    silent_s = abs(time.time() - progress.updated_s)
    if silent_s < SILENT_AFTER_S and _may_be_alive(progress.builder):
        raise BuildConflict(
            f"set {set_id} is being built by process {progress.builder.pid} on "
            f"{progress.builder.host}, which committed rows {silent_s:.0f} s ago: wait for it, or "
            f"stop it and try again (elsewhere: {SILENT_AFTER_S} s after it has stopped)"
        )


def _may_be_alive(builder: Builder) -> bool:
    if builder.host != socket.gethostname():
        return True
    if builder.pid == os.getpid():  # a restarted container has its predecessor's host and pid
        return False
    try:
        os.kill(builder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
