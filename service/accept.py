"""The event loop of a worker, which leaves connections to the other workers too.

All workers accept from one listening socket, so a worker that dies loses nobody who waits to be
let in. But a client that opens its pool at once would find most of it with one worker (7 or 8 of 8
connections, measured): the first to wake takes one connection after the other before the next has
woken. So a worker waits before it takes one, the longer the more it has. SO_REUSEPORT would deal
them out by chance, and keep a part of them waiting while a worker restarts.

It is a loop, not a server, because that is what uvicorn lets one replace.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

import uvloop

log = logging.getLogger("winnow.accept")

_WAIT_S = 0.0005  # per connection that it has; another worker that sleeps wakes within a fifth
_AFTER_ERROR_S = 1.0  # out of file descriptors, mostly
_MOST = 20  # connections that count: nobody waits longer than 10 ms


class Listener:
    """Takes one connection at a time from a socket that other processes listen on too."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: Callable[[], asyncio.BaseProtocol],
        listening: socket.socket,
    ) -> None:
        """Watches the socket from now on."""
        self.sockets = [listening]
        self._loop = loop
        self._protocol = protocol
        self._wait: asyncio.TimerHandle | None = None
        self._greeting: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Transport] = set()
        self._watch()

    def close(self) -> None:
        """Takes no more; the connections it has go on."""
        if self._wait is not None:
            self._wait.cancel()
        for listening in self.sockets:
            self._loop.remove_reader(listening)
        self.sockets = []

    async def wait_closed(self) -> None:
        """Waits for connections that have been taken and not yet handed to their protocol."""
        await asyncio.gather(*self._greeting, return_exceptions=True)

    def is_serving(self) -> bool:
        """Whether it takes connections."""
        return bool(self.sockets)

    def _watch(self) -> None:
        for listening in self.sockets:
            self._loop.add_reader(listening, self._knock, listening)

    def _knock(self, listening: socket.socket) -> None:
        self._loop.remove_reader(listening)
        self._connections = {each for each in self._connections if not each.is_closing()}
        has = len(self._connections) + len(self._greeting)
        self._wait = self._loop.call_later(_WAIT_S * min(has, _MOST), self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            self._watch()  # another worker was faster, or the client is gone again
        except OSError as error:
            log.error("no connection can be taken for a second: %s", error)  # noqa: TRY400
            self._wait = self._loop.call_later(_AFTER_ERROR_S, self._watch)
        else:
            connection.setblocking(False)  # noqa: FBT003
            greeting = self._loop.create_task(self._greet(connection))
            self._greeting.add(greeting)
            greeting.add_done_callback(self._greeting.discard)
            self._watch()

    async def _greet(self, connection: socket.socket) -> None:
        transport, _ = await self._loop.connect_accepted_socket(self._protocol, connection)
        self._connections.add(transport)


class Loop(uvloop.Loop):
    """uvloop, whose servers on a given socket are Listeners."""

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        *,
        sock: socket.socket,
        ssl: None = None,  # noqa: ARG002 (asyncio's signature)
        backlog: int = 100,
    ) -> Listener:
        """What uvicorn asks for in a worker: the socket is bound, its connections are plain."""
        sock.setblocking(False)  # noqa: FBT003
        sock.listen(backlog)
        return Listener(self, protocol_factory, sock)
