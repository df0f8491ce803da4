r"""What breaks in earnest, broken many times: what callers saw of it, as a table.

    python -m loadtest.chaos --out FOLDER [--only redis|cluster|index|sigterm] [--times 20]

Starts `winnow index`, `winnow serve` and `redis-server` itself, on the example shop and a made
catalogue. Writes chaos.json and chaos.md; exits with 1 where a promise was not held: an answer that
was wrong, a request that failed, a row that was lost, a service that did not recover. `--minutes`
bounds each fault: the table says how often it was repeated within them.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console

from loadtest import catalogue
from loadtest.chaos_indexing import indexing_killed
from loadtest.chaos_serving import Result, Shop, ended_under_load, master_killed, redis_killed
from loadtest.figures import markdown_table, short

_CONSOLE = Console(stderr=True)
_ROOT = Path(__file__).parents[1]
_SHOP = _ROOT / "examples" / "shop"
_COLUMNS = (
    *("fault", "times", "right", "marked", "wrong", "failed"),
    *("back to right answers (s): median", "longest"),
)

Run = Callable[[Shop, Path, int], Result]
_RUNS: dict[str, Run] = {
    "redis": redis_killed,
    "cluster": master_killed,
    "index": indexing_killed,
    "sigterm": ended_under_load,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; the exit code."""
    options = _options(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    about = _about(sys.argv[1:] if arguments is None else arguments)
    results: list[Result] = []
    for name in options.only or _RUNS:
        results.append(_run(name, options))
        table = _written(results, about, options.out)  # a run that is cut short leaves what it has
    print(table)
    for result in results:
        for note in result.notes:
            print(f"{result.fault}: {note}")
    return 0 if all(result.held for result in results) else 1


def _written(results: Sequence[Result], about: str, folder: Path) -> str:
    """Writes both files; the Markdown."""
    found = {"about": about, "results": [result.as_json() for result in results]}
    (folder / "chaos.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    table = markdown_table(_COLUMNS, [_row(result) for result in results]) + f"\n\n{about}\n"
    (folder / "chaos.md").write_text(table, encoding="utf-8")
    return table


def _run(name: str, options: argparse.Namespace) -> Result:
    times = {"index": options.kills, "cluster": max(1, options.times // 4)}.get(name, options.times)
    with tempfile.TemporaryDirectory(prefix="winnow-chaos-") as folder:
        work = Path(folder)
        shop = Shop(
            options.model,
            options.bundles,
            _SHOP / "products.csv",
            _SHOP / "queries.csv",
            options.workers,
            options.connections,
            options.candidates,
            options.seed,
            options.minutes * 60,
        )
        if name == "index":  # long enough to be killed at many moments
            made = work / "products.csv"
            catalogue.write_catalogue(made, options.products, options.seed)
            shop = shop.over(made)
        started_s = time.monotonic()
        result = _RUNS[name](shop, work, times)
    _CONSOLE.print(f"{result.fault}, {result.times} times: {time.monotonic() - started_s:.0f} s")
    return result


def _row(result: Result) -> list[str]:
    back = result.recovery_s
    return [
        *(result.fault, str(result.times), f"{result.right:,}", f"{result.marked:,}"),
        *(str(result.wrong), str(result.failed)),
        *(("-", "-") if not back else (short(median(back)), short(max(back)))),
    ]


def _about(arguments: Sequence[str]) -> str:
    shown = [Path(each).name if each.startswith("/") else each for each in arguments]
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"`python -m loadtest.chaos {shlex.join(shown)}`, {today}, "
        f"{_processor()}, {os.cpu_count()} cores with a load of {os.getloadavg()[1]:.1f}, "
        f"Python {platform.python_version()}"
    )


def _processor() -> str:
    """The processor's name as Linux knows it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--only", choices=tuple(_RUNS), action="append", help="may be given again")
    parser.add_argument("--times", type=int, default=20, help="of each fault; a quarter of masters")
    parser.add_argument("--kills", type=int, default=50, help="of the indexer")
    parser.add_argument("--minutes", type=float, default=15, help="of each fault, at most")
    parser.add_argument("--model", default="shop-deepdot", help="cheap to run: the faults count")
    parser.add_argument("--bundles", type=Path, default=_ROOT / "model_store" / "bundles")
    parser.add_argument("--products", type=int, default=5_000, help="of the indexer's catalogue")
    parser.add_argument("--workers", type=int, default=1, help="of each service")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--candidates", type=int, default=100, help="of one request")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    # Stopped by `timeout`, it still ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
