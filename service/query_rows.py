"""Query text -> query row: kept in process, stored beside the product rows, or encoded now."""

import logging
from collections import OrderedDict
from threading import Lock
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model_store.student import OnnxStudent
from service import metrics
from vector_store.errors import StoreError
from vector_store.header import SetHeader
from vector_store.keys import query_id
from vector_store.protocol import VectorStore
from vector_store.rows import CORRUPT, FOUND, unpack

log = logging.getLogger("winnow.query_rows")

QuerySource = Literal["cache", "store", "encoded"]


class QueryRows:
    """Query rows of one student; safe to use from several threads.

    Asking the store may fail in any way: the query is encoded then, and the same row comes out.
    """

    def __init__(self, student: OnnxStudent, store: VectorStore, max_entries: int) -> None:
        """Keeps the last `max_entries` rows in process; the store is asked after `use_stored`."""
        self._student = student
        self._store = store
        self._max_entries = max_entries
        self._stored: SetHeader | None = None
        self._kept: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = Lock()

    @property
    def stored(self) -> SetHeader | None:
        """The set that is asked now; None where none is live, or the store has just failed."""
        return self._stored

    def use_stored(self, header: SetHeader | None) -> None:
        """Asks this set from now on, which holds rows of the graph that the student runs."""
        self._stored = header

    def adopt(self, other: "QueryRows") -> None:
        """Begins with the rows that another student keeps, whose query graph is the same."""
        with other._lock:
            kept = other._kept.copy()
        with self._lock:
            self._kept = kept

    def get(self, query: str) -> tuple[NDArray[np.float32], QuerySource]:
        """The query row, float32 [1, d_q], and where it came from."""
        source: QuerySource = "cache"
        row = self._from_cache(query)
        if row is None:
            source, row = "store", self._from_store(query)
            if row is None:
                source, row = "encoded", self._student.encode_query(query)
            self._keep(query, row)
        return row, source

    def _from_cache(self, query: str) -> NDArray[np.float32] | None:
        with self._lock:
            row = self._kept.get(query)
            if row is not None:
                self._kept.move_to_end(query)
            return row

    def _from_store(self, query: str) -> NDArray[np.float32] | None:
        header = self._stored
        if header is None:
            return None
        try:
            records = self._store.get(header, [query_id(query)])
        except StoreError as error:
            # A store that stalls must not cost every request its timeout: it is asked again once
            # it has answered the next refresh.
            self._stored = None
            metrics.QUERY_ROW_FAILURES.labels("store_error").inc()
            log.warning("stored query rows failed: %s", error)
            return None
        rows = unpack(records, header.width, "float32")
        if rows.status[0] == CORRUPT:
            metrics.QUERY_ROW_FAILURES.labels("corrupt_row").inc()
        return rows.values if rows.status[0] == FOUND else None

    def _keep(self, query: str, row: NDArray[np.float32]) -> None:
        # A copy: ONNX Runtime's own arrays lie in its session's arena, and one of them keeps the
        # whole arena, long after the version is gone whose session it was.
        row = row.copy()
        row.flags.writeable = False
        with self._lock:
            self._kept[query] = row
            self._kept.move_to_end(query)
            while len(self._kept) > self._max_entries:
                self._kept.popitem(last=False)
