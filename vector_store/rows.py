"""One record per product: float16 product rows to bytes and back. Knows no store.

    record = row float16 LE [width] | text hash uint64 LE | encoded at uint32 LE (unix seconds)
             2 * width bytes          8 bytes               4 bytes

The text hash tells the indexer whether a title has changed since its row was encoded.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vector_store.errors import InvalidRow

FOUND: Final = 0
MISSING: Final = 1
CORRUPT: Final = 2

HASH_BYTES: Final = 8
TRAILER_BYTES: Final = HASH_BYTES + 4
SIGN_CLEARED: Final = np.uint16(0x7FFF)
LARGEST_FINITE: Final = 0x7BFF  # the bits of 65504, float16's largest number; above: inf and NaN
TILE_BYTES: Final = 1 << 16  # unpack works in pieces that stay in the cache; 5 times faster


@dataclass(frozen=True, slots=True)
class Rows:
    """Product rows aligned with the ids they were asked for.

    values: float16 [n, width], contiguous; zeros wherever the status isn't FOUND
    status: uint8 [n], FOUND, MISSING or CORRUPT; look at it before using a row
    """

    values: NDArray[np.float16]
    status: NDArray[np.uint8]


def record_bytes(width: int) -> int:
    """Length of one record in bytes, for rows of `width` floats."""
    return 2 * width + TRAILER_BYTES


def text_hash(title: str) -> int:
    """BLAKE2b-64 of a title, in 1 .. 2^64 - 1; 0 is left free to mean "no record"."""
    digest = blake2b(title.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()
    return int.from_bytes(digest, "little") or 1


def pack(
    rows: NDArray[np.float16], text_hashes: NDArray[np.uint64], encoded_at_s: int
) -> list[bytes]:
    """Records of product rows: float16 [n, width] and uint64 [n] -> n records.

    Raises:
        InvalidRow: wrong dtype or shape, a value that isn't finite, or a time outside uint32.
    """
    if rows.dtype != np.float16 or rows.ndim != 2 or rows.shape[1] == 0:
        raise InvalidRow(f"expected rows float16 [n, width], got {rows.dtype} {list(rows.shape)}")
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
            "don't fit float16 (largest 65504); check the product graph"
        )
    n, width = rows.shape
    size = record_bytes(width)
    grid = np.empty((n, size), np.uint8)
    grid[:, : 2 * width] = np.ascontiguousarray(rows, "<f2").view(np.uint8)
    grid[:, 2 * width : -4] = text_hashes.astype("<u8").view(np.uint8).reshape(n, HASH_BYTES)
    grid[:, -4:] = np.frombuffer(struct.pack("<I", encoded_at_s), np.uint8)
    packed = grid.tobytes()
    return [packed[start : start + size] for start in range(0, n * size, size)]


def unpack(records: Sequence[bytes | None], width: int) -> Rows:
    """Product rows of n records, None where the store has none -> Rows [n, width].

    A record of the wrong length or with a value that isn't finite is CORRUPT, never scored.
    """
    n, size = len(records), record_bytes(width)
    values = np.empty((n, width), "<f2")
    status = np.zeros(n, np.uint8)
    step = max(1, TILE_BYTES // size)
    for start in range(0, n, step):
        _unpack_tile(records[start : start + step], size, values[start:], status[start:])
    return Rows(values, status)


def _unpack_tile(
    records: Sequence[bytes | None],
    size: int,
    values: NDArray[np.float16],
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
    magnitudes = tile.view("<u2") & SIGN_CLEARED
    if magnitudes.max() > LARGEST_FINITE:
        broken = magnitudes.max(axis=1) > LARGEST_FINITE
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
