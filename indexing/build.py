"""One vector set under construction: rows go in chunk by chunk, each chunk wholly or not at all."""

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from indexing.catalogue import Entry, Row
from indexing.errors import BuildConflict
from indexing.progress import BuildProgress
from indexing.raw import BadLine
from indexing.rejects import RejectFile
from indexing.student import Encoded
from vector_store.header import SetHeader
from vector_store.protocol import VectorStore
from vector_store.rows import FOUND, pack, text_hash, text_hashes, unpack


@dataclass(frozen=True)
class Sifted:
    """A chunk of the catalogue before its texts are encoded.

    copied: records of another set by id, where the text is still the same
    fresh: entries to encode
    """

    rows_read: int
    bad: list[BadLine]
    duplicates: list[BadLine]
    copied: dict[str, bytes]
    fresh: list[Entry]

    @property
    def texts(self) -> list[str]:
        """What is to be encoded."""
        return [entry.text for entry in self.fresh]

    @property
    def ids(self) -> set[str]:
        """Ids that the chunk adds to the set."""
        return {*self.copied, *(entry.entry_id for entry in self.fresh)}


class Build:
    """Takes rows of the catalogue in order; `progress` says what has been committed."""

    def __init__(
        self,
        store: VectorStore,
        header: SetHeader,
        progress: BuildProgress,
        rejects: RejectFile,
        copy_from: SetHeader | None,
    ) -> None:
        """`progress` is what the store holds now; `copy_from` a set with rows worth copying."""
        self.header = header
        self.progress = progress
        self._store = store
        self._rejects = rejects
        self._copy_from = copy_from

    def sift(self, rows: Sequence[Row], pending: Collection[str] = ()) -> Sifted:
        """What of the next rows of the catalogue is to be encoded.

        pending: ids of chunks that were sifted before, and are not committed yet
        """
        bad = [row for row in rows if isinstance(row, BadLine)]
        entries, duplicates = self._first_of_each_id(
            [row for row in rows if isinstance(row, Entry)], pending
        )
        copied = self._copied(entries)
        fresh = [entry for entry in entries if entry.entry_id not in copied]
        return Sifted(len(rows), bad, duplicates, copied, fresh)

    def commit(self, sifted: Sifted, rows: Encoded) -> None:
        """Stores a chunk, together with the new progress; chunks come in the file's order.

        The reject file is synced first and its length committed with the rows, so a kill at any
        moment leaves at most a tail behind that length, which resuming cuts off.

        rows: [n, width] of the chunk's texts

        Raises:
            BuildConflict: another indexer has written to the set.
            BuildRefused: the reject file can't be written.
            StoreError: the store can't take the rows.
        """
        encoded, unusable = self._packed(sifted.fresh, rows)
        self.require_ownership()
        # A product id that comes twice is a mistake to look at; a query that does is nothing odd.
        shown = sifted.duplicates if self.header.holds == "products" else []
        rejected = sorted([*sifted.bad, *shown, *unusable], key=lambda row: row.line_number)
        progress = self.progress.model_copy(
            update={
                "updated_s": time.time(),
                "reject_bytes": self._rejects.write(rejected),
                "rows_read": self.progress.rows_read + sifted.rows_read,
                "encoded": self.progress.encoded + len(encoded),
                "copied": self.progress.copied + len(sifted.copied),
                "rejected": self.progress.rejected + len(sifted.bad) + len(unusable),
                "duplicates": self.progress.duplicates + len(sifted.duplicates),
            }
        )
        records = sifted.copied | encoded
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

    def _first_of_each_id(
        self, entries: list[Entry], pending: Collection[str]
    ) -> tuple[list[Entry], list[BadLine]]:
        known = self._store.get(self.header, [entry.entry_id for entry in entries])
        first: dict[str, Entry] = {}
        duplicates: list[BadLine] = []
        for entry, record in zip(entries, known, strict=True):
            if record is not None or entry.entry_id in first or entry.entry_id in pending:
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

    def _packed(
        self, entries: list[Entry], rows: Encoded
    ) -> tuple[dict[str, bytes], list[BadLine]]:
        """Records by id, and entries whose rows can't be stored."""
        if not entries:
            return {}, []
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
