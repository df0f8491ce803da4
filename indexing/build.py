"""One vector set under construction: rows go in chunk by chunk, each chunk wholly or not at all."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from indexing.catalogue import Entry, Row
from indexing.encode import encode_texts
from indexing.errors import BuildConflict
from indexing.progress import BuildProgress
from indexing.raw import BadLine
from indexing.rejects import RejectFile
from indexing.student import RowEncoder
from vector_store.header import SetHeader
from vector_store.protocol import VectorStore
from vector_store.rows import FOUND, pack, text_hash, text_hashes, unpack


class Build:
    """Takes rows of the catalogue in order; `progress` says what has been committed."""

    def __init__(
        self,
        store: VectorStore,
        header: SetHeader,
        encoder: RowEncoder,
        progress: BuildProgress,
        rejects: RejectFile,
        copy_from: SetHeader | None,
        batch_texts: int,
    ) -> None:
        """`progress` is what the store holds now; `copy_from` a set with rows worth copying."""
        self.header = header
        self.progress = progress
        self._store = store
        self._encoder = encoder
        self._rejects = rejects
        self._copy_from = copy_from
        self._batch_texts = batch_texts

    def commit(self, rows: Sequence[Row]) -> None:
        """Encodes and stores the next rows of the catalogue, together with the new progress.

        The reject file is synced first and its length committed with the rows, so a kill at any
        moment leaves at most a tail behind that length, which resuming cuts off.

        Raises:
            BuildConflict: another indexer has written to the set.
            BuildRefused: the reject file can't be written, or the student is not as its manifest.
            StoreError: the store can't take the rows.
        """
        bad = [row for row in rows if isinstance(row, BadLine)]
        entries, duplicates = self._first_of_each_id(
            [row for row in rows if isinstance(row, Entry)]
        )
        copied = self._copied(entries)
        encoded, unusable = self._encoded([e for e in entries if e.entry_id not in copied])
        self.require_ownership()
        # A product id that comes twice is a mistake to look at; a query that does is nothing odd.
        shown = duplicates if self.header.holds == "products" else []
        rejected = sorted([*bad, *shown, *unusable], key=lambda row: row.line_number)
        progress = self.progress.model_copy(
            update={
                "updated_s": time.time(),
                "reject_bytes": self._rejects.write(rejected),
                "rows_read": self.progress.rows_read + len(rows),
                "encoded": self.progress.encoded + len(encoded),
                "copied": self.progress.copied + len(copied),
                "rejected": self.progress.rejected + len(bad) + len(unusable),
                "duplicates": self.progress.duplicates + len(duplicates),
            }
        )
        records = copied | encoded
        ids = list(records)
        added = self._store.insert(self.header, ids, list(records.values()), progress.stored())
        if not all(added):
            raise _conflict(self.header)
        self.progress = progress

    def seal(self) -> SetHeader:
        """Closes the set to further rows; its header as it is stored then."""
        self.require_ownership()
        sealed = datetime.now(UTC).isoformat(timespec="seconds")
        self.header = self.header.model_copy(
            update={"count": self.progress.inserted, "sealed": sealed}
        )
        self._store.put_header(self.header)
        return self.header

    def require_ownership(self) -> None:
        """Refuses to go on when the stored progress is not what this build wrote last.

        Raises:
            BuildConflict: another indexer has taken the set over, or dropped it.
        """
        if self._store.progress(self.header.set_id) != self.progress.stored():
            raise _conflict(self.header)

    def _first_of_each_id(self, entries: list[Entry]) -> tuple[list[Entry], list[BadLine]]:
        known = self._store.get(self.header, [entry.entry_id for entry in entries])
        first: dict[str, Entry] = {}
        duplicates: list[BadLine] = []
        for entry, record in zip(entries, known, strict=True):
            if record is not None or entry.entry_id in first:
                duplicates.append(_rejected(entry, "duplicate id: the first one is kept"))
            else:
                first[entry.entry_id] = entry
        return list(first.values()), duplicates

    def _copied(self, entries: list[Entry]) -> dict[str, bytes]:
        """Records of the set to copy from, where the text is still the same and the row whole."""
        if self._copy_from is None or not entries:
            return {}
        stored = self._store.get(self._copy_from, [entry.entry_id for entry in entries])
        now = np.array([text_hash(entry.text) for entry in entries], dtype=np.uint64)
        whole = unpack(stored, self.header.width, self.header.dtype).status == FOUND
        usable = whole & (text_hashes(stored) == now)
        return {
            entry.entry_id: record
            for entry, record, same in zip(entries, stored, usable.tolist(), strict=True)
            if record is not None and same
        }

    def _encoded(self, entries: list[Entry]) -> tuple[dict[str, bytes], list[BadLine]]:
        if not entries:
            return {}, []
        rows = encode_texts(self._encoder, [entry.text for entry in entries], self._batch_texts)
        finite = np.isfinite(rows).all(axis=1)
        reason = f"its row does not fit {self.header.dtype} (infinite or not a number)"
        unusable = [_rejected(entries[i], reason) for i in np.flatnonzero(~finite)]
        kept = [entries[i] for i in np.flatnonzero(finite)]
        hashes = np.array([text_hash(entry.text) for entry in kept], dtype=np.uint64)
        records = pack(rows[finite], hashes, int(time.time()), self.header.dtype)
        return dict(zip((entry.entry_id for entry in kept), records, strict=True)), unusable


def _rejected(entry: Entry, reason: str) -> BadLine:
    text = json.dumps([entry.entry_id, entry.text], ensure_ascii=False)
    return BadLine(entry.line_number, reason, text)


def _conflict(header: SetHeader) -> BuildConflict:
    return BuildConflict(
        f"set {header.set_id}: another indexer has written to it or dropped it since the last "
        "rows of this one: let one of them finish"
    )
