"""A master, its replica and three Sentinels of our own, to be failed over."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.conftest import RedisServer, free_port

SERVICE = "shop"
FAILS_OVER_WITHIN_S = 180
DOWN_AFTER_MS = 3000


class Sentinels:
    """They agree by two of three that the master is down."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.ports: list[int] = []
        self.servers: list[RedisServer] = []

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"redis+sentinel://{places}/{SERVICE}/0"

    @property
    def master(self) -> RedisServer:
        """The server that they name now."""
        port = self._ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1]
        return next(server for server in self.servers if server.port == int(port))

    def start(self) -> None:
        for name in ("first", "second"):
            (self._folder / name).mkdir()
            self.servers.append(RedisServer(self._folder / name))
            self.servers[-1].start()
        master, replica = self.servers
        with redis.Redis(port=replica.port) as client:
            client.replicaof("127.0.0.1", str(master.port))
            wait_for(lambda: client.info("replication")["master_link_status"] == "up")
        for number in range(3):
            self._start_sentinel(number, master.port)
        wait_for(lambda: self._state("num-other-sentinels") == 2 and self._state("num-slaves") == 1)

    def stop_sentinels(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def stop(self) -> None:
        self.stop_sentinels()
        for server in self.servers:
            server.stop()

    def fail_over(self) -> None:
        """Kill the master and wait until its replica has taken over."""
        lost = self.master
        lost.stop()
        wait_for(lambda: self.master is not lost)
        with redis.Redis(port=self.master.port) as client:
            wait_for(lambda: client.info("replication")["role"] == "master")

    def _start_sentinel(self, number: int, master_port: int) -> None:
        port = free_port()
        settings = self._folder / f"sentinel-{number}.conf"
        settings.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self._folder}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {master_port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 20000\n"
        )
        executable = shutil.which("redis-server")
        assert executable is not None
        with (self._folder / f"sentinel-{number}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen([executable, settings, "--sentinel"], stdout=log, stderr=log)
            )
        self.ports.append(port)
        with _client(port) as client:
            wait_for(client.ping)

    def _state(self, name: str) -> int:
        """One figure of what the first Sentinel knows of the master."""
        with _client(self.ports[0]) as client:
            state: dict[str, int] = client.sentinel_master(SERVICE)
        return state[name]

    def _ask(self, *command: str) -> list[bytes]:
        with _client(self.ports[0]) as client:
            answer: list[bytes] = client.execute_command(*command)
        return answer


def wait_for(condition: Callable[[], object]) -> None:
    """Until it holds; a server that is not there yet does not."""
    give_up = time.monotonic() + FAILS_OVER_WITHIN_S
    while True:
        try:
            if condition():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < give_up, "the Sentinels have not come to rest"
        time.sleep(0.05)


def _client(port: int) -> redis.Redis:
    return redis.Redis(port=port, retry=Retry(NoBackoff(), 0))
