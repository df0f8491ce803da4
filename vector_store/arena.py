"""The row cache's memory: rows by id, of a fixed size, shared by threads. Knows no store, no set.

It begins paused: nothing is held and nothing is taken in until `resume`.
"""

import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vector_store.errors import StoreError
from vector_store.ids import ProductIds
from vector_store.rows_library import address, checked, library

_WAYS = 8  # rows of a bucket, as in rows.c
_ROOM = 1.25  # places per row: an id has two buckets, and hashes spread them unevenly


@dataclass(frozen=True, slots=True)
class ArenaCounters:
    """Rows since the arena was made, and how many it holds now."""

    hits: int
    misses: int
    evictions: int
    invalidations: int
    rows: int


def arena_bytes(budget_bytes: int, width: int, most_rows: int | None) -> int:
    """Memory of an arena: its budget, or what `most_rows` of `width` floats need, if less."""
    if most_rows is None:
        return budget_bytes
    buckets = 1 + int(_ROOM * most_rows) // _WAYS
    return min(budget_bytes, buckets * int(library().arena_bucket_bytes(2 * width)))


class Arena:
    """Rows float16 [width] by product id; what has been used least gives way. See rows.c."""

    def __init__(self, budget_bytes: int, width: int, most_rows: int | None = None) -> None:
        """Reserves address space: the budget, or less where `most_rows` need less.

        Memory is taken as rows come, or all at once by `touch`.

        Raises:
            StoreError: the budget holds no rows, or the system refuses it.
        """
        self._library = library()
        least = self._library.arena_bucket_bytes(2 * width)
        if budget_bytes < least:
            raise StoreError(
                f"expected a row cache of at least {least} bytes for rows of {width} floats, or 0 "
                f"to have none, got {budget_bytes}"
            )
        budget_bytes = arena_bytes(budget_bytes, width, most_rows)
        self._arena = self._library.arena_new(budget_bytes, 2 * width, os.urandom(16))
        if not self._arena:
            raise StoreError(f"the system refuses a row cache of {budget_bytes} bytes; lower it")
        # Not at exit: a thread that watches the store may still call.
        weakref.finalize(self, self._library.arena_free, self._arena).atexit = False
        self.width = width
        self.capacity: int = self._library.arena_capacity(self._arena)

    def touch(self) -> None:
        """Takes all memory now: the first requests pay for no page of it."""
        self._library.arena_touch(self._arena)

    def lookup(
        self, ids: ProductIds, values: NDArray[np.float16], status: NDArray[np.uint8]
    ) -> NDArray[np.int64]:
        """Copies the rows that are held into values [n, width], status [n] FOUND.

        Returns the positions of the others, int64: their status is MISSING, their row anything.
        """
        self._check(ids, values, status)
        missing = np.empty(len(ids), np.int64)
        misses = checked(
            self._library.arena_lookup(
                *(self._arena, *ids.arguments()),
                *(address(values), address(status), address(missing)),
            )
        )
        return missing[:misses]

    def insert(
        self,
        ids: ProductIds,
        values: NDArray[np.float16],
        status: NDArray[np.uint8],
        ticket: int,
    ) -> int:
        """Takes in the rows whose status is FOUND; returns how many it took.

        ticket: drawn before they were fetched; a row that may have changed since is refused.
        """
        self._check(ids, values, status)
        return checked(
            self._library.arena_insert(
                self._arena, *ids.arguments(), address(values), address(status), ticket
            )
        )

    def ticket(self) -> int:
        """What `insert` wants to know of the moment before a fetch."""
        drawn: int = self._library.arena_ticket(self._arena)
        return drawn

    def invalidate(self, raw_ids: Sequence[bytes]) -> int:
        """Forgets these rows, those on their way included; returns how many were held."""
        ids = ProductIds.from_bytes(raw_ids)
        return checked(self._library.arena_invalidate(self._arena, *ids.arguments()))

    def clear(self) -> None:
        """Forgets all rows, those on their way included."""
        self._library.arena_clear(self._arena)

    def pause(self) -> None:
        """Forgets all rows and takes none until `resume`."""
        self._library.arena_pause(self._arena, 1)

    def resume(self) -> None:
        """Takes rows whose fetch begins from here on."""
        self._library.arena_pause(self._arena, 0)

    def paused(self) -> bool:
        """Whether it takes no rows."""
        return bool(self._library.arena_paused(self._arena))

    def counters(self) -> ArenaCounters:
        """All of them at one moment."""
        counts = np.empty(5, np.int64)
        self._library.arena_counters(self._arena, address(counts))
        return ArenaCounters(*counts.tolist())

    def _check(
        self, ids: ProductIds, values: NDArray[np.float16], status: NDArray[np.uint8]
    ) -> None:
        expected = (len(ids), self.width)
        fits = values.shape == expected and status.shape == expected[:1]
        typed = values.dtype == np.float16 and status.dtype == np.uint8
        if not (fits and typed and values.flags.c_contiguous and status.flags.c_contiguous):
            raise ValueError(
                f"expected contiguous float16 {list(expected)} and uint8 [{expected[0]}], got "
                f"{values.dtype} {list(values.shape)} and {status.dtype} {list(status.shape)}"
            )
