"""Runs Winnow and today's servers in turn on the same rows and writes one report.

    python -m loadtest.peers --bundle MODEL_STORE/NAME/VERSION --redis redis://127.0.0.1:6379/0 \
        --queries FILE --out FOLDER

The catalogue must be indexed into that Redis. Writes results.json, table.md, p50.png (with
matplotlib) and each server's log into the folder, and prints the table.
"""

import argparse
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

from rich.console import Console

from loadtest.peers import environments, report
from loadtest.peers.bodies import BadAnswer
from loadtest.peers.job import Job, JobError, open_job
from loadtest.peers.measure import (
    Cell,
    NotMeasured,
    check_scores,
    cold_start_s,
    measure,
    measure_floor,
)
from loadtest.peers.plan import KINDS, Plan, make_plan
from loadtest.peers.processes import running
from loadtest.peers.report import FLOOR, Run
from loadtest.peers.roster import ONE_PROCESS, PEERS, Server, winnow
from loadtest.traffic import read_queries

CONNECTIONS = (1, 8)
# Winnow's own caches; the peers have none.
CACHES_OFF = "WINNOW_QUERY_CACHE_ENTRIES=0 WINNOW_ROW_CACHE_MB=0"
_console = Console(stderr=True)


def main() -> None:
    """Measures, reports; exit status 1 when the bundle or the store can't be used."""
    options = _options()
    try:
        job = open_job(options.bundle, options.redis)
        _check_current(options.bundle)
    except JobError as error:
        sys.exit(f"error: {error}")
    plan = make_plan(
        job.product_ids(),
        read_queries(options.queries),
        options.kinds,
        options.candidates,
        CONNECTIONS,
        options.requests,
        options.warm_up,
        options.passes,
        options.seed,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    heading = _heading(options, job)
    runs: list[Run] = []
    servers = _servers(options)
    for round_ in range(1, options.rounds + 1):
        _say(f"round {round_}: {FLOOR}")
        runs.append(_floor(job, plan, round_))
        for workers in options.workers:
            for server in servers:
                if workers == 1 or server.name not in ONE_PROCESS:
                    runs.append(_run(server, job, plan, options, workers, round_))
                    _write(options.out, heading, runs)
    if not report.plot(runs, options.out / "p50.png"):
        _say("no plot: matplotlib is not installed")
    results = _write(options.out, heading, runs)
    print(json.dumps(results, indent=2) if options.json else report.markdown(runs, heading))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.peers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--bundle", type=Path, required=True, help="a bundle's version folder")
    parser.add_argument("--redis", required=True, help="redis://HOST:PORT/DB[?ns=NAMESPACE]")
    parser.add_argument("--queries", type=Path, required=True, help="CSV with a column query")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    names = ", ".join(("winnow", "winnow-caches-off", *(peer.name for peer in PEERS)))
    parser.add_argument("--only", type=_names, default=[], help=f"some of: {names}")
    parser.add_argument("--candidates", type=_numbers, default=[100, 1000, 5000])
    parser.add_argument("--workers", type=_numbers, default=[1, 2])
    parser.add_argument("--requests", type=int, default=300, help="timed, per cell and round")
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=KINDS)
    parser.add_argument(
        "--passes", type=int, default=1, help="of the head queries; several with several workers"
    )
    parser.add_argument("--warm-up", type=int, default=200, help="before them, per cell and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--winnow", type=shlex.split, default=[], help="command in place of this one's winnow serve"
    )
    parser.add_argument(
        "--winnow-args", type=shlex.split, default=[], help="more arguments for winnow serve"
    )
    parser.add_argument(
        "--caches-off",
        type=_assignments,
        default=CACHES_OFF,
        help=f"variables of winnow-caches-off; {CACHES_OFF!r} by default",
    )
    parser.add_argument("--environments", type=Path, default=Path(".data/peers"))
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    options = parser.parse_args()
    options.bundle = options.bundle.resolve()
    return options


def _names(text: str) -> list[str]:
    known = {"winnow", "winnow-caches-off", *(peer.name for peer in PEERS)}
    given = text.split(",")
    if unknown := sorted(set(given) - known):
        raise argparse.ArgumentTypeError(
            f"expected some of {', '.join(sorted(known))}, got {unknown[0]!r}"
        )
    return given


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"expected numbers of 1 or more, got {text}")
    return numbers


def _assignments(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in shlex.split(text)]
    if not all(equals for _, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE ..., got {text!r}")
    return {name: value for name, _, value in pairs}


def _check_current(bundle: Path) -> None:
    """`winnow serve` takes the current version: it must be the one the peers load."""
    current = (bundle.parent / "current").read_text(encoding="utf-8").strip()
    if current != bundle.name:
        raise JobError(
            f"expected the current version of {bundle.parent.name}, which Winnow serves, got "
            f"{bundle.name} while {current} is current: give that folder or activate this one"
        )


def _servers(options: argparse.Namespace) -> list[Server]:
    own = winnow(tuple(options.winnow), options.bundle, options.redis, tuple(options.winnow_args))
    bare = replace(own, name="winnow-caches-off", environment=options.caches_off)
    return [one for one in (own, bare, *PEERS) if not options.only or one.name in options.only]


def _floor(job: Job, plan: Plan, round_: int) -> Run:
    cells = [measure_floor(job, phase) for phase in plan.phases if phase.connections == 1]
    return Run(FLOOR, 0, round_, cells=cells)


def _run(
    server: Server, job: Job, plan: Plan, options: argparse.Namespace, workers: int, round_: int
) -> Run:
    """One server, started, checked, measured and stopped."""
    run = Run(server.name, workers, round_)
    log = options.out / f"{server.name}-{workers}.log"
    _say(f"round {round_}: {server.name}, workers {workers}")
    try:
        folder = environments.executables(server.folder, options.environments)
        started = perf_counter()
        with running(server, folder, options.bundle, options.redis, workers, log) as one:
            run.cold_start_s = round(cold_start_s(server, one, plan.checked, started), 2)
            expected = job.scores(*plan.checked.decoded())
            run.score_difference = check_scores(server, one.url, plan.checked, expected)
            for phase in plan.phases:
                run.cells.append(measure(server, one.url, phase))
                _say(_line(run.cells[-1]))
            run.memory = one.memory()
    except (environments.NotInstallable, NotMeasured, BadAnswer, OSError) as error:
        run.skipped, run.cells = str(error), []
        _say(f"  not measured: {error}")
    return run


def _line(cell: Cell) -> str:
    failed = f", {cell.failures} FAILED: {cell.first_failure}" if cell.failures else ""
    return (
        f"  {cell.kind} {cell.candidates} x{cell.connections}: p50 {cell.p50_ms:.2f} ms, p99 "
        f"{cell.p99_ms:.2f} ms, {cell.requests_per_s:.0f}/s, client {cell.client_cpu_ms:.2f} ms"
        f"{failed}"
    )


def _heading(options: argparse.Namespace, job: Job) -> list[str]:
    versions = [f"{name} {version(name)}" for name in ("onnxruntime", "redis", "hiredis", "numpy")]
    peers = [environments.pinned(one) for one in dict.fromkeys(p.folder for p in PEERS) if one]
    server = job.store.info("server")
    assert isinstance(server, dict)
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, {_processor()}, {os.cpu_count()} cores, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"Redis {server['redis_version']} with {len(job.product_ids()):,} products on the machine.",
        "",
        f"Client: {', '.join(versions)}. Peers: {', '.join(peers)}.",
        "",
        f"Medians of {options.rounds} rounds (smallest-largest), {options.requests} requests each.",
        "",
        f"    python -m loadtest.peers {shlex.join(_without_paths(sys.argv[1:]))}",
    ]


def _processor() -> str:
    """The processor's name as Linux knows it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _without_paths(arguments: Sequence[str]) -> list[str]:
    """Absolute paths say nothing to a reader: their last parts stay."""
    return [
        str(Path(*Path(one).parts[-3:])) if Path(one).is_absolute() else one for one in arguments
    ]


def _write(out: Path, heading: Sequence[str], runs: Sequence[Run]) -> dict[str, object]:
    """After every server: what was measured is kept if the next one takes the machine down."""
    results: dict[str, object] = {"about": list(heading), "runs": [asdict(run) for run in runs]}
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (out / "table.md").write_text(report.markdown(runs, heading), encoding="utf-8")
    return results


def _say(text: str) -> None:
    _console.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
