"""Vector sets in the memory of this process: for tests, demos and small catalogues."""

from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Final

from vector_store import rules
from vector_store.header import SetHeader
from vector_store.ids import ProductIds
from vector_store.rows import Rows, unpack
from vector_store.watch import NothingToWatch, Watcher

SCAN_BATCH: Final = 1000


class MemoryStore:
    """A VectorStore that lives and dies with its process."""

    url = "memory:"

    def __init__(self) -> None:
        self._lock = Lock()  # writers only: a dict can be read while another thread adds to it
        self._headers: dict[str, SetHeader] = {}
        self._rows: dict[str, dict[str, bytes]] = {}
        self._progress: dict[str, bytes] = {}
        self._live: dict[str, str] = {}

    def headers(self) -> list[SetHeader]:
        with self._lock:
            return [self._headers[set_id] for set_id in sorted(self._headers)]

    def header(self, set_id: str) -> SetHeader:
        header = self._headers.get(set_id)
        if header is None:
            raise rules.not_found(set_id, self.url)
        return header

    def put_header(self, header: SetHeader) -> None:
        with self._lock:
            rules.check_replaceable(self._headers.get(header.set_id), header)
            self._headers[header.set_id] = header
            self._rows.setdefault(header.set_id, {})

    def insert(
        self, header: SetHeader, ids: Sequence[str], records: Sequence[bytes], progress: bytes
    ) -> list[bool]:
        added = []
        with self._lock:
            stored = self._headers.get(header.set_id)
            rules.check_insertable(stored, header, ids, records, self.url)
            rows = self._rows[header.set_id]
            for product_id, record in zip(ids, records, strict=True):
                added.append(product_id not in rows)
                rows.setdefault(product_id, record)
            self._progress[header.set_id] = progress
        return added

    def progress(self, set_id: str) -> bytes | None:
        return self._progress.get(set_id)

    def get(self, header: SetHeader, ids: Sequence[str]) -> list[bytes | None]:
        rows = self._rows.get(header.set_id, {})
        return [rows.get(product_id) for product_id in ids]

    def fetch(self, header: SetHeader, ids: ProductIds) -> Rows:
        return unpack(self.get(header, ids.strings()), header.width)

    def scan(self, header: SetHeader) -> Iterator[list[tuple[str, bytes]]]:
        with self._lock:
            pairs = list(self._rows.get(header.set_id, {}).items())
        for start in range(0, len(pairs), SCAN_BATCH):
            yield pairs[start : start + SCAN_BATCH]

    def live(self, fingerprint: str) -> str | None:
        return self._live.get(fingerprint)

    def set_live(self, fingerprint: str, set_id: str) -> None:
        with self._lock:
            rules.check_activatable(self.header(set_id), fingerprint)
            self._live[fingerprint] = set_id

    def drop(self, header: SetHeader) -> None:
        with self._lock:
            rules.check_droppable(header, self._live.get(header.fingerprint))
            self._headers.pop(header.set_id, None)
            self._rows.pop(header.set_id, None)
            self._progress.pop(header.set_id, None)

    def watch(self, header: SetHeader, watcher: Watcher) -> NothingToWatch:  # noqa: ARG002
        watcher.ready()
        return NothingToWatch()

    def ping(self) -> None:
        """Memory always answers."""

    def close(self) -> None:
        """Nothing to give back."""
