"""Before a build: how many rows there are, how large the set will be, and whether it fits."""

from contextlib import closing
from dataclasses import dataclass

from indexing.catalogue import Catalogue, Entry
from indexing.errors import StoreTooSmall
from indexing.progress import OnProgress, parse_progress
from indexing.room import Room, redis_key_prefix_bytes, room, set_bytes
from indexing.start import newest_unsealed
from indexing.student import RowEncoder
from vector_store.header import Holds
from vector_store.protocol import VectorStore
from vector_store.rows import record_bytes

_REPORT_EVERY_ROWS = 100_000


@dataclass(frozen=True)
class Count:
    """Rows of a file. Entries with an id that came before are not told apart."""

    rows: int
    entries: int
    bad_lines: int
    mean_id_bytes: float


@dataclass(frozen=True)
class Plan:
    """What a build will take; needed_bytes leaves out what an unfinished set already holds."""

    holds: Holds
    count: Count
    record_bytes: int
    set_bytes: int
    needed_bytes: int
    room: Room


def count(catalogue: Catalogue, on_progress: OnProgress) -> Count:
    """Reads the whole catalogue as `index` will, so the numbers are exact: bad lines included.

    Raises:
        CatalogueError: it can't be read to its end.
    """
    rows = entries = id_bytes = 0
    with closing(catalogue.rows()) as stream:
        for row in stream:
            rows += 1
            if isinstance(row, Entry):
                entries += 1
                id_bytes += len(row.entry_id.encode())
            if rows % _REPORT_EVERY_ROWS == 0:
                on_progress("count", rows, None)
    on_progress("count", rows, rows)
    return Count(rows, entries, rows - entries, id_bytes / entries if entries else 0.0)


def plan(
    catalogue: Catalogue,
    encoder: RowEncoder,
    store: VectorStore,
    url: str,
    *,
    timeout_ms: int,
    on_progress: OnProgress,
) -> Plan:
    """Counts the catalogue and projects its set.

    Args:
        catalogue: what will be indexed.
        encoder: the student, as it will encode.
        store: the open store.
        url: the store's, login included.
        timeout_ms: for asking Redis how much memory it has left.
        on_progress: told while counting.

    Raises:
        CatalogueError: the catalogue can't be read to its end.
        StoreError: the store can't be asked.
    """
    counted = count(catalogue, on_progress)
    size = record_bytes(encoder.width, encoder.dtype)
    left = room(url, timeout_ms)
    unfinished = newest_unsealed(store, encoder.fingerprint)
    progress = parse_progress(store.progress(unfinished.set_id)) if unfinished else None
    name_bytes = counted.mean_id_bytes
    if left.kind == "redis":
        set_id = unfinished.set_id if unfinished else f"{encoder.fingerprint[:8]}.1"
        name_bytes += redis_key_prefix_bytes(url, set_id)
    whole = set_bytes(left.kind, counted.entries, name_bytes, size)
    there = set_bytes(left.kind, progress.inserted if progress else 0, name_bytes, size)
    return Plan(catalogue.holds, counted, size, whole, max(0, whole - there), left)


def require_room(planned: Plan) -> None:
    """Refuses a set that does not fit; skip the call to build it all the same.

    Raises:
        StoreTooSmall: the store has less left than the set needs.
    """
    left = planned.room.left_bytes
    if left is not None and planned.needed_bytes > left:
        raise StoreTooSmall(
            f"{planned.count.entries} {planned.holds} need about {_mib(planned.needed_bytes)} "
            f"more, but there are {_mib(left)} left ({planned.room.limit}): make room, for "
            "example with `winnow sets gc`, or force it"
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
