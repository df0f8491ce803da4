r"""Mixed load for half an hour while versions change: does memory creep, does the tail?

    python -m loadtest.soak [--minutes 30] [--rate 50] [--every-seconds 10] [--out .data/soak]

Starts a service of its own on the shop's rows, with two versions of one student that differ in
their thresholds, and every few seconds activates the second one or rolls it back, in all workers.
Requests arrive at a fixed rate and are timed from when they were due.

A machine that others share may be slower by a tenth half an hour later. So at the end a second,
fresh service is started, and both are asked in turns, a few seconds each, for as long as a third of
the soak: what the old one is slower by then is its own doing.

Exit code 1: an answer failed or was degraded, a change was refused, memory grew by more than a
tenth, or the tail did: p99 of the last sixth above that of the first, and of the old service above
that of the fresh one.
"""

import argparse
import gc
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from loadtest.client import Client, ServerGone
from loadtest.commands import Served, memory_mb
from loadtest.figures import markdown_table, quantiles, short
from loadtest.open_loop import Run, Sent, due_times
from loadtest.traffic import Request, Traffic, read_ids, read_queries
from loadtest.versions import SHOP, TwoVersions, two_versions

MOST_TAIL, MOST_MEMORY = 1.10, 1.10  # last over first
_DISTINCT = 3_000  # requests, sent again and again
_CONSOLE = Console(stderr=True)


@dataclass
class Watched:
    """What was seen beside the answers: memory over time, and changes of version."""

    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds, MB of all processes
    change_s: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Soaked:
    """Figures of a run; first and last are its first and last sixth."""

    minutes: float
    rate: float
    requests: int
    failed: int
    degraded: int
    shed: int
    unsent: int
    changes: int
    refused: int
    p99_first_ms: float
    p99_last_ms: float
    p99_sixths_ms: list[float]
    p99_old_ms: float  # in turns with the fresh one
    p99_fresh_ms: float
    memory_first_mb: float
    memory_last_mb: float
    memory_sixths_mb: list[float]  # medians
    memory_slope_mb_per_hour: float  # after the first sixth, in which caches fill
    memory_slope_error: float  # standard error of the slope

    @property
    def problems(self) -> list[str]:
        """Why the run failed; none where it held."""
        counts = {
            "failed": self.failed,
            "degraded": self.degraded,
            "unsent": self.unsent,
            "changes refused": self.refused,
        }
        wrong = [f"{count} {what}" for what, count in counts.items() if count]
        slower = self.p99_last_ms > MOST_TAIL * self.p99_first_ms
        if slower and self.p99_old_ms > MOST_TAIL * self.p99_fresh_ms:
            wrong.append(
                f"p99 {self.p99_first_ms} ms at first, {self.p99_last_ms} ms at last; then "
                f"{self.p99_old_ms} ms beside {self.p99_fresh_ms} ms of a fresh service"
            )
        if self.memory_last_mb > MOST_MEMORY * self.memory_first_mb:
            wrong.append(f"memory {self.memory_first_mb} MB, then {self.memory_last_mb} MB")
        return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; the exit code."""
    options = _options(arguments)
    seconds = options.minutes * 60
    with (
        two_versions(options.model, options.workers) as service,
        _without_collections(),
    ):
        _warm_up(service.served, options)
        run = _run(service.served, options, seconds, options.seed)
        watched = _drive(run, service, options, seconds)
        with two_versions(options.model, options.workers) as fresh:
            turns = _in_turns((service, fresh), options, seconds / 3)
    found = _figures(run, watched, turns, options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "soak.json").write_text(json.dumps(asdict(found), indent=2) + "\n")
    if find_spec("matplotlib"):
        _plot(run, watched, options.out / "soak.png")
    print(_table(found))
    for line in (*watched.refused[:3], run.first_error):
        if line:
            _CONSOLE.print(line, markup=False)
    if found.problems:
        _CONSOLE.print(f"missed: {'; '.join(found.problems)}", markup=False)
    return 1 if found.problems else 0


@contextmanager
def _without_collections() -> Iterator[None]:
    """This client keeps every latency, so its garbage collections would take longer and longer."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _traffic(options: argparse.Namespace) -> tuple[list[Request], list[Request]]:
    """What fills the caches, and a list of distinct requests that is sent again and again."""
    ids, queries = read_ids(SHOP / "products.csv"), read_queries(SHOP / "queries.csv")
    traffic = Traffic(ids, queries, options.seed)
    requests = traffic.requests(_DISTINCT, options.candidates, "zipf")
    return traffic.warm_up(), requests


def _warm_up(served: Served, options: argparse.Namespace) -> None:
    warm_up, requests = _traffic(options)
    with Client(served.url) as client:
        started = time.monotonic()
        for request in cycle([*warm_up, *requests]):
            client.post(request.path, request.body)
            if time.monotonic() - started > options.warm_up_seconds:
                break


def _run(served: Served, options: argparse.Namespace, seconds: float, seed: int) -> Run:
    """The schedule."""
    due_s = due_times(options.rate, seconds, "poisson", seed)
    return Run(served.url, list(islice(cycle(_traffic(options)[1]), len(due_s))), due_s)


def _drive(run: Run, service: TwoVersions, options: argparse.Namespace, seconds: float) -> Watched:
    watched, ended = Watched(), threading.Event()
    admin, other, served = service.admin, service.versions[1], service.served

    def change() -> None:
        """Back and forth, until the load has ended."""
        for turn in range(10**9):
            if ended.wait(options.every_seconds):
                return
            began = time.perf_counter()
            try:
                admin.rollback() if turn % 2 else admin.activate(other)
            except ServerGone as error:
                watched.refused.append(str(error))
            watched.change_s.append(time.perf_counter() - began)

    changing = threading.Thread(target=change)
    with Progress(console=_CONSOLE) as progress:
        bar = progress.add_task("soaking", total=seconds)

        def on_second(_: Run, elapsed_s: float) -> None:
            progress.update(bar, completed=elapsed_s)
            mb = sum(memory_mb(pid)["anonymous"] for pid in {served.pid, *served.workers()})
            watched.memory.append((elapsed_s, mb))

        changing.start()
        try:
            run.drive(options.connections, on_second)
        finally:
            ended.set()
            changing.join()
    return watched


def _in_turns(
    services: tuple[TwoVersions, TwoVersions], options: argparse.Namespace, seconds: float
) -> tuple[list[Sent], list[Sent]]:
    """What came of the load on each, `every_seconds` at a time, with a change in each turn."""
    for each in services:
        each.admin.activate(each.versions[0])
        _warm_up(each.served, options)
    sent: tuple[list[Sent], list[Sent]] = ([], [])
    rounds = max(1, round(seconds / (2 * options.every_seconds)))
    with Progress(console=_CONSOLE) as progress:
        for turn in progress.track(range(rounds), description="beside a fresh one"):
            for each, its in zip(services, sent, strict=True):
                run = _run(each.served, options, options.every_seconds, options.seed + turn)
                each.admin.rollback() if turn % 2 else each.admin.activate(each.versions[1])
                run.drive(options.connections, lambda *_: None)
                its.extend(run.sent)
    return sent


def _figures(
    run: Run,
    watched: Watched,
    turns: tuple[list[Sent], list[Sent]],
    options: argparse.Namespace,
) -> Soaked:
    outcomes = Counter(sent.outcome for sent in (*run.sent, *turns[0], *turns[1]))
    sixth = options.minutes * 60 / 6
    at, mb = np.array(watched.memory).T
    grown = at >= sixth
    (slope, _), covariance = np.polyfit(at[grown] / 3600, mb[grown], 1, cov=True)
    sixths = [_p99(run.sent, each * sixth, (each + 1) * sixth) for each in range(6)]
    # The last reading may come a moment after the end.
    of_sixth = np.minimum(at // sixth, 5)
    memory = [round(float(np.median(mb[of_sixth == each])), 1) for each in range(6)]
    old, fresh = (_p99(sent, 0, float("inf")) for sent in turns)
    return Soaked(
        minutes=options.minutes,
        rate=options.rate,
        requests=len(run.sent),
        failed=outcomes["failed"],
        degraded=outcomes["degraded"],
        shed=outcomes["shed"],
        unsent=int(options.rate * options.minutes * 60) - len(run.sent),
        changes=len(watched.change_s),
        refused=len(watched.refused),
        p99_first_ms=sixths[0],
        p99_last_ms=sixths[-1],
        p99_sixths_ms=sixths,
        p99_old_ms=old,
        p99_fresh_ms=fresh,
        memory_first_mb=memory[0],
        memory_last_mb=memory[-1],
        memory_sixths_mb=memory,
        memory_slope_mb_per_hour=round(float(slope), 2),
        memory_slope_error=round(float(covariance[0, 0] ** 0.5), 2),
    )


def _p99(sent: Sequence[Sent], first_s: float, last_s: float) -> float:
    return quantiles([each.latency_ms for each in sent if first_s <= each.due_s < last_s])["p99"]


def _table(found: Soaked) -> str:
    slope = f"{short(found.memory_slope_mb_per_hour)} ± {short(found.memory_slope_error)}"
    return markdown_table(
        ("", "first sixth", "last sixth"),
        [
            ("p99 (ms)", found.p99_first_ms, found.p99_last_ms),
            (
                "p99 of the sixths between (ms)",
                "",
                ", ".join(map(short, found.p99_sixths_ms[1:-1])),
            ),
            (
                "p99 of the old service, and of a fresh one in turns with it (ms)",
                found.p99_old_ms,
                found.p99_fresh_ms,
            ),
            ("memory (MB, all processes)", found.memory_first_mb, found.memory_last_mb),
            (
                "memory of the sixths between (MB)",
                "",
                ", ".join(map(short, found.memory_sixths_mb[1:-1])),
            ),
            ("slope of memory after the first sixth (MB an hour)", "", slope),
            ("requests; failed, degraded, shed", found.requests, _counts(found)),
            ("changes of version; refused", found.changes, found.refused),
        ],
    )


def _counts(found: Soaked) -> str:
    return f"{found.failed}, {found.degraded}, {found.shed}"


def _plot(run: Run, watched: Watched, path: Path) -> None:
    from loadtest.plots import over_time  # noqa: PLC0415 - matplotlib is optional

    latencies = [(sent.due_s / 60, sent.latency_ms) for sent in run.sent]
    memory = [(at / 60, mb) for at, mb in watched.memory]
    over_time(path, latencies, memory)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    parser.add_argument("--every-seconds", type=float, default=10.0, help="between two changes")
    # Before the clock: caches fill, allocators find their size.
    parser.add_argument("--warm-up-seconds", type=float, default=30.0)
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="shop-reprbert")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(".data") / "soak")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
