"""MGETs written and read in C: ids to commands, replies to product rows. Opens no connection.

A group is one MGET: a chunk of the ids on one server, the ids of one bucket in a cluster. Group i
is positions[group_starts[i]:group_starts[i + 1]] of a request's ids and rows.
"""

import os
import socket
import ssl
from ctypes import c_int, create_string_buffer
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vector_store.ids import ProductIds
from vector_store.rows_library import LIBRARY, address, checked, library

AVAILABLE: Final = LIBRARY is not None

ERROR_BYTES: Final = 160  # of an error reply's text, the ending zero included
RECEIVE_BYTES: Final = 1 << 16
_MALFORMED, _TIMED_OUT, _CLOSED, _BROKEN = -2, -3, -4, -5


class MalformedReply(Exception):
    """What came is not the reply to these MGETs; the connection must be dropped."""


def id_buckets(ids: ProductIds, bucket_count: int) -> NDArray[np.int64]:
    """Bucket int64 [n] of each id: CRC-32 modulo the count, as RedisKeys.rows has it."""
    buckets = np.empty(len(ids), np.int64)
    checked(library().ids_buckets(*ids.arguments(), bucket_count, address(buckets)))
    return buckets


def mget_commands(
    ids: ProductIds,
    positions: NDArray[np.int64],
    group_starts: NDArray[np.int64],
    prefixes: bytes,
    bucket_count: int,
) -> tuple[memoryview, list[int]]:
    """The bytes of g MGETs, back to back, and where each of the g commands ends in them.

    Args:
        ids: of one request.
        positions: int64 [m], which of them to ask for, group by group.
        group_starts: int64 [g + 1], from 0 to m; no group is empty.
        prefixes: the key prefix of every bucket, back to back, as RedisKeys.row_prefixes has them.
        bucket_count: number of prefixes.
    """
    groups = len(group_starts) - 1
    if not groups or group_starts[-1] != len(positions):
        raise ValueError(f"expected groups of {len(positions)} positions, got {group_starts}")
    ends = np.empty(groups, np.int64)
    arguments = (*ids.arguments(), address(positions), address(group_starts), groups)
    arguments += (prefixes, len(prefixes), bucket_count)
    write = library().mget_write
    commands = np.empty(checked(write(*arguments, None, 0, None)), np.uint8)
    written = checked(write(*arguments, address(commands), len(commands), address(ends)))
    return commands[:written].data, ends.tolist()


class MgetReader:
    """Reads the replies to g MGETs into `values` and `status`, whatever pieces they come in.

    Of each id it writes the row of `values`, float16 [n, width] (zeros where it isn't FOUND), and
    the element of `status`, uint8 [n]. What isn't in `positions`, or in a group that was answered
    with an error, stays as it was.
    """

    def __init__(
        self,
        values: NDArray[np.float16],
        status: NDArray[np.uint8],
        positions: NDArray[np.int64],
        group_starts: NDArray[np.int64],
    ) -> None:
        groups = len(group_starts) - 1
        n, width = values.shape
        if len(status) != n or group_starts[-1] != len(positions):
            raise ValueError(
                f"expected {n} statuses and groups of {len(positions)} positions, "
                f"got {len(status)} and {group_starts}"
            )
        self._failed = np.zeros(groups, np.uint8)
        self._texts = np.empty((groups, ERROR_BYTES), np.uint8)
        self._library = library()
        self._state = create_string_buffer(self._library.mget_reader_bytes())
        # The C side keeps addresses of these.
        self._arrays = (values, status, positions, group_starts)
        checked(
            self._library.mget_reader_start(
                self._state,
                *(address(values), address(status), n, 2 * width),
                *(address(positions), address(group_starts), groups),
                *(address(self._failed), address(self._texts)),
            )
        )

    @property
    def groups_done(self) -> int:
        """Replies that have been read, error replies included."""
        done: int = self._library.mget_reader_group(self._state)
        return done

    @property
    def errors(self) -> list[tuple[int, str]]:
        """Group and text of each error reply so far: (0, "LOADING Redis is loading ...")."""
        return [
            (int(group), self._texts[group].tobytes().partition(b"\0")[0].decode(errors="replace"))
            for group in np.flatnonzero(self._failed)
        ]

    def feed(self, data: bytes | memoryview) -> None:
        """Takes the next bytes of the replies.

        Raises:
            MalformedReply: they are not those of these MGETs, or there are too many.
        """
        self._taken(self._library.mget_reader_feed(self._state, bytes(data), len(data)))

    def receive(self, connection: socket.socket, through: int) -> None:
        """Reads from a connected socket, TLS or not, until `through` replies have been read.

        Waits for each piece as long as the socket's timeout says.

        Raises:
            TimeoutError: nothing came in time.
            ConnectionError: the server closed the connection. OSError: it broke.
            MalformedReply: as feed.
        """
        if isinstance(connection, ssl.SSLSocket):
            self._receive_decrypted(connection, through)
            return
        timeout_s = connection.gettimeout()
        timeout_ms = -1 if timeout_s is None else max(1, round(timeout_s * 1000))
        error = c_int()
        outcome = self._library.mget_reader_receive(
            self._state, connection.fileno(), timeout_ms, through, error
        )
        if outcome == _TIMED_OUT:
            raise TimeoutError("timed out")
        if outcome == _CLOSED:
            raise ConnectionError("connection closed by the server")
        if outcome == _BROKEN:
            raise OSError(error.value, os.strerror(error.value))
        self._taken(outcome)

    def _receive_decrypted(self, connection: ssl.SSLSocket, through: int) -> None:
        buffer = bytearray(RECEIVE_BYTES)
        piece = memoryview(buffer)
        while self.groups_done < through:
            received = connection.recv_into(buffer)
            if not received:
                raise ConnectionError("connection closed by the server")
            self.feed(piece[:received])

    def _taken(self, outcome: int) -> None:
        if outcome == _MALFORMED:
            raise MalformedReply(f"unreadable in the reply to MGET {self.groups_done}")
        checked(outcome)
