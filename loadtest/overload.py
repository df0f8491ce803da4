r"""Twice the load that a service can take, for a minute: what becomes of it, and what comes after.

    python -m loadtest.overload [--seconds 60] [--workers 1] [--out .data/overload]

Starts a service of its own on the shop's rows, and finds its peak: the most requests per second
that it answers whole and in time, in steps of a rising rate. Then half of that rate, twice of it
for `--seconds`, and half again, each request sent when it is due, whatever became of the others.
Where there are two CPUs or more, this process keeps to one, and the service to the others.
Exit code 1 where a promise of `overload_report` was not held.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from loadtest.client import Client
from loadtest.closed_loop import measure
from loadtest.commands import Served, index, memory_mb, on_cpus, serve
from loadtest.open_loop import Run, due_times
from loadtest.overload_report import Overload, Phase, Step, good_per_second, plot, summary, table
from loadtest.traffic import Request, Traffic, read_ids, read_queries

_ROOT = Path(__file__).parents[1]
_SHOP = _ROOT / "examples" / "shop"
_STEPS: Final = (0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5)  # of what a closed loop gets
_DISTINCT: Final = 2_000  # requests, sent again and again
_CONSOLE = Console(stderr=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; the exit code."""
    options = _options(arguments)
    load_before = os.getloadavg()[0]
    with _service(options) as served:
        requests = _warm_up(served, options)
        steps = _steps(served, requests, options)
        peak = max(step.good_per_second for step in steps)
        found = _overload(served, requests, peak, options)
    result = summary(found, steps, options.deadline_ms, load_before)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "overload.json").write_text(json.dumps(asdict(result), indent=1) + "\n")
    (options.out / "overload.md").write_text(table(result))
    if find_spec("matplotlib"):
        plot(found, options.deadline_ms, options.out / "overload.png")
    print(table(result))
    if result.broken:
        first = f" First error: {result.first_error}" if result.first_error else ""
        _CONSOLE.print(f"not held: {'; '.join(result.broken)}.{first}", markup=False)
    return 1 if result.broken else 0


@contextmanager
def _service(options: argparse.Namespace) -> Iterator[Served]:
    """A ready service on CPUs of its own; this process keeps to what is left."""
    cpus = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="winnow-overload-") as folder:
        store = f"lmdb:{folder}/rows"
        index(_SHOP / "products.csv", options.model, store, options.bundles)
        settings = {
            "deadline_ms": str(options.deadline_ms),
            "max_candidates": str(min(10_000, options.inflight)),
            "max_inflight_candidates": str(options.inflight),
            "query_cache_entries": str(_DISTINCT // 4),  # or every query was seen after a while
        }
        with ExitStack() as stack:
            with on_cpus(cpus[:-1] or cpus):
                served = stack.enter_context(
                    serve(store, options.model, options.bundles, options.workers, settings)
                )
            stack.enter_context(on_cpus(cpus[-1:]))
            yield served


def _warm_up(served: Served, options: argparse.Namespace) -> list[Request]:
    """The requests of the run; the caches are filled with what they ask for."""
    ids, queries = read_ids(_SHOP / "products.csv"), read_queries(_SHOP / "queries.csv")
    traffic = Traffic(ids, queries, options.seed)
    requests = traffic.requests(_DISTINCT, options.candidates)
    with Client(served.url) as client:
        for request in [*traffic.warm_up(), *requests[:200]]:
            client.post(request.path, request.body)
    gc.collect()
    gc.freeze()  # a collection that walks the prepared requests would delay sending
    return requests


def _steps(served: Served, requests: Sequence[Request], options: argparse.Namespace) -> list[Step]:
    """Goodput at rising rates, well beyond what a closed loop gets."""
    # Twice: the first time the service is still finding its memory.
    closed = [measure(served.url, requests[:1000], 8).per_second for _ in range(2)][-1]
    seconds = options.step_seconds
    steps: list[Step] = []
    for share in _STEPS:
        rate = share * closed
        due_s = due_times(rate, seconds, "poisson", options.seed)
        run = _driven(served, requests, due_s, options, [])
        good = good_per_second(run.sent, options.deadline_ms, Phase("step", rate, 0.0, seconds))
        steps.append(Step(rate, good))
        _CONSOLE.print(f"{rate:6.0f} requests/s: {good:6.0f} good", highlight=False)
    return steps


def _overload(
    served: Served, requests: Sequence[Request], peak: float, options: argparse.Namespace
) -> Overload:
    """Half the peak, twice of it, half of it."""
    phases, begins_s = [], 0.0
    for name, share, seconds in (
        ("before", 0.5, options.around_seconds),
        ("overload", 2.0, options.seconds),
        ("after", 0.5, options.around_seconds),
    ):
        phases.append(Phase(name, share * peak, begins_s, begins_s + seconds))
        begins_s += seconds
    due_s = np.concatenate(
        [
            phase.begins_s + due_times(phase.rate, phase.seconds, "poisson", options.seed + i)
            for i, phase in enumerate(phases)
        ]
    )
    memory: list[tuple[float, float]] = []
    _CONSOLE.print(f"{options.seconds:g} s of {2 * peak:.0f} requests/s, half the peak around them")
    run = _driven(served, requests, np.sort(due_s), options, memory)
    return Overload(phases, len(due_s), run.sent, memory, run.first_error)


def _driven(
    served: Served,
    requests: Sequence[Request],
    due_s: NDArray[np.float64],
    options: argparse.Namespace,
    memory: list[tuple[float, float]],
) -> Run:
    """A run that is over; adds MB of all processes of the service to `memory`, every second."""

    def on_second(_: Run, elapsed_s: float) -> None:
        mb = sum(memory_mb(pid)["anonymous"] for pid in {served.pid, *served.workers()})
        memory.append((elapsed_s, mb))

    run = Run(served.url, list(islice(cycle(requests), len(due_s))), due_s)
    run.drive(options.connections, on_second)
    return run


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of twice the load")
    parser.add_argument("--around-seconds", type=float, help="before and after; a third by default")
    parser.add_argument("--step-seconds", type=float, help="of each rate; a twelfth by default")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--candidates", type=int, default=1_000)
    parser.add_argument("--inflight", type=int, default=40_000, help="candidates, per worker")
    parser.add_argument("--deadline-ms", type=int, default=500)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--model", default="shop-reprbert")
    parser.add_argument("--bundles", type=Path, default=_ROOT / "model_store" / "bundles")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(".data") / "overload")
    options = parser.parse_args(arguments)
    options.around_seconds = options.around_seconds or max(4.0, options.seconds / 3)
    options.step_seconds = options.step_seconds or max(1.0, options.seconds / 12)
    return options


if __name__ == "__main__":
    sys.exit(main())
