"""Reading a vector set back: is every row there, whole, and right for its text?"""

import heapq
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from indexing.catalogue import Entry
from indexing.encode import encode_texts
from indexing.errors import VerifyFailed
from indexing.progress import OnProgress
from indexing.student import Encoded, RowEncoder
from vector_store.header import SetHeader
from vector_store.protocol import VectorStore
from vector_store.rows import FOUND, MISSING, text_hash, text_hashes, unpack

# Other CPUs round differently, and an encoder of your own may do so in other batches: two float16
# steps at the size of the row's largest value (0.002 in a row of unit scale), far below what a
# stale or foreign row differs by.
TOLERANCE_STEPS = 2


@dataclass(frozen=True)
class RowCheck:
    """What a scan of a set found."""

    rows: int
    corrupt: int
    first_corrupt: tuple[str, ...]


def check_rows(store: VectorStore, header: SetHeader, on_progress: OnProgress) -> RowCheck:
    """Reads every row of a set; takes 8 bytes of memory per row.

    Ids are counted by their 64-bit hash, because a store may hand out a row twice.
    """
    seen, corrupt, examples = array("q"), array("q"), list[str]()
    for batch in store.scan(header):
        status = unpack([record for _, record in batch], header.width, header.dtype).status
        seen.extend(hash(entry_id) for entry_id, _ in batch)
        for position in np.flatnonzero(status != FOUND):
            entry_id = batch[position][0]
            corrupt.append(hash(entry_id))
            if len(examples) < 5 and entry_id not in examples:
                examples.append(entry_id)
        on_progress("verify", len(seen), header.count or None)
    return RowCheck(_distinct(seen), _distinct(corrupt), tuple(examples))


class Sample:
    """Entries to encode again: those whose ids hash lowest, so a resumed build has the same ones.

    Of an id that occurs twice the first text is kept, as in the set. It never holds more than
    `size` entries.
    """

    def __init__(self, size: int, seed: str) -> None:
        """`seed` chooses which entries: another set, another sample."""
        self._size = size
        self._key = seed.encode()[:64]
        self._heap: list[tuple[int, str]] = []  # the largest hash first, hence negative
        self._texts: dict[str, str] = {}

    def offer(self, entry: Entry) -> None:
        """Looks at one entry of the file."""
        raw = entry.entry_id.encode()
        rank = -int.from_bytes(blake2b(raw, digest_size=8, key=self._key).digest(), "little")
        full = len(self._heap) == self._size
        if entry.entry_id in self._texts or (full and rank <= self._heap[0][0]):
            return
        if full:
            del self._texts[heapq.heapreplace(self._heap, (rank, entry.entry_id))[1]]
        else:
            heapq.heappush(self._heap, (rank, entry.entry_id))
        self._texts[entry.entry_id] = entry.text

    def texts(self) -> dict[str, str]:
        """Texts by entry id."""
        return self._texts


def check_sample(
    store: VectorStore,
    header: SetHeader,
    encoder: RowEncoder,
    texts: dict[str, str],
    batch_texts: int,
) -> None:
    """Encodes entries again and compares them with their stored rows.

    Raises:
        VerifyFailed: a row is missing, of another text, or further off than the tolerance.
    """
    if not texts:
        return
    ids = list(texts)
    records = store.get(header, ids)
    stored = unpack(records, header.width, header.dtype)
    expected = encode_texts(encoder, list(texts.values()), batch_texts)
    hashes = text_hashes(records)
    for i, entry_id in enumerate(ids):
        if not np.isfinite(expected[i]).all() and stored.status[i] == MISSING:
            continue  # rejected when it was read, for that reason
        if stored.status[i] != FOUND:
            raise _failed(header, entry_id, texts, "its row is missing or corrupt")
        if int(hashes[i]) != text_hash(texts[entry_id]):
            raise _failed(header, entry_id, texts, "its row was encoded from another text")
        difference, allowed = _difference(stored.values[i], expected[i])
        if difference > allowed:
            raise _failed(
                header,
                entry_id,
                texts,
                f"its row differs by {difference:.6f} from what the student gives for its text, "
                f"expected at most {allowed:.6f}",
            )


def _difference(stored: Encoded, expected: Encoded) -> tuple[float, float]:
    largest = min(float(np.abs(expected).max()), float(np.finfo(np.float16).max))
    allowed = TOLERANCE_STEPS * np.spacing(np.float16(largest))
    difference = np.abs(stored.astype(np.float32) - expected.astype(np.float32)).max()
    return float(difference), float(allowed)


def _failed(header: SetHeader, entry_id: str, texts: dict[str, str], reason: str) -> VerifyFailed:
    products = header.holds == "products"
    which = f"product {entry_id!r}" if products else f"query {texts[entry_id]!r}"
    return VerifyFailed(
        f"set {header.set_id}, {which}: {reason}. The set stays unsealed and the live one as it "
        "is: start the build over"
    )


def _distinct(hashes: Sequence[int]) -> int:
    return len(np.unique(np.array(hashes, dtype=np.int64)))
