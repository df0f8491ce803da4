"""Connections on which every single read and write ends with the call's deadline.

httpx bounds one read at a time: a server that sends a byte now and then is waited for without
end, and a name with three addresses is connected to for three times as long as was asked for.
"""

import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from time import monotonic
from typing import Any

import httpcore
import httpx

from winnow_client.deadline import Deadline

# The service closes a connection that nothing came over for 5 s: give it up before.
KEEPALIVE_S = 4.0
CONNECTIONS = 100

_ends_s: ContextVar[float] = ContextVar("ends_s", default=inf)


@contextmanager
def bounded_by(deadline: Deadline) -> Iterator[None]:
    """Whatever this thread reads and writes over a BoundedTransport ends with the deadline."""
    token = _ends_s.set(deadline.ends_s)
    try:
        yield
    finally:
        _ends_s.reset(token)


class BoundedTransport(httpx.BaseTransport):
    """What `Client` speaks over, unless it's told otherwise.

    It follows no proxy of the environment: the service stands beside its caller.
    """

    def __init__(
        self,
        *,
        verify: ssl.SSLContext | None = None,
        max_connections: int = CONNECTIONS,
        keepalive_s: float = KEEPALIVE_S,
        uds: str | None = None,
    ) -> None:
        """Connects at the first call.

        verify: whom to trust over https; those whom httpx trusts where absent
        max_connections: at the same time, all of them kept; a call beyond waits for one
        keepalive_s: how long an idle connection is kept: less than the service keeps it
        uds: path of a unix socket
        """
        self._pool = httpcore.ConnectionPool(
            ssl_context=verify or httpx.create_ssl_context(),
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=keepalive_s,
            uds=uds,
            network_backend=_Backend(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request, whose answer is still to be read."""
        url = request.url
        sent = httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx_says():
            answer = self._pool.handle_request(sent)
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Closes all connections."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx_says():
            yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


@contextmanager
def _as_httpx_says() -> Iterator[None]:
    """An error of the engine under the same name in httpx."""
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        kind: type[httpx.TransportError] = getattr(httpx, type(error).__name__)
        raise kind(str(error)) from error


class _Backend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """The first address that answers; each has an equal part of the time that is left."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"{host}: {error}") from error
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        failed: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for tried, address in enumerate(addresses):
            left_s = _left_s(timeout)
            part_s = None if left_s is None else left_s / (len(addresses) - tried)
            try:
                return _Stream(
                    self._inner.connect_tcp(address, port, part_s, local_address, socket_options)
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore.ConnectError(f"{host}: it has no address")

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_unix_socket(path, _left_s(timeout), socket_options))


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Over the socket itself: the engine grants each part that fits into it the whole time."""
        sock: socket.socket = self._inner.get_extra_info("socket")
        unsent = memoryview(buffer)
        try:
            while unsent:
                sock.settimeout(_left_s(timeout))
                unsent = unsent[sock.send(unsent) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _left_s(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _left_s(timeout: float | None) -> float | None:
    """The shorter of the timeout and what is left of the deadline."""
    ends_s = _ends_s.get()
    if ends_s == inf:
        return timeout
    left_s = ends_s - monotonic()
    if left_s <= 0:
        raise httpcore.ReadTimeout("the deadline struck")
    return left_s if timeout is None else min(left_s, timeout)
