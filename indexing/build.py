"""One vector set under construction: rows go in chunk by chunk, each chunk wholly or not at all."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from indexing.catalogue import Product, Row
from indexing.encode import encode_titles
from indexing.errors import BuildConflict
from indexing.progress import BuildProgress
from indexing.raw import BadLine
from indexing.rejects import RejectFile
from indexing.student import ProductEncoder
from vector_store.header import SetHeader
from vector_store.protocol import VectorStore
from vector_store.rows import FOUND, pack, text_hash, text_hashes, unpack


class Build:
    """Takes rows of the catalogue in order; `progress` says what has been committed."""

    def __init__(
        self,
        store: VectorStore,
        header: SetHeader,
        encoder: ProductEncoder,
        progress: BuildProgress,
        rejects: RejectFile,
        copy_from: SetHeader | None,
        batch_titles: int,
    ) -> None:
        """`progress` is what the store holds now; `copy_from` a set with rows worth copying."""
        self.header = header
        self.progress = progress
        self._store = store
        self._encoder = encoder
        self._rejects = rejects
        self._copy_from = copy_from
        self._batch_titles = batch_titles

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
        products, duplicates = self._first_of_each_id(
            [row for row in rows if isinstance(row, Product)]
        )
        copied = self._copied(products)
        encoded, unusable = self._encoded([p for p in products if p.product_id not in copied])
        self.require_ownership()
        rejected = sorted([*bad, *duplicates, *unusable], key=lambda row: row.line_number)
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

    def _first_of_each_id(self, products: list[Product]) -> tuple[list[Product], list[BadLine]]:
        known = self._store.get(self.header, [product.product_id for product in products])
        first: dict[str, Product] = {}
        duplicates: list[BadLine] = []
        for product, record in zip(products, known, strict=True):
            if record is not None or product.product_id in first:
                duplicates.append(_rejected(product, "duplicate id: the first one is kept"))
            else:
                first[product.product_id] = product
        return list(first.values()), duplicates

    def _copied(self, products: list[Product]) -> dict[str, bytes]:
        """Records of the set to copy from, where the title is still the same and the row whole."""
        if self._copy_from is None or not products:
            return {}
        stored = self._store.get(self._copy_from, [product.product_id for product in products])
        now = np.array([text_hash(product.title) for product in products], dtype=np.uint64)
        whole = unpack(stored, self.header.width).status == FOUND
        usable = whole & (text_hashes(stored) == now)
        return {
            product.product_id: record
            for product, record, same in zip(products, stored, usable.tolist(), strict=True)
            if record is not None and same
        }

    def _encoded(self, products: list[Product]) -> tuple[dict[str, bytes], list[BadLine]]:
        if not products:
            return {}, []
        rows = encode_titles(self._encoder, [p.title for p in products], self._batch_titles)
        finite = np.isfinite(rows).all(axis=1)
        unusable = [
            _rejected(products[i], "its row does not fit float16 (infinite or not a number)")
            for i in np.flatnonzero(~finite)
        ]
        kept = [products[i] for i in np.flatnonzero(finite)]
        hashes = np.array([text_hash(product.title) for product in kept], dtype=np.uint64)
        records = pack(rows[finite], hashes, int(time.time()))
        return dict(zip((product.product_id for product in kept), records, strict=True)), unusable


def _rejected(product: Product, reason: str) -> BadLine:
    text = json.dumps([product.product_id, product.title], ensure_ascii=False)
    return BadLine(product.line_number, reason, text)


def _conflict(header: SetHeader) -> BuildConflict:
    return BuildConflict(
        f"set {header.set_id}: another indexer has written to it or dropped it since the last "
        "rows of this one: let one of them finish"
    )
