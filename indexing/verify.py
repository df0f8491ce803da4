"""Reading a vector set back: is every row there, whole, and right for its title?"""

import heapq
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from indexing.catalogue import Product
from indexing.encode import encode_titles
from indexing.errors import VerifyFailed
from indexing.progress import OnProgress
from indexing.student import ProductEncoder
from vector_store.header import SetHeader
from vector_store.protocol import VectorStore
from vector_store.rows import FOUND, MISSING, text_hash, text_hashes, unpack

# Batches of other titles round differently: two float16 steps at the size of the row's largest
# value (0.002 in a row of unit scale), far below what a stale or foreign row differs by.
TOLERANCE_STEPS = 2


@dataclass(frozen=True)
class RowCheck:
    """What a scan of a set found."""

    rows: int
    corrupt: int
    first_corrupt: tuple[str, ...]


def check_rows(store: VectorStore, header: SetHeader, on_progress: OnProgress) -> RowCheck:
    """Reads every row of a set; takes 8 bytes of memory per product.

    Ids are counted by their 64-bit hash, because a store may hand out a row twice.
    """
    seen, corrupt, examples = array("q"), array("q"), list[str]()
    for batch in store.scan(header):
        status = unpack([record for _, record in batch], header.width).status
        seen.extend(hash(product_id) for product_id, _ in batch)
        for position in np.flatnonzero(status != FOUND):
            product_id = batch[position][0]
            corrupt.append(hash(product_id))
            if len(examples) < 5 and product_id not in examples:
                examples.append(product_id)
        on_progress("verify", len(seen), header.count or None)
    return RowCheck(_distinct(seen), _distinct(corrupt), tuple(examples))


class Sample:
    """Products to encode again: those whose ids hash lowest, so a resumed build has the same ones.

    Of an id that occurs twice the first title is kept, as in the set. It never holds more than
    `size` products.
    """

    def __init__(self, size: int, seed: str) -> None:
        """`seed` chooses which products: another set, another sample."""
        self._size = size
        self._key = seed.encode()[:64]
        self._heap: list[tuple[int, str]] = []  # the largest hash first, hence negative
        self._titles: dict[str, str] = {}

    def offer(self, product: Product) -> None:
        """Looks at one product of the catalogue."""
        raw = product.product_id.encode()
        rank = -int.from_bytes(blake2b(raw, digest_size=8, key=self._key).digest(), "little")
        full = len(self._heap) == self._size
        if product.product_id in self._titles or (full and rank <= self._heap[0][0]):
            return
        if full:
            del self._titles[heapq.heapreplace(self._heap, (rank, product.product_id))[1]]
        else:
            heapq.heappush(self._heap, (rank, product.product_id))
        self._titles[product.product_id] = product.title

    def products(self) -> dict[str, str]:
        """Titles by product id."""
        return self._titles


def check_sample(
    store: VectorStore,
    header: SetHeader,
    encoder: ProductEncoder,
    titles: dict[str, str],
    batch_titles: int,
) -> None:
    """Encodes products again and compares them with their stored rows.

    Raises:
        VerifyFailed: a row is missing, of another title, or further off than the tolerance.
    """
    if not titles:
        return
    ids = list(titles)
    records = store.get(header, ids)
    stored = unpack(records, header.width)
    expected = encode_titles(encoder, list(titles.values()), batch_titles)
    hashes = text_hashes(records)
    for i, product_id in enumerate(ids):
        if not np.isfinite(expected[i]).all() and stored.status[i] == MISSING:
            continue  # rejected when it was read, for that reason
        if stored.status[i] != FOUND:
            raise _failed(header, product_id, "its row is missing or corrupt")
        if int(hashes[i]) != text_hash(titles[product_id]):
            raise _failed(header, product_id, "its row was encoded from another title")
        difference, allowed = _difference(stored.values[i], expected[i])
        if difference > allowed:
            raise _failed(
                header,
                product_id,
                f"its row differs by {difference:.6f} from what the student gives for its title, "
                f"expected at most {allowed:.6f}",
            )


def _difference(stored: NDArray[np.float16], expected: NDArray[np.float16]) -> tuple[float, float]:
    allowed = TOLERANCE_STEPS * np.spacing(np.abs(expected).max())
    difference = np.abs(stored.astype(np.float32) - expected.astype(np.float32)).max()
    return float(difference), float(allowed)


def _failed(header: SetHeader, product_id: str, reason: str) -> VerifyFailed:
    return VerifyFailed(
        f"set {header.set_id}, product {product_id!r}: {reason}. The set stays unsealed and the "
        "live one as it is: start the build over"
    )


def _distinct(hashes: Sequence[int]) -> int:
    return len(np.unique(np.array(hashes, dtype=np.int64)))
