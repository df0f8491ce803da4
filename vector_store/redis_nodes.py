"""Commands to the masters of a Redis Cluster, all nodes at once. Knows slots, no rows.

redis-py's RedisCluster keeps the slot map and the connections. What it would do with a pipeline,
repeating redirected commands one by one and sleeping a quarter of a second while the cluster is
down, is done here within the timeout of the store.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import AbstractConnection
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisClusterException,
    TryAgainError,
)
from redis.retry import Retry

from vector_store.redis_store import SOCKET_READ_BYTES
from vector_store.redis_url import RedisUrl

ROUNDS: Final = 5  # a slot that moves is followed this often, then the call fails
PAUSE_S: Final = 0.01  # before a node is asked again that said "try again"
REFRESH_EVERY_S: Final = 0.5  # the slot map is read at most this often while nodes fail

Redirection = AskError | TryAgainError | ClusterDownError  # MovedError is an AskError
Command = tuple[int, tuple[bytes | str, ...]]
"""Slot and arguments."""


@dataclass(slots=True)
class _Share:
    """What one node is asked: commands by their place in the call."""

    node: ClusterNode
    commands: list[int] = field(default_factory=list)


class ClusterNodes:
    """The nodes of one cluster. Connects when it is first used; threads share it."""

    def __init__(self, url: RedisUrl, *, timeout_ms: int) -> None:
        self._url = url
        self._timeout_s = timeout_ms / 1000
        self._lock = Lock()
        self._client: redis.RedisCluster | None = None
        self._failure: RedisClusterException | None = None
        self._tried_s = 0.0
        self.version = 0  # changes with the slot map

    @property
    def client(self) -> redis.RedisCluster:
        """redis-py's client, for commands of one key; it follows redirections itself."""
        if self._client is not None:
            return self._client
        asked_s = time.monotonic()
        with self._lock:
            if self._client is None:
                if self._failure is not None and self._tried_s >= asked_s:
                    raise self._failure  # another thread has just tried for us
                try:
                    self._client = self._connected()
                except RedisClusterException as error:
                    self._failure, self._tried_s = error, time.monotonic()
                    raise
        return self._client

    def masters(self) -> list[redis.Redis]:
        """A client of each master that holds slots."""
        client = self.client
        masters = client.get_primaries()  # type: ignore[no-untyped-call]
        return [client.get_redis_connection(node) for node in masters]

    def master_of(self, slot: int) -> ClusterNode:
        """The node that has a slot, as far as is known."""
        return self.client.nodes_manager.get_node_from_slot(slot)

    def refresh(self) -> None:
        """Read the slot map again; where no node answers, the old one stays."""
        with self._lock:
            if time.monotonic() - self._tried_s < REFRESH_EVERY_S or self._client is None:
                return
            try:
                self._client.nodes_manager.initialize()
            except RedisClusterException:
                pass
            finally:
                self._tried_s = time.monotonic()
                self.version += 1

    def note_moves(self, replies: Sequence[object]) -> None:
        """Note where slots are now, where a reply says that one has moved."""
        for reply in replies:
            if isinstance(reply, MovedError):
                self.client.nodes_manager.move_slot(reply)
                self.version += 1

    @contextmanager
    def connections(self, nodes: Sequence[ClusterNode]) -> Iterator[list[AbstractConnection]]:
        """A connection to each node; all are dropped if the block raises, replies half read."""
        taken = []
        try:
            for node in nodes:
                pool = self.client.get_redis_connection(node).connection_pool
                taken.append((pool, pool.get_connection()))
            try:
                yield [connection for _, connection in taken]
            except BaseException:
                for _, connection in taken:
                    connection.disconnect()  # type: ignore[no-untyped-call]
                raise
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            self.refresh()  # the slots of a lost node may have another master by now
            raise
        finally:
            for pool, connection in taken:
                pool.release(connection)

    def ask_once(
        self, commands: Sequence[Command], asking: dict[int, ClusterNode] | None = None
    ) -> list[Any]:
        """Replies aligned with commands; a Redirection stands where a node gave one.

        asking: commands that go, behind an ASKING, to this node instead of the slot's.
        """
        asking = asking or {}
        shares: dict[str, _Share] = {}
        for i, (slot, _) in enumerate(commands):
            node = asking.get(i) or self.master_of(slot)
            shares.setdefault(node.name, _Share(node)).commands.append(i)
        replies: list[Any] = [None] * len(commands)
        refused: redis.ResponseError | None = None
        with self.connections([share.node for share in shares.values()]) as connections:
            pairs = list(zip(shares.values(), connections, strict=True))
            for share, connection in pairs:
                packed: list[tuple[bytes | str, ...]] = []
                for i in share.commands:
                    packed += [("ASKING",), commands[i][1]] if i in asking else [commands[i][1]]
                _send(connection, packed)
            for share, connection in pairs:
                for i in share.commands:
                    try:
                        if i in asking:
                            connection.read_response()
                        replies[i] = connection.read_response()
                    except (AskError, TryAgainError, ClusterDownError) as error:
                        replies[i] = with_host(error, share.node)
                    except redis.ResponseError as error:
                        refused = error
        if refused is not None:
            raise refused
        return replies

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Replies aligned with commands of one key each; where a slot moves, it is followed.

        Raises:
            redis.RedisError: a node refused or failed, or a slot has not come to rest in time.
        """
        replies: list[Any] = [None] * len(commands)
        left, asking = list(range(len(commands))), dict[int, ClusterNode]()
        give_up_s = time.monotonic() + self._timeout_s
        for attempt in range(ROUNDS):
            got = self.ask_once([commands[i] for i in left], asking)
            for i, reply in zip(left, got, strict=True):
                replies[i] = reply
            left = [i for i in left if isinstance(replies[i], Redirection)]
            if not left or time.monotonic() > give_up_s:
                break
            asking = self._followed([replies[i] for i in left], attempt)
        if left:
            raise replies[left[0]]
        return replies

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _followed(self, errors: Sequence[Redirection], attempt: int) -> dict[int, ClusterNode]:
        """Take redirections to heart: where to ask, by place, if not the master of the slot."""
        self.note_moves(errors)
        asking = {
            i: self._node(error.host, error.port)
            for i, error in enumerate(errors)
            if isinstance(error, AskError) and not isinstance(error, MovedError)
        }
        if not all(isinstance(error, AskError) for error in errors):
            self.refresh()
            time.sleep(min(PAUSE_S * (attempt + 1), self._timeout_s))
        return asking

    def _node(self, host: str, port: int) -> ClusterNode:
        known = self.client.nodes_manager.get_node(host, port)
        return _cluster_node(host, port) if known is None else known

    def _connected(self) -> redis.RedisCluster:
        others = self._url.nodes[1:]  # the first is in `connect`
        return redis.RedisCluster.from_url(
            self._url.connect,
            startup_nodes=[_cluster_node(host, port) for host, port in others],
            credential_provider=self._url.login,
            protocol=2,  # as RedisStore has it
            retry=Retry(NoBackoff(), 0),
            require_full_coverage=False,  # what can be answered without a lost node is answered
            reinitialize_steps=1,
            socket_connect_timeout=self._timeout_s,
            socket_read_size=SOCKET_READ_BYTES,
            socket_timeout=self._timeout_s,
        )


def _cluster_node(host: str, port: int) -> ClusterNode:
    return ClusterNode(host, port)  # type: ignore[no-untyped-call]


def _send(connection: AbstractConnection, commands: Sequence[tuple[bytes | str, ...]]) -> None:
    packed = connection.pack_commands(commands)  # type: ignore[no-untyped-call]
    connection.send_packed_command(packed)  # type: ignore[no-untyped-call]


def with_host(error: Redirection, node: ClusterNode) -> Redirection:
    """A redirection that `node` gave; where it names no host, that of the node is meant."""
    if isinstance(error, AskError) and not error.host:
        error.host = node.host
    return error
