"""Product rows in front of a store: from this process's memory where they are, else fetched.

One cache per vector set and process. It watches the set (it is a vector_store.watch.Watcher) and
holds rows only while the store says that it will tell of changes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vector_store.arena import Arena, ArenaCounters
from vector_store.header import SetHeader
from vector_store.ids import ProductIds
from vector_store.protocol import VectorStore
from vector_store.rows import MISSING, Rows
from vector_store.rows_library import LIBRARY


class RowCache:
    """The rows of one vector set. Any number of threads may call anything at once.

    Paused until `ready` is called, which `store.watch(header, cache)` does once changes are told.
    """

    def __init__(self, store: VectorStore, header: SetHeader, budget_bytes: int) -> None:
        """`budget_bytes`: most memory the rows may take, tables included; 0 for no cache.

        A set that is smaller than the budget takes what its rows need.

        Raises:
            StoreError: the budget is too small to hold any row, or the system refuses it.
        """
        self._store = store
        self._header = header
        self._arena: Arena | None = None
        self._off = ""
        if not budget_bytes:
            self._off = "off: its budget is 0"
        elif LIBRARY is None:
            self._off = "off: the native library is not compiled"
        else:
            self._arena = Arena(budget_bytes, header.width, most_rows=header.count)

    @property
    def state(self) -> str:
        """`on`, `paused: ...` or `off: ...`, as shown to people."""
        if self._arena is None:
            return self._off
        return "paused: changes of rows go unseen" if self._arena.paused() else "on"

    @property
    def capacity(self) -> int:
        """Rows it can hold."""
        return 0 if self._arena is None else self._arena.capacity

    def fetch(self, ids: ProductIds) -> Rows:
        """Rows of the ids, in their order.

        Raises:
            StoreError: the store failed where rows were missing here.
        """
        if self._arena is None:
            return self._store.fetch(self._header, ids)
        rows, missing = self.lookup(ids)
        return self.complete(ids, rows, missing) if len(missing) else rows

    def lookup(self, ids: ProductIds) -> tuple[Rows, NDArray[np.int64]]:
        """Rows as far as they are here, and the positions of the others, for `complete`.

        Asks no store and waits for nothing. The values of a missing row may be anything.
        """
        n = len(ids)
        values, status = np.empty((n, self._header.width), np.float16), np.empty(n, np.uint8)
        if self._arena is None:
            status[:] = MISSING
            return Rows(values, status), np.arange(n)
        return Rows(values, status), self._arena.lookup(ids, values, status)

    def complete(self, ids: ProductIds, rows: Rows, missing: NDArray[np.int64]) -> Rows:
        """The rows that `lookup` gave, the missing ones fetched; keeps what was fetched.

        Raises:
            StoreError: the store failed.
        """
        ticket = 0 if self._arena is None else self._arena.ticket()
        if len(missing) == len(ids):
            wanted = ids
            rows = fetched = self._store.fetch(self._header, ids)
        else:
            wanted = ids.take(missing)
            fetched = self._store.fetch(self._header, wanted)
            rows.values[missing] = fetched.values
            rows.status[missing] = fetched.status
        if self._arena is not None:
            self._arena.insert(wanted, fetched.values, fetched.status, ticket)
        return rows

    def invalidated(self, ids: Sequence[bytes]) -> None:
        """Forgets these rows, also those that are being fetched."""
        if self._arena is not None:
            self._arena.invalidate(ids)

    def lost(self) -> None:
        """Forgets every row and keeps none until `ready`."""
        if self._arena is not None:
            self._arena.pause()

    def ready(self) -> None:
        """Keeps what is fetched from here on."""
        if self._arena is not None:
            self._arena.touch()
            self._arena.resume()

    def clear(self) -> None:
        """Forgets every row."""
        if self._arena is not None:
            self._arena.clear()

    def counters(self) -> ArenaCounters:
        """Hits, misses, evictions, invalidations, and rows held; zeros where there is no cache."""
        return ArenaCounters(0, 0, 0, 0, 0) if self._arena is None else self._arena.counters()
