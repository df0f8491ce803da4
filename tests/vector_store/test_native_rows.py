"""MGETs as bytes, and their replies read into rows however they come in."""

import socket
from collections.abc import Sequence
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from redis.connection import PythonRespSerializer

from vector_store.ids import ProductIds
from vector_store.keys import RedisKeys, lookup_ids
from vector_store.native_rows import (
    AVAILABLE,
    ERROR_BYTES,
    MalformedReply,
    MgetReader,
    id_buckets,
    mget_commands,
)
from vector_store.rows import CORRUPT, FOUND, MISSING, Rows, pack, unpack

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="rows.c is not compiled")

WIDTH = 5
UNTOUCHED = 99
RECORDS = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.binary(min_size=2 * WIDTH + 12, max_size=2 * WIDTH + 12),
)
GROUPS = st.lists(st.lists(RECORDS, min_size=1, max_size=4), min_size=1, max_size=4)


def some_records(n: int) -> list[bytes]:
    rows = np.arange(n * WIDTH, dtype=np.float16).reshape(n, WIDTH)
    return pack(rows, np.ones(n, np.uint64), 1_700_000_000)


def reply(records: Sequence[bytes | None]) -> bytes:
    bulks = [b"$-1\r\n" if r is None else b"$%d\r\n%b\r\n" % (len(r), r) for r in records]
    return b"*%d\r\n%b" % (len(records), b"".join(bulks))


def starts_of(groups: Sequence[Sequence[object]]) -> NDArray[np.int64]:
    return np.cumsum([0, *map(len, groups)])


def reader_of(positions: NDArray[np.int64], starts: NDArray[np.int64]) -> tuple[MgetReader, Rows]:
    n = len(positions) + 1  # one row that nobody asks for
    values = np.full((n, WIDTH), UNTOUCHED, np.float16)
    rows = Rows(values, np.full(n, UNTOUCHED, np.uint8))
    return MgetReader(rows.values, rows.status, positions, starts), rows


def feed(reader: MgetReader, stream: bytes, piece: int) -> None:
    for start in range(0, len(stream), piece):
        reader.feed(stream[start : start + piece])


def check_rows(rows: Rows, positions: NDArray[np.int64], records: list[bytes | None]) -> None:
    expected = unpack(records, WIDTH)
    assert rows.status[positions].tolist() == expected.status.tolist()
    assert rows.values[positions].tobytes() == expected.values.tobytes()
    rest = np.setdiff1d(np.arange(len(rows.status)), positions)
    assert (rows.status[rest] == UNTOUCHED).all()
    assert (rows.values[rest] == UNTOUCHED).all()


@given(st.lists(st.text(max_size=30), max_size=30), st.integers(1, 1000))
def test_buckets_and_commands_are_those_of_redis_keys(strings: list[str], buckets: int) -> None:
    strings = [*strings, "", "x" * 256, "x" * 257, "鞋" * 86, "a\ud800"]
    ids, keys = ProductIds.from_strings(strings), RedisKeys("ns*")
    raw_ids = lookup_ids(strings)
    assert id_buckets(ids, buckets).tolist() == [crc32(raw) % buckets for raw in raw_ids]
    positions = np.random.default_rng(0).permutation(len(ids))[1:]
    starts = np.array([0, 1, len(positions)])
    prefixes = keys.row_prefixes("0123abcd.1", buckets)
    commands, ends = mget_commands(ids, positions, starts, prefixes, buckets)
    row_keys = keys.rows("0123abcd.1", buckets, [raw_ids[position] for position in positions])
    serializer = PythonRespSerializer(
        6000, lambda value: value if isinstance(value, bytes) else value.encode()
    )
    expected = [
        b"".join(serializer.pack("MGET", *part))  # type: ignore[no-untyped-call]
        for part in (row_keys[:1], row_keys[1:])
    ]
    assert bytes(commands) == b"".join(expected)
    assert ends == [len(expected[0]), len(commands)]


@given(GROUPS, st.data())
def test_replies_are_read_in_any_pieces(
    groups: list[list[bytes | None]], data: st.DataObject
) -> None:
    records = [record for group in groups for record in group]
    positions = np.array(data.draw(st.permutations(range(len(records) + 1)))[1:], np.int64)
    stream = b"".join(map(reply, groups))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reader, rows = reader_of(positions, starts_of(groups))
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:stop])
    assert reader.groups_done == len(groups)
    assert reader.errors == []
    check_rows(rows, positions, records)


def test_replies_are_read_whatever_two_pieces_they_come_in() -> None:
    whole = some_records(3)
    nan = np.full(WIDTH, np.nan, np.float16).tobytes() + whole[0][2 * WIDTH :]
    infinite = np.full(WIDTH, -np.inf, np.float16).tobytes() + whole[0][2 * WIDTH :]
    groups: list[list[bytes | None]] = [
        [whole[0], None, whole[1]],
        [nan, infinite, b"", whole[1][:-1], whole[1] + b"\0", b"\r\n$-1\r\n", whole[2]],
    ]
    records = [record for group in groups for record in group]
    positions = np.arange(len(records))[::-1].copy()
    stream = b"".join(map(reply, groups))
    for cut in range(len(stream) + 1):
        reader, rows = reader_of(positions, starts_of(groups))
        reader.feed(stream[:cut])
        assert reader.groups_done <= 2
        reader.feed(stream[cut:])
        check_rows(rows, positions, records)
    reader, rows = reader_of(positions, starts_of(groups))
    for byte in stream:
        reader.feed(bytes([byte]))
    check_rows(rows, positions, records)
    assert rows.status[positions].tolist() == ([FOUND, MISSING, FOUND, *[CORRUPT] * 6, FOUND])


@pytest.mark.parametrize("length", [0, 1, 30, ERROR_BYTES - 2, ERROR_BYTES, 5 * ERROR_BYTES])
@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_error_replies_are_handed_up_and_touch_no_row(length: int, piece: int) -> None:
    text = "LOADING Redis is loading".ljust(length, "x")[:length]
    records = some_records(4)
    groups = [records[:2], records[2:3], records[3:]]
    stream = reply(groups[0]) + f"-{text}\r\n".encode() + reply(groups[2])
    reader, rows = reader_of(np.arange(4), starts_of(groups))
    feed(reader, stream, piece)
    assert reader.groups_done == 3
    ((group, said),) = reader.errors
    assert group == 1
    assert text.startswith(said)
    assert len(said) >= min(length, ERROR_BYTES - 3)
    check_rows(rows, np.array([0, 1, 3]), [*records[:2], records[3]])


@pytest.mark.parametrize(
    "stream",
    [
        b"*2\r\n",
        b"*4\r\n",
        b"*-1\r\n",
        b"*\r\n",
        b"*3x\r\n",
        b"*3\n",
        b"\r\n",
        b"$3\r\n",
        b"+OK\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\0" * 500,
        b"*3\r\n:1\r\n",
        b"*3\r\n-ERR inside\r\n",
        b"*3\r\n$-2\r\n",
        b"*3\r\n$99999999999\r\n",
        b"*3\r\n$1\r\nab\r\n",
        b"*3\r\n$22\r\n" + b"x" * 24,
        b"*3\r\n" + b"$22\r\n" + b"x" * 22 + b"\rx" + b"$-1\r\n",
        b"*3\r\n$-1\r\n$-1\r\n$-1\r\n+",
    ],
)
def test_what_is_no_such_reply_is_malformed(stream: bytes) -> None:
    for piece in (1, len(stream)):
        reader, _ = reader_of(np.arange(3), np.array([0, 3]))
        with pytest.raises(MalformedReply, match="unreadable in the reply to MGET"):
            feed(reader, stream, piece)


@given(st.lists(st.binary(max_size=30), max_size=5))
def test_no_bytes_do_harm(pieces: list[bytes]) -> None:
    reader, rows = reader_of(np.arange(3), np.array([0, 2, 3]))
    try:
        for piece in pieces:
            reader.feed(piece)
    except MalformedReply:
        pass
    assert (rows.status[3:] == UNTOUCHED).all()


@pytest.mark.parametrize(
    ("positions", "starts"),
    [([3], [0, 1]), ([-1], [0, 1]), ([0, 1], [0, 1]), ([0, 1], [0, 2, 2]), ([0, 1], [1, 2])],
)
def test_groups_that_do_not_fit_the_rows_are_refused(
    positions: list[int], starts: list[int]
) -> None:
    ids = ProductIds.from_strings(["a", "b", "c"])
    values, status = np.zeros((3, WIDTH), np.float16), np.zeros(3, np.uint8)
    groups = np.array(positions), np.array(starts)
    with pytest.raises(ValueError, match=r"expected groups|do not fit together"):
        mget_commands(ids, *groups, RedisKeys("ns").row_prefixes("0123abcd.1", 4), 4)
    with pytest.raises(ValueError, match=r"expected 3 statuses|do not fit together"):
        MgetReader(values, status, *groups)


def test_a_socket_is_read_through_the_replies_that_are_wanted() -> None:
    records = some_records(3)
    groups = [records[:1], records[1:]]
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(0.02)
        reader, rows = reader_of(np.arange(3), starts_of(groups))
        far.sendall(reply(groups[0]) + reply(groups[1])[:30])
        reader.receive(near, 1)
        assert reader.groups_done == 1
        with pytest.raises(TimeoutError):
            reader.receive(near, 2)
        far.sendall(reply(groups[1])[30:])
        reader.receive(near, 2)
        check_rows(rows, np.arange(3), list(records))
        far.close()
        again, _ = reader_of(np.arange(3), starts_of(groups))
        with pytest.raises(ConnectionError, match="closed by the server"):
            again.receive(near, 1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        again.receive(near, 1)
