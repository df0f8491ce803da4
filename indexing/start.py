"""Where a build starts: a new set, or the unfinished one of the same catalogue and student."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from indexing.progress import (
    BuildProgress,
    CatalogueIdentity,
    parse_progress,
    refuse_if_building,
    this_builder,
)
from indexing.student import RowEncoder
from vector_store.header import SetHeader
from vector_store.protocol import VectorStore


@dataclass(frozen=True)
class Start:
    """The set to build, what it holds already, and why it is this one."""

    header: SetHeader
    progress: BuildProgress
    how: Literal["new", "resumed", "restarted"]
    why: str


def start_build(
    store: VectorStore,
    rows: RowEncoder,
    identity: CatalogueIdentity,
    *,
    restart: bool,
) -> Start:
    """Continues the newest unsealed set of this fingerprint, or drops it and starts a new one.

    Raises:
        BuildConflict: another indexer is at work on that set.
        StoreError: the store can't be read or written.
    """
    unfinished = newest_unsealed(store, rows.fingerprint)
    if unfinished is None:
        return _new(store, rows, identity, "new", "no unfinished set of these rows")
    progress = parse_progress(store.progress(unfinished.set_id))
    if progress is not None:
        refuse_if_building(unfinished.set_id, progress)
    if restart:
        why = "asked to start over"
    elif progress is None:
        why = f"set {unfinished.set_id} was left without progress"
    elif progress.catalogue != identity:
        why = f"the catalogue changed: {_changes(progress.catalogue, identity)}"
    else:
        claimed = progress.model_copy(update={"builder": this_builder(), "updated_s": time.time()})
        store.insert(unfinished, [], [], claimed.stored())
        return Start(unfinished, claimed, "resumed", f"after row {progress.rows_read}")
    store.drop(unfinished)
    return _new(store, rows, identity, "restarted", why)


def newest_unsealed(store: VectorStore, fingerprint: str) -> SetHeader | None:
    """The unsealed set of a fingerprint with the highest generation."""
    unsealed = [
        header
        for header in store.headers()
        if header.fingerprint == fingerprint and header.sealed is None
    ]
    return max(unsealed, key=generation, default=None)


def generation(header: SetHeader) -> int:
    """Generation of a set: 1, 2, ... within its fingerprint."""
    return int(header.set_id.rpartition(".")[2])


def _new(
    store: VectorStore,
    rows: RowEncoder,
    identity: CatalogueIdentity,
    how: Literal["new", "restarted"],
    why: str,
) -> Start:
    prefix = rows.fingerprint[:8]
    taken = [generation(h) for h in store.headers() if h.set_id.startswith(f"{prefix}.")]
    header = SetHeader(
        format_version=1,
        set_id=f"{prefix}.{max(taken, default=0) + 1}",
        fingerprint=rows.fingerprint,
        model=rows.model,
        width=rows.width,
        dtype=rows.dtype,
        segments=dict(rows.segments),
        count=0,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        sealed=None,
    )
    progress = BuildProgress(catalogue=identity, builder=this_builder(), updated_s=time.time())
    store.put_header(header)
    store.insert(header, [], [], progress.stored())
    return Start(header, progress, how, why)


def _changes(before: CatalogueIdentity, now: CatalogueIdentity) -> str:
    old, new = before.model_dump(), now.model_dump()
    return ", ".join(
        f"{field} was {old[field]!r}, is {new[field]!r}"
        for field in old
        if old[field] != new[field]
    )
