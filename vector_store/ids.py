"""The product ids of one request, as bytes from the body to the store: no Python string per id."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from vector_store.keys import IMPOSSIBLE_ID, MAX_ID_BYTES
from vector_store.rows_library import LIBRARY, address, checked

_UNUSUAL: Final = -2


@dataclass(frozen=True, slots=True, eq=False)
class ProductIds:
    """n product ids, in order; those that no store can hold (empty, too long) may be among them.

    blob: the ids in UTF-8, back to back
    offsets: int64 [n + 1], id i is blob[offsets[i]:offsets[i + 1]]
    """

    blob: bytes
    offsets: NDArray[np.int64]

    @classmethod
    def from_strings(cls, ids: Sequence[str]) -> Self:
        """Ids of any strings, lone surrogates included."""
        return cls.from_bytes([product_id.encode("utf-8", "surrogatepass") for product_id in ids])

    @classmethod
    def from_bytes(cls, raw_ids: Sequence[bytes]) -> Self:
        """Ids that are encoded already."""
        offsets = np.fromiter(accumulate(map(len, raw_ids), initial=0), np.int64, len(raw_ids) + 1)
        return cls(b"".join(raw_ids), offsets)

    @classmethod
    def from_tensor(cls, tensor: bytes, n: int) -> Self | None:
        """The n elements of a BYTES tensor, each a little-endian uint32 length and so many bytes.

        None where the tensor is not exactly n elements.
        """
        if n < 0 or 4 * n > len(tensor):
            return None
        if LIBRARY is None:
            raw = _elements(tensor, n)
            return None if raw is None else cls.from_bytes(raw)
        blob, offsets = np.empty(len(tensor), np.uint8), np.empty(n + 1, np.int64)
        out = (address(blob), address(offsets))
        size = LIBRARY.tensor_scan(tensor, len(tensor), n, *out)
        return None if size < 0 else cls(blob[:size].tobytes(), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def strings(self) -> list[str]:
        """The ids as strings, as they were before."""
        return [raw.decode("utf-8", "surrogatepass") for raw in self._raw()]

    def lookup_ids(self) -> list[bytes]:
        """The ids as bytes to look up, as keys.lookup_ids has them."""
        return [raw if 0 < len(raw) <= MAX_ID_BYTES else IMPOSSIBLE_ID for raw in self._raw()]

    def take(self, positions: NDArray[np.int64]) -> "ProductIds":
        """The ids at `positions`, in their order."""
        if LIBRARY is None:
            raw = self._raw()
            return ProductIds.from_bytes([raw[position] for position in positions.tolist()])
        offsets = np.empty(len(positions) + 1, np.int64)
        arguments = (*self.arguments(), address(positions), len(positions))
        blob = np.empty(checked(LIBRARY.ids_take(*arguments, None, address(offsets))), np.uint8)
        checked(LIBRARY.ids_take(*arguments, address(blob), address(offsets)))
        return ProductIds(blob.tobytes(), offsets)

    def json_list(self, positions: NDArray[np.intp]) -> bytes:
        """A JSON array of the ids at `positions`, in their order."""
        if LIBRARY is not None:
            arguments = (*self.arguments(), address(positions), len(positions))
            text = np.empty(checked(LIBRARY.ids_json(*arguments, None, 0)), np.uint8)
            if LIBRARY.ids_json(*arguments, address(text), len(text)) != _UNUSUAL:
                return text.tobytes()
        ids = self.strings()
        chosen = [ids[position] for position in positions.tolist()]
        return json.dumps(chosen, separators=(",", ":")).encode()

    def arguments(self) -> tuple[Any, ...]:
        """What the functions of rows.c take for ids."""
        return self.blob, len(self.blob), address(self.offsets), len(self)

    def _raw(self) -> list[bytes]:
        blob = self.blob
        return [blob[start:stop] for start, stop in pairwise(self.offsets.tolist())]


def _elements(tensor: bytes, n: int) -> list[bytes] | None:
    raw: list[bytes] = []
    at = 0
    for _ in range(n):
        start = at + 4
        at = start + int.from_bytes(tensor[at:start], "little")
        if start > len(tensor):
            return None
        raw.append(tensor[start:at])
    return raw if at == len(tensor) else None


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What was lifted out of a request's body.

    sort_values: float64 [m], NaN where the body has null; None where they stay in `rest`
    rest: the body with `[]` in the place of the ids and `null` in that of the sort values
    """

    ids: ProductIds
    sort_values: NDArray[np.float64] | None
    rest: bytes


def scan_candidates(body: bytes) -> Candidates | None:
    """The arrays under "product_ids" and "sort_values" of a JSON object, and what is left of it.

    None where a full parser has to look at the whole body, which may well be a good one: an escape
    in an id or in a key of the object, a key twice, no ids, an id that is empty or longer than a
    store can hold. What is left still has to be parsed: the arrays count only if it is good. Sort
    values stay where they are if they are not plain numbers of at most 15 digits, and nulls.
    """
    if LIBRARY is None:
        return None
    capacity = len(body) // 4 + 1  # an id of one letter with its quotes and comma
    blob, offsets = np.empty(len(body), np.uint8), np.empty(capacity + 1, np.int64)
    values, span = np.empty(capacity, np.float64), np.empty(5, np.int64)
    out = (address(blob), address(offsets), address(values), capacity, address(span))
    n = LIBRARY.candidates_scan(body, len(body), *out)
    if n < 0:
        return None
    start, stop, values_start, values_stop, m = span.tolist()
    ids = ProductIds(blob[: offsets[n]].tobytes(), offsets[: n + 1])
    cuts = [(start, stop, b"[]")]
    if values_stop:
        cuts.append((values_start, values_stop, b"null"))
    return Candidates(ids, values[:m] if values_stop else None, _without(body, sorted(cuts)))


def _without(body: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    """The body with other text from each start to its stop, in ascending order."""
    parts, at = [], 0
    for start, stop, instead in cuts:
        parts += [body[at:start], instead]
        at = stop
    return b"".join([*parts, body[at:]])
