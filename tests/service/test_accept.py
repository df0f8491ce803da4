"""Connections spread over workers that share one listening socket."""

import asyncio
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import psutil
import pytest

from service.accept import Loop
from tests.service.conftest import MODELS, READY_WITHIN_S, StartService
from tests.service.test_operation import workers_of

BURSTS, CONNECTIONS = 6, 8


def test_a_pool_opened_at_once_is_shared_by_the_workers(
    lmdb_store: str, start_service: StartService
) -> None:
    """With one wake-up per connection and no wait, one worker takes 7 or 8 of each 8."""
    service = start_service(lmdb_store, {"workers": "2", "models": MODELS[1]})
    service.wait_for("/readyz")
    workers = workers_of(service)
    give_up = time.monotonic() + READY_WITHIN_S
    while not min(_burst(service.port, workers)):  # the second one is still starting
        assert time.monotonic() < give_up
    fewer = sum(min(_burst(service.port, workers)) for _ in range(BURSTS))
    assert fewer >= BURSTS * CONNECTIONS / 4


def _burst(port: int, workers: list[int]) -> list[int]:
    """Opens a pool of connections, asks each once, and counts what each worker holds."""
    with _pool(port) as connections:
        for connection in connections:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: winnow\r\n\r\n")
        assert all(connection.recv(4096).startswith(b"HTTP") for connection in connections)
        held = [_held(pid, connections) for pid in workers]
    assert sum(held) == CONNECTIONS
    return held


@contextmanager
def _pool(port: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            for _ in range(CONNECTIONS)
        ]


def _held(pid: int, connections: list[socket.socket]) -> int:
    """How many of these connections end in this process."""
    ours = {connection.getsockname() for connection in connections}
    ends = psutil.Process(pid).net_connections("tcp")
    return sum(tuple(end.raddr) in ours for end in ends)


class Echo(asyncio.Protocol):
    """Sends back what it is sent."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Sends it back."""
        self.transport.write(data)


def _listening() -> socket.socket:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    return listening


async def _echoed(connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    await loop.sock_sendall(connection, b"hello")
    return await asyncio.wait_for(loop.sock_recv(connection, 100), timeout=30)


def test_connections_wait_while_no_file_can_be_opened(caplog: pytest.LogCaptureFixture) -> None:
    """Out of file descriptors: said once a second, and the client is served when there are some."""

    async def run() -> bytes:
        loop = asyncio.get_running_loop()
        with _listening() as listening, socket.socket() as client:
            server = await loop.create_server(Echo, sock=listening)
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            client.connect(listening.getsockname())
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno(), before[1]))
            try:
                while "no connection can be taken" not in caplog.text:
                    await asyncio.sleep(0.01)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            answer = await _echoed(client)
            server.close()
            await server.wait_closed()
        await asyncio.sleep(0.1)  # the server's end of the connection closes
        return answer

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(asyncio.wait_for(run(), timeout=60)) == b"hello"


def test_a_closed_listener_takes_no_more_and_keeps_what_it_has() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        with _listening() as listening, socket.socket() as first, socket.socket() as second:
            server = await loop.create_server(Echo, sock=listening)
            first.connect(listening.getsockname())
            assert await _echoed(first) == b"hello"
            assert server.is_serving()
            server.close()
            await server.wait_closed()
            assert not server.is_serving()
            second.connect(listening.getsockname())  # the kernel takes it, nobody else does
            assert await _echoed(first) == b"hello"
            second.setblocking(False)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.sock_recv(second, 1), timeout=0.2)
        await asyncio.sleep(0.1)  # the server's end of the first connection closes

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(asyncio.wait_for(run(), timeout=60))
