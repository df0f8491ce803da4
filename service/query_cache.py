"""Least recently used query rows, in process: a head query is encoded once per worker."""

from collections import OrderedDict
from threading import Lock

import numpy as np
from numpy.typing import NDArray


class QueryCache:
    """Query text -> query row, bounded by entries; safe to use from several threads."""

    def __init__(self, max_entries: int) -> None:
        """0 entries switches it off."""
        self._max_entries = max_entries
        self._rows: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = Lock()

    def get(self, query: str) -> NDArray[np.float32] | None:
        """The row [1, d_q], marked as just used."""
        with self._lock:
            row = self._rows.get(query)
            if row is not None:
                self._rows.move_to_end(query)
            return row

    def put(self, query: str, row: NDArray[np.float32]) -> None:
        """Keeps a row, and drops the least recently used ones above the bound."""
        row.flags.writeable = False
        with self._lock:
            self._rows[query] = row
            self._rows.move_to_end(query)
            while len(self._rows) > self._max_entries:
                self._rows.popitem(last=False)
