r"""Versions activated and rolled back under load: no request fails, no answer mixes versions.

    python -m loadtest.activations [--times 1000]
    python -m loadtest.activations --url http://127.0.0.1:8000 --admin-url http://127.0.0.1:8001 \
        --admin-token-file token --model mine --versions 1 2 --catalogue products.csv \
        --queries queries.txt [--times 1000]

The first form starts a service of its own on the shop's rows. In the second one a service runs
already, with both versions published and their vector sets live. What each version
answers to a fixed list of requests is asked once while nothing changes; afterwards every answer has
to be, to the last bit, that of the version it names. Exits with 1 if one is not, or if one failed.
"""

import argparse
import itertools
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest.client import Client, ServerGone
from loadtest.commands import memory_mb
from loadtest.figures import quantiles
from loadtest.traffic import read_ids, read_queries
from loadtest.versions import SHOP, Admin, two_versions

_REQUESTS = 40
_CONSOLE = Console()
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the fixed list."""

    path: str
    body: bytes


@dataclass
class Load:
    """What the clients saw; appended to by one thread each, read after they have ended."""

    latencies_ms: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    by_version: dict[str, int] = field(default_factory=dict)


def fixed_requests(
    model: str, ids: Sequence[str], queries: Sequence[str], n: int, seed: int
) -> list[Request]:
    """Requests to both endpoints, over random candidates."""
    draw = random.Random(seed)
    requests = []
    for place in range(_REQUESTS):
        body: dict[str, object] = {
            "model": model,
            "query": queries[place % len(queries)],
            "product_ids": draw.sample(list(ids), min(n, len(ids))),
            "deadline_ms": 60_000,  # a stall shows in the latency, not as a partial answer
        }
        path = "/score"
        if place % 2:
            path, body = "/filter", {**body, "sort": ("default", "price", "sale")[place % 3]}
        requests.append(Request(path, json.dumps(body).encode()))
    return requests


def ask(client: Client, request: Request) -> Answer:
    """The answer without its timings.

    Raises:
        ServerGone: it is no 200, or not every candidate was scored.
    """
    got = client.post(request.path, request.body)
    if got.outcome != "ok":
        raise ServerGone(f"{got.status} {got.body[:300]!r}")
    answer: Answer = json.loads(got.body)
    del answer["timings_ms"]
    return answer


def run_clients(
    url: str,
    requests: list[Request],
    expected: dict[str, list[Answer]],
    connections: int,
    work: Callable[[], None],
) -> Load:
    """Steady load from so many connections while `work` runs."""
    ended = threading.Event()
    loads = [Load() for _ in range(connections)]

    def clients(load: Load, first: int) -> None:
        with Client(url) as client:
            for place in itertools.count(first):
                if ended.is_set():
                    return
                _check(client, place % len(requests), requests, expected, load)

    threads = [
        threading.Thread(target=clients, args=(load, place * 7)) for place, load in enumerate(loads)
    ]
    for thread in threads:
        thread.start()
    try:
        work()
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    return _sum(loads)


def _check(
    client: Client,
    place: int,
    requests: list[Request],
    expected: dict[str, list[Answer]],
    load: Load,
) -> None:
    started = time.perf_counter()
    try:
        answer = ask(client, requests[place])
    except (ServerGone, OSError) as error:
        load.failed.append(str(error))
        return
    load.latencies_ms.append((time.perf_counter() - started) * 1e3)
    version = answer["version"]
    load.by_version[version] = load.by_version.get(version, 0) + 1
    if version not in expected or answer != expected[version][place]:
        load.mixed.append(f"{requests[place].path} {place}: {json.dumps(answer)[:300]}")


def _sum(loads: list[Load]) -> Load:
    total = Load()
    for load in loads:
        total.latencies_ms += load.latencies_ms
        total.failed += load.failed
        total.mixed += load.mixed
        for version, count in load.by_version.items():
            total.by_version[version] = total.by_version.get(version, 0) + count
    return total


def change_often(admin: Admin, versions: Sequence[str], times: int, took_s: list[float]) -> None:
    """Activations and rollbacks in turn: every second change goes back."""
    for turn in range(times):
        started = time.perf_counter()
        if turn % 2:
            admin.rollback()
        else:
            admin.activate(versions[1])
        took_s.append(time.perf_counter() - started)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; the exit code."""
    options = _options(arguments)
    if options.url is None:
        with two_versions(options.model, options.workers) as service:
            options.url, options.versions = service.served.url, service.versions
            return _compare(options, service.admin)
    token = options.admin_token_file.read_text(encoding="ascii").strip()
    with closing(Admin(options.admin_url, token, options.model)) as admin:
        return _compare(options, admin)


def _compare(options: argparse.Namespace, admin: Admin) -> int:
    requests = fixed_requests(
        options.model,
        read_ids(options.catalogue),
        read_queries(options.queries),
        options.candidates,
        options.seed,
    )
    expected: dict[str, list[Answer]] = {}
    for version in reversed(options.versions):
        admin.activate(version)
        with Client(options.url) as client:
            expected[version] = [ask(client, request) for request in requests]
    if expected[options.versions[0]] == expected[options.versions[1]]:
        _CONSOLE.print("both versions answer the same: a mixed answer could not be told")
        return 1
    pids = [worker["pid"] for worker in admin.state()["workers"]]
    before_mb = _memory(pids)
    load = options.connections

    def rest() -> None:
        time.sleep(options.rest_seconds)

    still = run_clients(options.url, requests, expected, load, rest)
    took_s: list[float] = []

    def change() -> None:
        change_often(admin, options.versions, options.times, took_s)

    changing = run_clients(options.url, requests, expected, load, change)
    _show(still, changing, took_s, (before_mb, _memory(pids)))
    wrong = [*still.failed, *changing.failed, *still.mixed, *changing.mixed]
    for line in wrong[:5]:
        _CONSOLE.print(line, markup=False)
    return 1 if wrong or len(took_s) < options.times else 0


def _memory(pids: list[int]) -> float | None:
    """Anonymous megabytes of all workers; None where they are on another machine."""
    try:
        return sum(memory_mb(pid)["anonymous"] for pid in pids)
    except OSError:
        return None


def _show(
    still: Load,
    changing: Load,
    took_s: list[float],
    memory: tuple[float | None, float | None],
) -> None:
    table = Table("", "unchanged", f"{len(took_s)} changes")
    figures: list[tuple[str, Callable[[Load], str]]] = [
        ("requests", lambda load: f"{len(load.latencies_ms):,}"),
        ("failed", lambda load: str(len(load.failed))),
        ("mixed", lambda load: str(len(load.mixed))),
        ("by version", lambda load: str(dict(sorted(load.by_version.items())))),
        ("p50, p99 (ms)", lambda load: _p50_p99(load.latencies_ms)),
    ]
    for name, figure in figures:
        table.add_row(name, figure(still), figure(changing))
    table.add_row("workers' memory (MB)", *("" if mb is None else f"{mb:.0f}" for mb in memory))
    table.add_row("one change, p50, p99 (s)", "", _p50_p99(took_s))
    _CONSOLE.print(table)


def _p50_p99(values: list[float]) -> str:
    found = quantiles(values, (50, 99))
    return f"{found['p50']:.2f}, {found['p99']:.2f}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="of a service that runs; else one is started")
    parser.add_argument("--admin-url")
    parser.add_argument("--admin-token-file", type=Path)
    parser.add_argument("--model", default="shop-reprbert")
    parser.add_argument("--versions", nargs=2)
    parser.add_argument("--workers", type=int, default=2, help="of the service that is started")
    parser.add_argument(
        "--catalogue", type=Path, default=SHOP / "products.csv", help="CSV with product_id"
    )
    parser.add_argument("--queries", type=Path, default=SHOP / "queries.csv")
    parser.add_argument("--times", type=int, default=1000, help="changes")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--rest-seconds", type=float, default=5.0, help="of load before them")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    needed = options.admin_url, options.admin_token_file, options.versions
    if options.url is not None and None in needed:
        parser.error("--url needs --admin-url, --admin-token-file and --versions of that service")
    return options


if __name__ == "__main__":
    sys.exit(main())
