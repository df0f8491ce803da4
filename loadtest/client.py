"""One connection to a server: HTTP/1.1 over a plain socket, so that a client costs nearly nothing.

httpx and its kin cost as much as a request of 1,000 candidates does; on shared cores that would be
measured too. Only what a measured server sends is understood: a status, a length, a body.
"""

import re
import select
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TIMINGS = re.compile(rb"\r\nserver-timing: *([^\r]*)", re.IGNORECASE)
_RETRY = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_STAGE = re.compile(rb"([\w-]+);dur=([\d.]+)")
_RECEIVE_BYTES = 1 << 16  # more would be mapped and unmapped by malloc at every call

Outcome = Literal["ok", "degraded", "shed", "failed"]


class ServerGone(Exception):
    """The server closed the connection, or sent what is no HTTP/1.1 answer with a length."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response.

    timings_ms: the stages of its `Server-Timing` header
    retry_after_s: when it says to ask again
    """

    status: int
    timings_ms: dict[str, float]
    body: bytes
    retry_after_s: int | None = None

    @property
    def outcome(self) -> Outcome:
        """What an answer of the service counts as: only "ok" is fully scored.

        Shedding keeps a promise: 429 says when to ask again, a page of `/filter` passes whole.
        Searches the bytes: the service writes JSON without spaces, and a quote inside an id would
        be escaped.
        """
        if self.status == 429:
            return "failed" if self.retry_after_s is None else "shed"
        if self.status == 200 and b'"degraded":{"shed":' in self.body:
            return "shed" if b'"passed_through":true' in self.body else "failed"
        if self.status != 200:
            return "failed"
        return "ok" if b'"full":true' in self.body else "degraded"


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and the headers that matter.

    length: of the body that follows, bytes
    closes: the server takes no further request over this connection
    retry_after_s: as in `Answer`
    """

    status: int
    length: int
    timings_ms: dict[str, float]
    closes: bool
    retry_after_s: int | None


class Client:
    """A keep-alive connection; one request at a time, from one thread."""

    def __init__(self, url: str, timeout_s: float = 30.0) -> None:
        """Connects to `http://HOST:PORT`.

        Raises:
            ValueError: another kind of URL.
            OSError: nobody listens there.
        """
        self._host, self._address = address_of(url)
        self._timeout_s = timeout_s
        self._connect()

    @property
    def told_to_leave(self) -> bool:
        """Whether the server has closed with its last answer: the next request connects anew."""
        return self._told_to_leave

    def post(self, path: str, body: bytes) -> Answer:
        """Sends JSON and waits for the answer.

        Raises:
            ServerGone: the connection ended before the answer did.
            OSError: the connection broke, or nothing came within the timeout.
        """
        return self._exchange(post_bytes(self._host, path, body))

    def get(self, path: str) -> Answer:
        """As `post`, without a body."""
        return self._exchange(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _connect(self) -> None:
        self._socket = socket.create_connection(self._address, self._timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._told_to_leave = False
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)

    def _exchange(self, request: bytes) -> Answer:
        if self._told_to_leave or self._readable.poll(0):
            # Between two answers there is nothing to read but the end: servers close a connection
            # that was idle for some seconds. One that ends within a request is an error.
            self._socket.close()
            self._connect()
        self._socket.sendall(request)
        received = self._receive()
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive()
        head = parse_head(received[:end])
        chunks = [received[end + 4 :]]
        missing = head.length - len(chunks[0])
        while missing > 0:
            chunks.append(self._receive())
            missing -= len(chunks[-1])
        self._told_to_leave = head.closes
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return Answer(head.status, head.timings_ms, body, head.retry_after_s)

    def _receive(self) -> bytes:
        received = self._socket.recv(_RECEIVE_BYTES)
        if not received:
            raise ServerGone("the server closed the connection before the answer was complete")
        return received


def address_of(url: str) -> tuple[str, tuple[str, int]]:
    """Host header and address of `http://HOST:PORT`.

    Raises:
        ValueError: another kind of URL.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path not in {"", "/"}:
        raise ValueError(f"expected http://HOST:PORT, got {url}")
    return parts.netloc, (parts.hostname, parts.port or 80)


def post_bytes(host: str, path: str, body: bytes) -> bytes:
    """The bytes of one POST of JSON."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def parse_head(head: bytes) -> Head:
    """Everything before the empty line.

    Raises:
        ServerGone: not HTTP/1.1, or a body of unknown length (chunked).
    """
    length = _LENGTH.search(head)
    if not head.startswith(b"HTTP/1.1 ") or length is None:
        raise ServerGone(
            f"expected an HTTP/1.1 answer with Content-Length, got {head[:200]!r}: "
            "is this the server that was meant?"
        )
    timings = _TIMINGS.search(head)
    retry = _RETRY.search(head)
    return Head(
        int(head[9:12]),
        int(length[1]),
        parse_stages(timings[1] if timings else b""),
        closes=bool(_CLOSES.search(head)),
        retry_after_s=int(retry[1]) if retry else None,
    )


def parse_stages(server_timing: bytes) -> dict[str, float]:
    """Milliseconds of each stage, of a `Server-Timing` header's value."""
    return {name.decode(): float(ms) for name, ms in _STAGE.findall(server_timing)}
