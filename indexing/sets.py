"""Vector sets of a store: list, verify, activate, roll back, collect. Returns data."""

import time
from dataclasses import dataclass
from datetime import datetime

from indexing.errors import SetRefused
from indexing.progress import BuildProgress, OnProgress, parse_progress
from indexing.start import generation
from indexing.verify import check_rows
from vector_store.header import SetHeader
from vector_store.protocol import VectorStore


@dataclass(frozen=True)
class SetInfo:
    """One set as it is listed; `progress` is that of the build that made it."""

    header: SetHeader
    live: bool
    progress: BuildProgress | None


@dataclass(frozen=True)
class Verification:
    """What reading a whole set back found."""

    header: SetHeader
    rows: int
    corrupt: int
    first_corrupt: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether every row that the header counts is there and can be scored."""
        return self.corrupt == 0 and self.rows == self.header.count


def list_sets(store: VectorStore) -> list[SetInfo]:
    """All sets, by fingerprint and then generation, oldest first."""
    headers = sorted(store.headers(), key=lambda header: (header.fingerprint, generation(header)))
    return [
        SetInfo(
            header=header,
            live=store.live(header.fingerprint) == header.set_id,
            progress=parse_progress(store.progress(header.set_id)),
        )
        for header in headers
    ]


def verify(store: VectorStore, set_id: str, on_progress: OnProgress) -> Verification:
    """Reads every row of a set; of an unsealed one the header counts none yet.

    Raises:
        SetNotFound: there is no such set.
    """
    header = store.header(set_id)
    check = check_rows(store, header, on_progress)
    return Verification(header, check.rows, check.corrupt, check.first_corrupt)


def activate(store: VectorStore, set_id: str) -> SetHeader:
    """Serves the set's fingerprint from this set; its header.

    Raises:
        SetNotFound: there is no such set.
        StoreError: it is not sealed.
    """
    header = store.header(set_id)
    store.set_live(header.fingerprint, set_id)
    return header


def rollback(store: VectorStore, fingerprint: str) -> SetHeader:
    """Serves the newest sealed generation before the live one; its header.

    Raises:
        SetRefused: no set of this fingerprint is live, or there is no older sealed one.
    """
    live = store.live(fingerprint)
    if live is None:
        raise SetRefused(f"no set of fingerprint {fingerprint[:8]} is live: nothing to roll back")
    now = generation(store.header(live))
    older = [h for h in _sealed(store, fingerprint) if generation(h) < now]
    if not older:
        raise SetRefused(
            f"{live} is the oldest sealed set of its fingerprint: nothing to roll back to"
        )
    target = max(older, key=generation)
    store.set_live(fingerprint, target.set_id)
    return target


def gc(
    store: VectorStore,
    *,
    keep: int = 2,
    unsealed_older_than_s: float | None = None,
    dry_run: bool = False,
) -> list[SetHeader]:
    """Drops old sets; the headers of those dropped (or, in a dry run, that would be).

    Args:
        store: opened for writing.
        keep: newest sealed sets to keep of every fingerprint; the live one is kept in any case.
        unsealed_older_than_s: also drop unfinished sets that got no row for so many seconds; None
            leaves them all, for an indexer may be at work.
        dry_run: drop nothing.

    Raises:
        SetRefused: `keep` is below 1.
    """
    if keep < 1:
        raise SetRefused(f"expected to keep at least 1 set of every fingerprint, got {keep}")
    listed = list_sets(store)
    sealed = [info for info in listed if info.header.sealed is not None]
    kept = {
        header.set_id
        for fingerprint in {info.header.fingerprint for info in sealed}
        for header in [i.header for i in sealed if i.header.fingerprint == fingerprint][-keep:]
    }
    doomed = [i.header for i in sealed if not i.live and i.header.set_id not in kept]
    if unsealed_older_than_s is not None:
        before = time.time() - unsealed_older_than_s
        doomed += [
            info.header
            for info in listed
            if info.header.sealed is None and _last_change_s(info) < before
        ]
    if not dry_run:
        for header in doomed:
            store.drop(header)
    return doomed


def _sealed(store: VectorStore, fingerprint: str) -> list[SetHeader]:
    return [h for h in store.headers() if h.fingerprint == fingerprint and h.sealed is not None]


def _last_change_s(info: SetInfo) -> float:
    if info.progress is not None:
        return info.progress.updated_s
    return datetime.fromisoformat(info.header.created).timestamp()
