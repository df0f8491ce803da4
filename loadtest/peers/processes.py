"""Starting and stopping one server with everything it starts, and the memory of all of it.

A server's processes are found by a mark in their environment, which children inherit: some servers
start daemons of their own that leave the process group and the parent.
"""

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest.peers.roster import NO_TELEMETRY, Server

ROOT = Path(__file__).parents[2]
MARK = "PEERS_RUN"
STOPS_WITHIN_S = 20


class NotStopped(Exception):
    """A server is still there after it was killed, or its port is still taken."""


@dataclass(frozen=True)
class Memory:
    """Megabytes of all processes: `pss_mb` counts a shared page once, `uss_mb` not at all."""

    pss_mb: float
    uss_mb: float
    processes: int


@dataclass(frozen=True)
class Running:
    """A started server; it may not answer yet."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path
    mark: str

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> Memory:
        """Memory of the server and everything it started, now."""
        kilobytes = [_rollup(pid) for pid in marked(self.mark)]
        pss, uss = (sum(one[name] for one in kilobytes) / 1024 for name in ("pss", "uss"))
        return Memory(round(pss, 1), round(uss, 1), len(kilobytes))

    def last_words(self) -> str:
        """The end of what it printed, one line."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "no output")


@contextmanager
def running(
    server: Server, executables: Path, bundle: Path, redis_url: str, workers: int, log: Path
) -> Iterator[Running]:
    """A server in a process group of its own; stopped at the end, with its port free again.

    Raises:
        NotStopped: something of it is left.
    """
    port, *spare = free_ports(3)
    filled = {"port": port, "workers": workers, "spare": spare}
    mark = uuid.uuid4().hex
    command = [part.format(**filled) for part in server.command]
    if "/" not in command[0]:
        command[0] = str(executables / command[0])
    environment = {
        **os.environ,
        **NO_TELEMETRY,
        **{name: value.format(**filled) for name, value in server.environment.items()},
        "PYTHONPATH": str(ROOT),
        "PEER_BUNDLE": str(bundle),
        "PEER_REDIS": redis_url,
        "PEER_PORT": str(port),
        "PEER_SPARE_PORTS": ",".join(map(str, spare)),
        "PEER_WORKERS": str(workers),
        MARK: mark,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Running(process, port, log, mark)
    finally:
        _stop(process, mark)
        _wait_until_free(port)


def marked(mark: str) -> list[int]:
    """Process ids that carry a mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # gone, or somebody else's
            continue
    return found


def free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago."""
    with _all_bound(count) as sockets:
        return [int(one.getsockname()[1]) for one in sockets]


@contextmanager
def _all_bound(count: int) -> Iterator[list[socket.socket]]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        yield sockets
    finally:
        for one in sockets:
            one.close()


def _stop(process: "subprocess.Popen[bytes]", mark: str) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    give_up = time.monotonic() + STOPS_WITHIN_S
    while time.monotonic() < give_up:
        process.poll()  # reaps it
        if not marked(mark):
            break
        time.sleep(0.1)
    for pid in marked(mark):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait(timeout=STOPS_WITHIN_S)
    if left := marked(mark):
        raise NotStopped(f"expected no process of {process.args!r} to be left, found {left}")


def _wait_until_free(port: int) -> None:
    give_up = time.monotonic() + STOPS_WITHIN_S
    while time.monotonic() < give_up:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.1)
    raise NotStopped(f"port {port} is still answered after its server was stopped")


def _rollup(pid: int) -> dict[str, float]:
    """Kilobytes of one process; zero if it has just ended."""
    sizes = {"pss": 0.0, "uss": 0.0}
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return sizes
    for line in lines:
        name, _, value = line.partition(":")
        if name == "Pss":
            sizes["pss"] = float(value.split()[0])
        elif name in {"Private_Clean", "Private_Dirty", "Private_Hugetlb"}:
            sizes["uss"] += float(value.split()[0])
    return sizes
