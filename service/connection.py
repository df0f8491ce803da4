"""One connection of a client, bounded: what uvicorn's own leaves open in bytes and in time.

A client has `client_timeout_s` from its first byte (of a new connection: from its opening) until
its request is there whole, and as long to take the answer: one that trickles is cut off, however
steadily. `idle_timeout_s` between requests. The head of a request, and whatever surrounds its body
(chunk sizes, trailers), is bounded; the body is bounded where it is read (service/bodies.py).

One timer per connection, set again only when it goes off, so that a request costs no timer.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service import metrics
from service.errors import problem_response
from service.metrics import Cut
from service.settings import Settings

STATE: Final = "limits"  # where the lifespan's state has them
_MOST_PIPELINED: Final = 16  # requests sent before the first is answered; clients send one
_FRAMING: Final = 8  # bytes that may surround one byte of a body: chunks of one byte have 5
_MOST_FRAMING_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Of every connection of a process."""

    max_header_bytes: int
    max_connections: int
    client_timeout_s: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Those of the settings."""
        return cls(settings.max_header_bytes, settings.max_connections, settings.client_timeout_s)


class _Unwelcome(Exception):
    """Ends parsing; httptools hands it on as a parser's error."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection on httptools, with limits; the lifespan's state has to have them."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """As uvicorn makes it for a connection that it has accepted."""
        super().__init__(config, server_state, app_state, _loop)
        self._limits: Limits = app_state[STATE]
        self._timeout_s = self._limits.client_timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._whole_by: float | None = None  # on the loop's clock: the request has to be there
        self._taken_by: float | None = None  # the answer has to be taken
        self._spare_bytes = 0  # that may still come beside a body
        self._cut: Cut = "malformed"
        self._closing = False
        self.waiting_since: float | None = None  # for a whole request, or for any

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for a request; where there are too many, another one gives way."""
        super().connection_made(transport)
        now = self.loop.time()
        if len(self.connections) > self._limits.max_connections:
            self._make_room()
        self._wait_for_request(now)
        self._timer = self.loop.call_at(now + self._timeout_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Its timer goes with it."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, which would log a line for whatever is no HTTP or asks for an upgrade."""
        self._unset_keepalive_if_required()
        if self._whole_by is None and not self._answering():
            self._wait_for_request(self.loop.time())  # what comes may be no request's beginning
        self._spare_bytes -= len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as any request: there is nothing here to upgrade to
        except httptools.HttpParserError:
            self._end(self._cut)
            return
        if self._spare_bytes < 0 and self._whole_by is not None:
            self._end("headers_too_large")

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._spare_bytes = self._limits.max_header_bytes
        if self._whole_by is None:  # it came together with the end of the one before
            self._wait_for_request(self.loop.time())
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """All headers are there; handlers begin now."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.max_header_bytes:
            self._cut = "headers_too_large"
            raise _Unwelcome
        super().on_headers_complete()
        if len(self.pipeline) > _MOST_PIPELINED:
            self._cut = "crowded"
            raise _Unwelcome

    def on_body(self, body: bytes) -> None:
        """A piece of the body, counted where it is read; what surrounds it, here."""
        spare = self._spare_bytes + (1 + _FRAMING) * len(body)
        self._spare_bytes = min(spare, self._limits.max_header_bytes + _MOST_FRAMING_BYTES)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there whole."""
        self._whole_by = self.waiting_since = None
        super().on_message_complete()
        if self.cycle.response_complete and self.timeout_keep_alive_task is None:
            self._idle()  # it was refused before its body had come: uvicorn waits for ever

    def on_response_complete(self) -> None:
        """The answer has been handed over."""
        super().on_response_complete()
        if self._whole_by is None and self.timeout_keep_alive_task is not None:
            self.waiting_since = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        """No request for `idle_timeout_s`; what the client hasn't taken by now it never will."""
        if self.transport.get_write_buffer_size():
            self._abort("answer_not_taken")
        else:
            super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        """More of an answer waits than the system takes."""
        self._taken_by = self.loop.time() + self._timeout_s
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client has taken it."""
        self._taken_by = None
        super().resume_writing()

    def _answering(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first request
        return cycle is not None and not cycle.response_complete

    def _wait_for_request(self, now: float) -> None:
        self._spare_bytes = self._limits.max_header_bytes
        self.waiting_since = now
        self._whole_by = now + self._timeout_s

    def _idle(self) -> None:
        self.waiting_since = self.loop.time()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _look(self) -> None:
        """Ends the connection if it is late, else looks again when it could be."""
        now = self.loop.time()
        if self._taken_by is not None and self._taken_by <= now:
            self._abort("answer_not_taken")
        elif self._whole_by is not None and self._whole_by <= now:
            self._end("slow_request")
        elif self.transport.is_closing():
            if self._closing:  # since the last look: what it waits for will never be taken
                self._abort("answer_not_taken")
            self._closing = True
        due = min(each for each in (self._taken_by, self._whole_by, now + self._timeout_s) if each)
        self._timer = self.loop.call_at(max(due, now + 0.01), self._look)

    def _make_room(self) -> None:
        """The one that has waited longest for a request gives way, and a new client gets in.

        Connections that say nothing, or too little, can't keep others out; those that are being
        answered stay.
        """
        waiting = [
            each
            for each in cast("set[Connection]", self.connections)
            if each is not self and each.waiting_since is not None
        ]
        longest = min(waiting, key=lambda each: each.waiting_since or 0.0, default=self)
        longest._abort("crowded")

    def _end(self, cut: Cut) -> None:
        """Says why, where no answer is under way, and closes."""
        if self.transport.is_closing():
            return
        begun = cast("list[tuple[bytes, bytes]] | None", self.headers) is not None
        started = self._answering() and self.cycle.response_started
        if not begun or started or self.pipeline:
            self._abort(cut)
            return
        metrics.CUT_CONNECTIONS.labels(cut).inc()
        self._whole_by = None
        self.transport.write(_ANSWERS[cut])
        self.transport.close()

    def _abort(self, cut: Cut) -> None:
        if not self.transport.is_closing() or self.transport.get_write_buffer_size():
            metrics.CUT_CONNECTIONS.labels(cut).inc()
        self._whole_by = self._taken_by = self.waiting_since = None
        self.transport.abort()


def _raw(status: int, title: str, detail: str) -> bytes:
    response = problem_response(status, title.lower().replace(" ", "-"), title, detail, {})
    response.headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {status} {title}".encode()]
    lines += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join([*lines, b"", bytes(response.body)])


_ANSWERS: Final[dict[Cut, bytes]] = {
    "malformed": _raw(400, "Bad request", "expected a request of HTTP/1.1, got something else"),
    "slow_request": _raw(
        408,
        "Request timeout",
        "expected the whole request within WINNOW_CLIENT_TIMEOUT_S: send it in one go",
    ),
    "headers_too_large": _raw(
        431,
        "Request header fields too large",
        "expected at most WINNOW_MAX_HEADER_BYTES of request line and headers: send fewer",
    ),
}
