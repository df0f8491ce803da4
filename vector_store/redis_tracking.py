"""Invalidation messages of Redis for the rows of one vector set. Keeps no row and no cache.

One thread holds a connection of its own to every master, in RESP3, with

    CLIENT TRACKING ON BCAST PREFIX <row keys of the set> NOLOOP

https://redis.io/docs/latest/develop/reference/client-side-caching/. If one of the connections
breaks, is silent, or the masters of the cluster are no longer those, the watcher is told at once
that it is lost, and that it is ready when all of them stand again.
"""

import logging
import random
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import Any, Final, cast

import hiredis
import redis
from redis.cluster import ClusterNode
from redis.connection import ConnectionInterface
from redis.exceptions import RedisClusterException

from vector_store.watch import Watcher

log = logging.getLogger("winnow.tracking")

PING_EVERY_S: Final = 1.0  # a server that says nothing from one ping to the next is lost
FIRST_DELAY_S: Final = 0.05  # before connecting again; doubles, with jitter
LAST_DELAY_S: Final = 5.0
RECEIVE_BYTES: Final = 1 << 16
ALLOW: Final = (
    "the row cache stays off; it needs Redis 6 or newer and a user that may "
    "+client|tracking +hello +ping (in a cluster also +cluster|slots)"
)
OFF: Final = "the row cache is off until the connection is back"
BROKEN: Final = (redis.RedisError, RedisClusterException, hiredis.HiredisError, OSError)

Place = tuple[str, int]
"""Host and port."""


class RowTracking:
    """The Watch of a set in Redis or in a Redis Cluster."""

    def __init__(
        self,
        masters: Callable[[], Sequence[redis.Redis]],
        watcher: Watcher,
        *,
        in_cluster: bool,
        row_prefix: bytes,
        id_start: int,
        shown_url: str,
    ) -> None:
        """Starts the thread.

        masters: a client of every server to watch, as of now
        row_prefix: what the keys of the set's rows begin with, and no other key
        id_start: where the product id begins in such a key
        """
        self._masters = masters
        self._watcher = watcher
        self._in_cluster = in_cluster
        self._row_prefix = row_prefix
        self._id_start = id_start
        self._shown_url = shown_url
        self._said = ""
        self._closing = Event()
        self._alarm, self._bell = socket.socketpair()
        self._thread = Thread(target=self._run, name="winnow-tracking", daemon=True)
        self._thread.start()

    def close(self) -> None:
        if not self._closing.is_set():
            self._closing.set()
            self._bell.send(b"!")
            self._thread.join()
            self._alarm.close()
            self._bell.close()

    def _run(self) -> None:
        delay_s = FIRST_DELAY_S
        try:
            while not self._closing.is_set():
                try:
                    with self._links() as links:
                        self._watcher.ready()
                        self._say(None)
                        delay_s = FIRST_DELAY_S
                        self._listen(links)
                except BROKEN as error:
                    self._watcher.lost()
                    self._say(error)
                    self._closing.wait(delay_s * random.uniform(0.5, 1))  # noqa: S311 - no secret
                    delay_s = min(2 * delay_s, LAST_DELAY_S)
        except BaseException:
            self._watcher.lost()  # a watch that has died must not pass for one that stands
            raise

    @contextmanager
    def _links(self) -> "Iterator[list[_Link]]":
        """A tracking connection to every master."""
        ping = ("CLUSTER", "SLOTS") if self._in_cluster else ("PING",)
        with ExitStack() as opened:
            links: list[_Link] = []
            for master in self._masters():
                link = _Link(master, ping)
                opened.callback(link.close)
                links.append(link)
            places = {link.place for link in links}
            for link in links:
                self._check(link, link.track(self._row_prefix), places)
            yield links

    def _listen(self, links: "Sequence[_Link]") -> None:
        """Pass messages on until the watch is closed; raises one of BROKEN when a link breaks."""
        places = {link.place for link in links}
        next_ping_s = time.monotonic() + PING_EVERY_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._alarm, selectors.EVENT_READ)
            for link in links:
                selector.register(link.socket, selectors.EVENT_READ, link)
            while not self._closing.is_set():
                if time.monotonic() >= next_ping_s:
                    for link in links:
                        link.ping()
                    next_ping_s = time.monotonic() + PING_EVERY_S
                for key, _ in selector.select(max(0.0, next_ping_s - time.monotonic())):
                    if key.data is not None:
                        self._pass_on(key.data, key.data.received(), places)

    def _pass_on(self, link: "_Link", messages: Sequence[Any], places: set[Place]) -> None:
        for message in messages:
            if isinstance(message, hiredis.PushNotification):
                if message[0] != b"invalidate":
                    continue
                if message[1] is None:  # FLUSHALL, FLUSHDB
                    self._watcher.lost()
                    self._watcher.ready()
                else:
                    self._watcher.invalidated([key[self._id_start :] for key in message[1]])
                continue
            link.answered()
            if isinstance(message, Exception):
                raise message
            self._check(link, message, places)

    def _check(self, link: "_Link", answer: Any, places: set[Place]) -> None:
        """Raise if the answer to a ping names other masters than those that are watched."""
        if self._in_cluster and link.masters_in(answer) != places:
            raise redis.ConnectionError("the cluster has other masters than before")

    def _say(self, error: Exception | None) -> None:
        """Log what has changed, once; None: it stands."""
        reason = "" if error is None else str(error)
        if reason == self._said:
            return
        self._said = reason
        if error is None:
            log.info("changes of rows in Redis at %s are watched again", self._shown_url)
        elif isinstance(error, (redis.ResponseError, hiredis.ReplyError)):
            log.warning("Redis at %s refuses tracking (%s): %s", self._shown_url, reason, ALLOW)
        else:
            log.warning("changes in Redis at %s go unseen (%s): %s", self._shown_url, reason, OFF)


class _Link:
    """One connection; redis-py opens it and logs in, messages are read here."""

    def __init__(self, master: redis.Redis, ping: tuple[str, ...]) -> None:
        self._ping = ping
        pool = master.connection_pool
        arguments = pool.connection_kwargs
        self.place: Place = (arguments.get("host", ""), arguments.get("port", 0))
        self._connection: ConnectionInterface = pool.connection_class(**arguments | {"protocol": 3})
        self._connection.connect()
        # redis-py has no public name for it, and keeps push messages to itself.
        self.socket: socket.socket = cast(Any, self._connection)._sock
        self._reader = hiredis.Reader()
        self._waits = False
        self._heard = False

    def track(self, row_prefix: bytes) -> Any:
        """Switch tracking on; the reply to a ping behind it. What is pushed before is dropped."""
        self._send(("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", row_prefix, "NOLOOP"))
        self.ping()
        replies: list[Any] = []
        while len(replies) < 2:
            replies += [m for m in self.received() if not isinstance(m, hiredis.PushNotification)]
        self._waits = False
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies[1]

    def ping(self) -> None:
        if self._waits and not self._heard:
            raise redis.TimeoutError(f"no answer to a ping within {PING_EVERY_S:g} s")
        self._heard = False
        self._waits = True
        self._send(self._ping)

    def received(self) -> list[Any]:
        """Replies and push messages that have come; waits for some if there are none."""
        data = self.socket.recv(RECEIVE_BYTES)
        while data:
            self._heard = True
            self._reader.feed(data)
            # What TLS has decrypted and nobody has taken, select() cannot see.
            pending = self.socket.pending() if isinstance(self.socket, ssl.SSLSocket) else 0
            if not pending:
                break
            data = self.socket.recv(pending)
        if not data:
            raise redis.ConnectionError("the server closed the connection")
        messages: list[Any] = []
        while (message := self._reader.gets()) is not False:
            messages.append(message)
        return messages

    def answered(self) -> None:
        self._waits = False

    def masters_in(self, slots: list[Any]) -> set[Place]:
        """Where the masters are, from a reply to CLUSTER SLOTS; no name means this server's."""
        return {_place((row[2][0] or b"").decode() or self.place[0], row[2][1]) for row in slots}

    def close(self) -> None:
        self._connection.disconnect()  # type: ignore[no-untyped-call]

    def _send(self, command: tuple[str | bytes, ...]) -> None:
        self._connection.send_command(*command)  # type: ignore[no-untyped-call]


def _place(host: str, port: int) -> Place:
    node = ClusterNode(host, port)  # type: ignore[no-untyped-call]
    return node.host, node.port
