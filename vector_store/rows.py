"""One record per product or query: rows to bytes and back. Knows no store.

    record = row, LE floats [width] | text hash uint64 LE | encoded at uint32 LE (unix seconds)
             2 or 4 * width bytes     8 bytes               4 bytes

Product rows are float16, query rows float32: a stored one scores bit for bit as an encoded one.
The text hash tells the indexer whether a title has changed since its row was encoded.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal, overload

import numpy as np
from numpy.typing import NDArray

from vector_store.errors import InvalidRow

RowDtype = Literal["float16", "float32"]

FOUND: Final = 0
MISSING: Final = 1
CORRUPT: Final = 2

HASH_BYTES: Final = 8
TRAILER_BYTES: Final = HASH_BYTES + 4
TILE_BYTES: Final = 1 << 16  # unpack works in pieces that stay in the cache; 5 times faster


@dataclass(frozen=True, slots=True)
class _Floats:
    """Floats as they are stored; larger bits, the sign cleared, are infinity and NaN."""

    stored: str
    size: int
    bits: str
    sign_cleared: np.uint16 | np.uint32
    largest_finite: int


_FLOATS: Final[dict[RowDtype, _Floats]] = {
    "float16": _Floats("<f2", 2, "<u2", np.uint16(0x7FFF), 0x7BFF),
    "float32": _Floats("<f4", 4, "<u4", np.uint32(0x7FFFFFFF), 0x7F7FFFFF),
}


@dataclass(frozen=True, slots=True)
class Rows:
    """Product rows aligned with the ids they were asked for.

    values: float16 [n, width], contiguous; zeros wherever the status isn't FOUND
    status: uint8 [n], FOUND, MISSING or CORRUPT; look at it before using a row
    """

    values: NDArray[np.float16]
    status: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Float32Rows:
    """Query rows aligned with the ids they were asked for; as `Rows`, but float32."""

    values: NDArray[np.float32]
    status: NDArray[np.uint8]


def record_bytes(width: int, dtype: RowDtype = "float16") -> int:
    """Length of one record in bytes, for rows of `width` floats."""
    return _FLOATS[dtype].size * width + TRAILER_BYTES


def text_hash(title: str) -> int:
    """BLAKE2b-64 of a title, in 1 .. 2^64 - 1; 0 is left free to mean "no record"."""
    digest = blake2b(title.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()
    return int.from_bytes(digest, "little") or 1


def pack(
    rows: NDArray[np.float16] | NDArray[np.float32],
    text_hashes: NDArray[np.uint64],
    encoded_at_s: int,
    dtype: RowDtype = "float16",
) -> list[bytes]:
    """Records of rows: `dtype` [n, width] and uint64 [n] -> n records.

    Raises:
        InvalidRow: wrong dtype or shape, a value that isn't finite, or a time outside uint32.
    """
    if rows.dtype != np.dtype(dtype) or rows.ndim != 2 or rows.shape[1] == 0:
        raise InvalidRow(f"expected rows {dtype} [n, width], got {rows.dtype} {list(rows.shape)}")
    if text_hashes.dtype != np.uint64 or text_hashes.shape != (len(rows),):
        raise InvalidRow(
            f"expected text hashes uint64 [{len(rows)}], one per row, "
            f"got {text_hashes.dtype} {list(text_hashes.shape)}"
        )
    if not 0 <= encoded_at_s < 2**32:
        raise InvalidRow(f"expected encoded_at_s in unix seconds below 2^32, got {encoded_at_s}")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InvalidRow(
            f"row {int(np.argmin(finite))} of the batch holds NaN or infinity: its values "
            f"don't fit {dtype} (largest {np.finfo(dtype).max:g}); check the graph that made it"
        )
    n, width = rows.shape
    size = record_bytes(width, dtype)
    grid = np.empty((n, size), np.uint8)
    little_endian = np.ascontiguousarray(rows, _FLOATS[dtype].stored)
    grid[:, :-TRAILER_BYTES] = little_endian.view(np.uint8)
    grid[:, -TRAILER_BYTES:-4] = text_hashes.astype("<u8").view(np.uint8).reshape(n, HASH_BYTES)
    grid[:, -4:] = np.frombuffer(struct.pack("<I", encoded_at_s), np.uint8)
    packed = grid.tobytes()
    return [packed[start : start + size] for start in range(0, n * size, size)]


@overload
def unpack(
    records: Sequence[bytes | None], width: int, dtype: Literal["float16"] = "float16"
) -> Rows: ...


@overload
def unpack(
    records: Sequence[bytes | None], width: int, dtype: Literal["float32"]
) -> Float32Rows: ...


@overload
def unpack(records: Sequence[bytes | None], width: int, dtype: RowDtype) -> Rows | Float32Rows: ...


def unpack(
    records: Sequence[bytes | None], width: int, dtype: RowDtype = "float16"
) -> Rows | Float32Rows:
    """Rows of n records, None where the store has none -> rows [n, width] of this dtype.

    A record of the wrong length or with a value that isn't finite is CORRUPT, never scored.
    """
    floats = _FLOATS[dtype]
    n, size = len(records), record_bytes(width, dtype)
    values = np.empty((n, width), floats.stored)
    status = np.zeros(n, np.uint8)
    step = max(1, TILE_BYTES // size)
    for start in range(0, n, step):
        tile = records[start : start + step]
        _unpack_tile(tile, size, floats, values[start:], status[start:])
    return Rows(values, status) if dtype == "float16" else Float32Rows(values, status)


def _unpack_tile(
    records: Sequence[bytes | None],
    size: int,
    floats: _Floats,
    values: NDArray[np.floating],
    status: NDArray[np.uint8],
) -> None:
    """Unpack k records into the first k of `values` and `status`."""
    k = len(records)
    whole = [record for record in records if record is not None and len(record) == size]
    if len(whole) < k:
        whole = _set_aside(records, size, status)
    grid = np.frombuffer(b"".join(whole), np.uint8).reshape(k, size)
    tile = values[:k]
    tile.view(np.uint8)[:] = grid[:, :-TRAILER_BYTES]
    magnitudes = tile.view(floats.bits) & floats.sign_cleared
    if magnitudes.max() > floats.largest_finite:
        broken = magnitudes.max(axis=1) > floats.largest_finite
        tile[broken] = 0
        status[:k][broken] = CORRUPT


def _set_aside(
    records: Sequence[bytes | None], size: int, status: NDArray[np.uint8]
) -> list[bytes]:
    """The records with zeros in place of those that can't be read; `status` says why."""
    zeros = bytes(size)
    whole = []
    for i, record in enumerate(records):
        if record is not None and len(record) == size:
            whole.append(record)
        else:
            whole.append(zeros)
            status[i] = MISSING if record is None else CORRUPT
    return whole


def text_hashes(records: Sequence[bytes | None]) -> NDArray[np.uint64]:
    """Text hashes uint64 [n] of n records; 0, which no title has, where there is no record."""
    nothing = bytes(HASH_BYTES)
    hashes = [
        nothing if record is None or len(record) < TRAILER_BYTES else record[-TRAILER_BYTES:-4]
        for record in records
    ]
    return np.frombuffer(b"".join(hashes), "<u8").astype(np.uint64)


def encoded_at_s(record: bytes) -> int:
    """When the row of a whole record was encoded, in unix seconds."""
    return int.from_bytes(record[-4:], "little")
