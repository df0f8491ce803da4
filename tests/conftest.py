"""A real Redis for every test that needs one; nothing here is particular to one package."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

START_ATTEMPTS = 5  # another process may take the free port before Redis does
ANSWER_WITHIN_S = 20


class RedisServer:
    """A redis-server of our own on a loopback port; it can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        executable = shutil.which("redis-server")
        if executable is None:
            pytest.fail(
                "these tests run against a real Redis: install redis-server and have it on PATH",
                pytrace=False,
            )
        self._executable = executable
        self._folder = folder
        self.socket = folder / "redis.sock"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start on a free port the first time, on the same port after a stop."""
        for _ in range(START_ATTEMPTS):
            port = self.port or _free_port()
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
                ],
                stdout=log,
                stderr=log,
            )
        give_up = time.monotonic() + ANSWER_WITHIN_S
        while self.process.poll() is None and time.monotonic() < give_up:
            with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
                try:
                    # Its pid proves that the answer is from this server and no other.
                    if client.info("server")["process_id"] == self.process.pid:
                        return True
                except redis.RedisError:
                    time.sleep(0.02)
        self.stop()
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
