"""Redis servers to be killed: one that keeps what it was told, and a cluster with replicas."""

import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from loadtest.commands import CommandFailed, free_port

MASTERS: Final = 3
_ANSWERS_WITHIN_S: Final = 60.0

NODE_TIMEOUT_MS: Final = 2_000
_NODE: Final = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
# A node listens on its port and, for the other nodes, 10,000 above it. Both stand below 32,768,
# where Linux begins with the ports of outgoing connections.
_BUS_PORT_ABOVE: Final = 10_000
_NODE_PORTS: Final = range(11_000, 22_768)


class RedisProcess:
    """A redis-server on a port of its own, which it keeps when it is started again."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        """Starts nothing yet; `options` of redis-server decide what it keeps."""
        self.port = port
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)

    @property
    def url(self) -> str:
        """Its database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> "redis.Redis":
        """A client that gives up at once."""
        return redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0), socket_timeout=5)

    def start(self) -> None:
        """Starts it and waits until it has loaded its data.

        Raises:
            CommandFailed: it ends, or does not answer.
        """
        executable = shutil.which("redis-server")
        if executable is None:
            raise CommandFailed("expected redis-server on PATH: install it")
        log_file = self._folder / "log"
        with log_file.open("ab") as log:
            self._process = process = subprocess.Popen(
                [
                    *(executable, "--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--dir", str(self._folder), "--save", "", *self._options),
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(
            lambda: process.poll() is not None or self.answers(),
            f"redis-server on port {self.port}",
        )
        if process.poll() is not None:
            raise CommandFailed(
                f"redis-server on port {self.port} ended: {log_file.read_text()[-1000:]}"
            )

    def kill(self) -> None:
        """SIGKILL; what it had not written is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def answers(self) -> bool:
        """Whether it is up and not loading."""
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


@contextmanager
def lasting_redis(folder: Path) -> Iterator[RedisProcess]:
    """A Redis with an append-only file: what was indexed is there again after a kill."""
    server = RedisProcess(folder, free_port(), "--appendonly", "yes")
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Cluster:
    """Masters with a replica each; a master that comes back follows its old replica."""

    def __init__(self, folder: Path, stack: ExitStack, masters: int = MASTERS) -> None:
        """Starts the nodes, which `stack` kills; three masters at least.

        Raises:
            CommandFailed: they do not become a cluster.
        """
        self._masters = masters
        self.nodes = [
            RedisProcess(folder / str(i), port, *_NODE)
            for i, port in enumerate(_node_ports(2 * masters))
        ]
        for node in self.nodes:
            stack.callback(node.kill)
            node.start()
        places = [f"127.0.0.1:{node.port}" for node in self.nodes]
        done = subprocess.run(
            [
                "redis-cli",
                "--cluster",
                "create",
                *places,
                "--cluster-replicas",
                "1",
                "--cluster-yes",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CommandFailed(f"redis-cli --cluster create: {done.stdout[-500:]}{done.stderr}")
        self.wait_until_whole()

    @property
    def url(self) -> str:
        """Store URL with the first masters."""
        first = self.nodes[: self._masters]
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in first)

    def masters(self) -> list[RedisProcess]:
        """The nodes that are masters now."""
        return [node for node in self.nodes if _replication(node)["role"] == "master"]

    def wait_until_whole(self) -> None:
        """Until all slots are covered and every master has a replica with all of its data.

        Raises:
            CommandFailed: it takes too long.
        """
        wait_until(lambda: all(map(_covered, self.nodes)), "the cluster's slots")
        wait_until(
            lambda: sum(map(_has_followed_master, self.nodes)) == self._masters,
            "the cluster's replicas",
        )

    def wait_until_covered(self, without: RedisProcess) -> None:
        """Until the others serve all slots.

        Raises:
            CommandFailed: no replica takes over.
        """
        others = [node for node in self.nodes if node is not without]
        wait_until(lambda: all(map(_covered, others)), "a failover of the cluster")


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Waits for something of Redis.

    Raises:
        CommandFailed: it takes too long.
    """
    give_up = time.monotonic() + _ANSWERS_WITHIN_S
    while not holds():
        if time.monotonic() > give_up:
            raise CommandFailed(f"waited {_ANSWERS_WITHIN_S:g} s for {what}")
        time.sleep(0.02)


def _node_ports(count: int) -> list[int]:
    """Ports for `count` nodes that were free a moment ago, as were those of their buses."""
    shuffled = random.sample(_NODE_PORTS, len(_NODE_PORTS))
    free = (port for port in shuffled if _is_free(port) and _is_free(port + _BUS_PORT_ABOVE))
    return list(islice(free, count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _replication(node: RedisProcess) -> dict[str, Any]:
    with node.client() as client:
        found: dict[str, Any] = client.info("replication")
    return found


def _covered(node: RedisProcess) -> bool:
    with node.client() as client:
        try:
            state = client.execute_command("CLUSTER INFO")["cluster_state"]
        except redis.RedisError:
            return False
    return bool(state == "ok")


def _has_followed_master(node: RedisProcess) -> bool:
    """Whether it is a replica that has all that its master has."""
    state = _replication(node)
    if state["role"] != "slave" or state["master_link_status"] != "up":
        return False
    with redis.Redis(port=state["master_port"]) as master:
        of_master: dict[str, Any] = master.info("replication")
    return bool(of_master["master_repl_offset"] == state["slave_repl_offset"])
