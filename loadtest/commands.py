"""The project's commands and Redis, started as a user starts them, stopped again, and weighed.

Knows `winnow index`, `winnow serve` and `redis-server` by their command lines only.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest.client import Client, ServerGone

READY_WITHIN_S = 240.0
STOPS_WITHIN_S = 20.0
_ROWS = "winnow_row_cache_rows_total{"
_COUNTED_WITHIN_S = 2.5  # the service adds to its counters once a second


class CommandFailed(Exception):
    """A command ended with an error or did not come up; the text is the end of what it printed."""


@dataclass(frozen=True)
class Served:
    """A ready service; `info` is what its `GET /info` says."""

    url: str
    pid: int
    info: dict[str, dict[str, float]]

    def workers(self) -> list[int]:
        """Process ids of the workers: the command itself where there is only one."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        spawned = [
            int(child)
            for child in children
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]
        return spawned or [self.pid]

    def cached_rows(self) -> dict[str, float]:
        """Rows looked up in the row cache so far, by result."""
        time.sleep(_COUNTED_WITHIN_S)
        with Client(self.url) as client:
            lines = client.get("/metrics").body.decode().splitlines()
        found = {line.split('"')[1]: float(line.split()[-1]) for line in lines if _ROWS in line}
        return {"hit": found["hit"], "miss": found["miss"]}


def index(catalogue: Path, model: str, store: str, bundles: Path) -> float:
    """Seconds that `winnow index` took, from start to end.

    Raises:
        CommandFailed: it did not succeed.
    """
    with tempfile.TemporaryDirectory(prefix="winnow-load-") as folder:
        command = [
            *(_executable("winnow"), "index", str(catalogue), "--model", model),
            *("--store", store, "--bundles", str(bundles)),
            *("--reject-file", f"{folder}/rejects.jsonl"),  # else beside the catalogue
        ]
        started = time.perf_counter()
        done = subprocess.run(
            command, env=_environment({}), stderr=subprocess.PIPE, text=True, check=False
        )
        seconds = time.perf_counter() - started
    if done.returncode:
        raise CommandFailed(f"winnow index {catalogue}: {done.stderr[-2000:]}")
    return seconds


@contextmanager
def serve(
    store: str, model: str, bundles: Path, workers: int, settings: Mapping[str, str]
) -> Iterator[Served]:
    """A service on a free port, ready; `settings` are WINNOW_* variables without the prefix.

    Raises:
        CommandFailed: it stopped, or was not ready in time.
    """
    port = free_port()
    command = [
        *(_executable("winnow"), "serve", "--models", model, "--bundles", str(bundles)),
        *("--workers", str(workers), "--port", str(port)),
    ]
    # Not an argument: a store's URL may hold a password, and every user sees a command line.
    with _process(command, {**settings, "store": store}) as (process, log):
        url = f"http://127.0.0.1:{port}"
        _wait_until(process, log, lambda: _status(url, "/readyz") == 200)
        with Client(url) as client:
            info = json.loads(client.get("/info").body)
        yield Served(url, process.pid, info)


@contextmanager
def redis() -> Iterator[str]:
    """URL of a Redis of our own that keeps everything in memory.

    Raises:
        CommandFailed: it did not start.
    """
    port = free_port()
    command = [
        *(_executable("redis-server"), "--port", str(port), "--bind", "127.0.0.1"),
        *("--save", "", "--appendonly", "no"),
    ]
    with _process(command, {}) as (process, log):
        _wait_until(process, log, lambda: _listens(port))
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def on_cpus(cpus: Sequence[int]) -> Iterator[None]:
    """This process, and what it starts meanwhile and for good, runs on these CPUs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def memory_mb(pid: int) -> dict[str, float]:
    """Megabytes of a process: `pss` counts a shared page in shares, `uss` not at all.

    A page of a mapped file that no other process has touched yet counts as unique too; `anonymous`
    leaves out all pages of files, which the system can drop and share.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    kilobytes = {line.split(":")[0]: float(line.split()[1]) for line in lines}
    unique = sum(kilobytes[name] for name in ("Private_Clean", "Private_Dirty"))
    sizes = {"pss": kilobytes["Pss"], "uss": unique, "anonymous": kilobytes["Anonymous"]}
    return {name: round(size / 1024, 1) for name, size in sizes.items()}


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _executable(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise CommandFailed(f"expected {name} beside {sys.executable} or on PATH: install it")
    return found


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with exactly these WINNOW_ settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    return {**kept, **{f"WINNOW_{name.upper()}": value for name, value in settings.items()}}


@contextmanager
def _process(
    command: list[str], settings: Mapping[str, str]
) -> "Iterator[tuple[subprocess.Popen[bytes], Path]]":
    with tempfile.TemporaryDirectory(prefix="winnow-load-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=_environment(settings), stdout=output, stderr=output
            )
        try:
            yield process, log
        finally:
            process.terminate()
            try:
                process.wait(timeout=STOPS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until(process: "subprocess.Popen[bytes]", log: Path, holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < give_up and process.poll() is None:
        if holds():
            return
        time.sleep(0.05)
    raise CommandFailed(f"{process.args!r} did not come up: {log.read_text()[-2000:]}")


def _status(url: str, path: str) -> int:
    try:
        with Client(url) as client:
            return client.get(path).status
    except (ServerGone, OSError):
        return 0


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
