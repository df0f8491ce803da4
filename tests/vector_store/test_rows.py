"""Records and product rows: the round trip, and every kind of bad record."""

import struct
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from vector_store.errors import InvalidRow
from vector_store.rows import (
    CORRUPT,
    FOUND,
    MISSING,
    TILE_BYTES,
    encoded_at_s,
    pack,
    record_bytes,
    text_hash,
    text_hashes,
    unpack,
)

WIDTH = 4
FINITE = st.floats(width=16, allow_nan=False, allow_infinity=False)


def some_rows(n: int, width: int = WIDTH) -> NDArray[np.float16]:
    return np.arange(n * width, dtype=np.float16).reshape(n, width)


def some_records(n: int, width: int = WIDTH) -> list[bytes]:
    return pack(some_rows(n, width), np.arange(1, n + 1, dtype=np.uint64), 1_700_000_000)


@settings(deadline=None)
@given(
    rows=hnp.arrays(np.float16, st.tuples(st.integers(0, 20), st.integers(1, 33)), elements=FINITE),
    encoded_at_s=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_packed_rows_come_back_bit_for_bit(
    rows: NDArray[np.float16], encoded_at_s: int, data: st.DataObject
) -> None:
    n, width = rows.shape
    hashes = data.draw(hnp.arrays(np.uint64, n))
    records = pack(rows, hashes, encoded_at_s)
    assert [len(record) for record in records] == [record_bytes(width)] * n
    back = unpack(records, width)
    assert back.values.tobytes() == rows.tobytes()
    assert back.values.shape == (n, width)
    assert back.status.tolist() == [FOUND] * n
    np.testing.assert_array_equal(text_hashes(records), hashes)


@pytest.mark.parametrize("time_s", [0, 1_700_000_000, 2**32 - 1])
def test_a_record_says_when_it_was_encoded(time_s: int) -> None:
    (record,) = pack(some_rows(1), np.ones(1, np.uint64), time_s)
    assert encoded_at_s(record) == time_s


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.none(),
            st.binary(max_size=2 * record_bytes(WIDTH)),
            st.binary(min_size=record_bytes(WIDTH), max_size=record_bytes(WIDTH)),
        ),
        max_size=40,
    )
)
def test_any_bytes_unpack_to_finite_rows_and_a_status(records: list[bytes | None]) -> None:
    rows = unpack(records, WIDTH)
    assert np.isfinite(rows.values).all()
    for record, row, status in zip(records, rows.values, rows.status, strict=True):
        if record is None:
            assert status == MISSING
        elif len(record) != record_bytes(WIDTH):
            assert status == CORRUPT
        else:
            stored = np.frombuffer(record[: 2 * WIDTH], "<f2")
            assert status == (FOUND if np.isfinite(stored).all() else CORRUPT)
        assert status == FOUND or not row.any()


@settings(deadline=None)
@given(
    rows=hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 20), st.integers(1, 33)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_query_rows_come_back_bit_for_bit(rows: NDArray[np.float32]) -> None:
    n, width = rows.shape
    records = pack(rows, np.ones(n, np.uint64), 7, "float32")
    assert [len(record) for record in records] == [record_bytes(width, "float32")] * n
    back = unpack(records, width, "float32")
    assert back.values.dtype == np.float32
    assert back.values.tobytes() == rows.tobytes()
    assert back.status.tolist() == [FOUND] * n
    assert text_hashes(records).tolist() == [1] * n


@pytest.mark.parametrize(
    ("damage", "status"),
    [
        (lambda record: None, MISSING),
        (lambda record: record[:-1], CORRUPT),
        (lambda record: struct.pack("<f", float("nan")) + record[4:], CORRUPT),
        (lambda record: record[:4] + struct.pack("<f", -float("inf")) + record[8:], CORRUPT),
        (lambda record: struct.pack("<f", float(np.finfo(np.float32).max)) + record[4:], FOUND),
        # As float16 these would be not numbers; they are ordinary halves of a float32.
        (lambda record: b"\xff\x7f\x00\x00" + record[4:], FOUND),
    ],
    ids=["absent", "short", "nan", "-inf", "largest", "halves"],
)
def test_a_bad_query_record_does_not_touch_its_neighbours(damage, status) -> None:  # type: ignore[no-untyped-def]
    rows = some_rows(3).astype(np.float32)
    first, middle, last = pack(rows, np.ones(3, np.uint64), 7, "float32")
    back = unpack([first, damage(middle), last], WIDTH, "float32")
    assert back.status.tolist() == [FOUND, status, FOUND]
    np.testing.assert_array_equal(back.values[[0, 2]], rows[[0, 2]])
    assert status == FOUND or not back.values[1].any()


def test_a_record_of_the_other_dtype_is_corrupt() -> None:
    assert unpack(some_records(1), WIDTH, "float32").status.tolist() == [CORRUPT]
    with pytest.raises(InvalidRow, match=r"expected rows float32 .* got float16"):
        pack(some_rows(1), np.ones(1, np.uint64), 0, "float32")


def test_a_record_is_row_then_hash_then_time() -> None:
    (record,) = pack(
        np.array([[1.0, -2.0]], np.float16), np.array([text_hash("red shoe")], np.uint64), 7
    )
    assert record == struct.pack("<eeQI", 1.0, -2.0, text_hash("red shoe"), 7)


def test_values_are_contiguous_writable_float16() -> None:
    values = unpack([*some_records(3), None], WIDTH).values
    assert values.dtype == np.float16
    assert values.flags.c_contiguous
    assert values.flags.writeable


def test_no_records_unpack_to_no_rows() -> None:
    rows = unpack([], WIDTH)
    assert rows.values.shape == (0, WIDTH)
    assert rows.status.shape == (0,)


@pytest.mark.parametrize("width", [1, 64, 256, TILE_BYTES])
def test_every_tile_is_unpacked(width: int) -> None:
    per_tile = max(1, TILE_BYTES // record_bytes(width))
    n = 2 * per_tile + 1
    rows = np.resize(np.arange(1, 2000, dtype=np.float16), (n, width))
    records: list[bytes | None] = [*pack(rows, np.ones(n, np.uint64), 0)]
    records[per_tile] = None
    back = unpack(records, width)
    assert back.status.tolist() == [FOUND] * per_tile + [MISSING] + [FOUND] * per_tile
    rows[per_tile] = 0
    np.testing.assert_array_equal(back.values, rows)


@pytest.mark.parametrize(
    ("damage", "status"),
    [
        (lambda record: None, MISSING),
        (lambda record: b"", CORRUPT),
        (lambda record: record[:-1], CORRUPT),
        (lambda record: record + b"\0", CORRUPT),
        (lambda record: struct.pack("<e", float("nan")) + record[2:], CORRUPT),
        (lambda record: record[:2] + struct.pack("<e", float("inf")) + record[4:], CORRUPT),
        (lambda record: record[:6] + struct.pack("<e", -float("inf")) + record[8:], CORRUPT),
        (lambda record: struct.pack("<e", 65504) + record[2:], FOUND),
        (lambda record: record[:8] + b"\xff" * 12, FOUND),
    ],
    ids=["absent", "empty", "short", "long", "nan", "inf", "-inf", "largest", "odd trailer"],
)
def test_a_bad_record_does_not_touch_its_neighbours(damage, status) -> None:  # type: ignore[no-untyped-def]
    first, middle, last = some_records(3)
    rows = unpack([first, damage(middle), last], WIDTH)
    assert rows.status.tolist() == [FOUND, status, FOUND]
    np.testing.assert_array_equal(rows.values[[0, 2]], some_rows(3)[[0, 2]])
    assert status == FOUND or not rows.values[1].any()


def test_a_short_and_a_long_record_do_not_make_up_for_each_other() -> None:
    first, second = some_records(2)
    assert unpack([first[:-1], second + b"\0"], WIDTH).status.tolist() == [CORRUPT, CORRUPT]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_not_packed(value: float) -> None:
    rows = some_rows(3)
    rows[1, 2] = value
    with pytest.raises(InvalidRow, match="row 1 of the batch holds NaN or infinity"):
        pack(rows, np.ones(3, np.uint64), 0)


@pytest.mark.parametrize(
    ("rows", "hashes", "encoded_at_s", "message"),
    [
        (np.zeros((2, 4), np.float32), np.ones(2, np.uint64), 0, "got float32"),
        (np.zeros(4, np.float16), np.ones(4, np.uint64), 0, r"got float16 \[4\]"),
        (np.zeros((2, 0), np.float16), np.ones(2, np.uint64), 0, r"got float16 \[2, 0\]"),
        (np.zeros((2, 4), np.float16), np.ones(3, np.uint64), 0, r"one per row, got uint64 \[3\]"),
        (np.zeros((2, 4), np.float16), np.ones(2, np.int64), 0, r"got int64 \[2\]"),
        (np.zeros((2, 4), np.float16), np.ones(2, np.uint64), -1, "got -1"),
        (np.zeros((2, 4), np.float16), np.ones(2, np.uint64), 2**32, "got 4294967296"),
    ],
)
def test_what_cannot_be_packed_is_refused(
    rows: NDArray[np.float16], hashes: NDArray[np.uint64], encoded_at_s: int, message: str
) -> None:
    with pytest.raises(InvalidRow, match=message):
        pack(rows, hashes, encoded_at_s)


def test_rows_in_any_memory_order_are_packed_alike() -> None:
    rows = some_rows(5)
    hashes = np.ones(5, np.uint64)
    assert pack(np.asfortranarray(rows), hashes, 0) == pack(rows, hashes, 0)
    assert pack(rows[::2, ::2], hashes[::2], 0) == pack(rows[::2, ::2].copy(), hashes[::2], 0)


def test_text_hash_is_blake2b_of_the_title() -> None:
    digest = blake2b("牛奶 250ml".encode(), digest_size=8).digest()
    assert text_hash("牛奶 250ml") == int.from_bytes(digest, "little")
    assert text_hash("red shoe") != text_hash("red shoes")
    assert 0 < text_hash("") < 2**64
    assert 0 < text_hash("\ud800") < 2**64


def test_text_hashes_are_zero_where_there_is_no_record() -> None:
    first, second = some_records(2)
    assert text_hashes([first, None, second, b"short"]).tolist() == [1, 0, 2, 0]
    assert text_hashes([]).shape == (0,)
