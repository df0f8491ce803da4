"""How cost grows: with the candidates of a request, the catalogue, the row cache, workers, threads.

    python -m loadtest.growth --out FOLDER [--only candidates|catalogue|caches|workers|threads]

Starts `winnow index`, `winnow serve` and `redis-server` itself; writes growth.json, growth.md and
growth.png (with matplotlib). Figures are medians over the rounds, with the least and the greatest.
A run with an answer that was not fully scored ends in an error.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from loadtest.closed_loop import Measured, measure
from loadtest.commands import Served, index, memory_mb, redis, serve
from loadtest.figures import quantiles
from loadtest.growth_plan import CANDIDATES, CONNECTIONS, THREADS, N, Plan, read_options
from loadtest.growth_report import Row, markdown, plot
from loadtest.traffic import Request, Traffic

_CONSOLE = Console(stderr=True)


def candidates(plan: Plan) -> list[Row]:
    """Cost per candidate over the length of the list: one connection, one worker, rows in Redis,
    caches warm, for every request was sent before.
    """
    file, traffic = plan.traffic(plan.products)
    sent = {
        n: traffic.requests(_fewer(plan.requests, n), n, "uniform", "score")
        for n in CANDIDATES
        if n <= plan.products
    }
    runs: dict[int, list[Measured]] = {n: [] for n in sent}
    with redis() as store:
        index(file, plan.model, store, plan.bundles)
        with serve(store, plan.model, plan.bundles, 1, {}) as served:
            for requests in sent.values():
                _measured(served, requests)
            for round_ in range(plan.rounds):
                _say(f"candidates, round {round_ + 1} of {plan.rounds}")
                for n, requests in sent.items():  # in turn: a slow minute falls on all of them
                    runs[n].append(_measured(served, requests))
    return [
        {
            "candidates": n,
            "requests": len(sent[n]),
            **_latency(of_n),
            "us_per_candidate": [round(_p(run, 50) * 1e3 / n, 3) for run in of_n],
        }
        for n, of_n in runs.items()
    ]


def catalogues(plan: Plan) -> list[Row]:
    """Latency at 1,000 random candidates over the catalogue's size: LMDB and Redis, the row cache
    off and on (where the service has one), one connection, one worker.
    """
    rows: list[Row] = []
    for size in plan.sizes:
        file, traffic = plan.traffic(size)
        with ExitStack() as stack:
            stores = {
                "lmdb": f"lmdb:{plan.work / f'rows-{size}'}",
                "redis": stack.enter_context(redis()),
            }
            for name, store in stores.items():
                _say(f"catalogue of {size:,} in {name}: indexing")
                seconds = index(file, plan.catalogue_model, store, plan.bundles)
                rows += [
                    {
                        "products": size,
                        "store": name,
                        "index_s": round(seconds, 1),
                        "indexed_per_s": round(size / seconds),
                        **row,
                    }
                    for row in _cache_off_and_on(plan, store, size, traffic)
                ]
        shutil.rmtree(plan.work / f"rows-{size}")
    return rows


def caches(plan: Plan) -> list[Row]:
    """Hit ratio and latency over the row cache's budget, on the mix of `workers`: what a worker's
    own cache loses against one that all workers share in the same memory.
    """
    file, traffic = plan.traffic(plan.products)
    rows: list[Row] = []
    with redis() as store:
        index(file, plan.model, store, plan.bundles)
        for megabytes in plan.megabytes:
            given = {"row_cache_mb": str(megabytes)}
            with serve(store, plan.model, plan.bundles, 1, given) as served:
                _measured(served, traffic.warm_up())
                _measured(served, _zipf(traffic, plan.products // N * 5))  # its steady state
                hits, runs = [], []
                for round_ in range(plan.rounds):
                    _say(f"row cache of {megabytes} MB, round {round_ + 1} of {plan.rounds}")
                    before = served.cached_rows()
                    runs.append(_measured(served, _zipf(traffic, plan.requests)))
                    after = served.cached_rows()
                    hit, miss = after["hit"] - before["hit"], after["miss"] - before["miss"]
                    hits.append(round(hit / (hit + miss), 4))
            rows.append({"row_cache_mb": megabytes, "hit_ratio": hits, **_latency(runs)})
    return rows


def workers(plan: Plan) -> list[Row]:
    """Throughput at 8 connections over the number of workers, on the realistic mix of products and
    queries at 1,000 candidates, rows in Redis; and what one worker adds in memory.
    """
    file, traffic = plan.traffic(plan.products)
    rows: list[Row] = []
    with redis() as store:
        index(file, plan.model, store, plan.bundles)
        for count in plan.workers:
            with serve(store, plan.model, plan.bundles, count, {}) as served:
                # Several times, for each worker has caches of its own.
                for _ in range(count):
                    _measured(served, traffic.warm_up(), CONNECTIONS)
                _measured(served, _zipf(traffic, plan.requests * count), CONNECTIONS)
                runs = []
                for round_ in range(plan.rounds):
                    _say(f"{count} workers, round {round_ + 1} of {plan.rounds}")
                    runs.append(_measured(served, _zipf(traffic, plan.requests), CONNECTIONS))
                memory = [memory_mb(pid) for pid in served.workers()]
            rows.append(
                {
                    "workers": count,
                    "per_second": [round(run.per_second, 1) for run in runs],
                    **_latency(runs),
                    "pss_mb": [of_one["pss"] for of_one in memory],
                    "uss_mb": [of_one["uss"] for of_one in memory],
                }
            )
    return rows


def threads(plan: Plan) -> list[Row]:
    """One worker scoring in its event loop or in threads, on 1 and on 8 connections, on the mix of
    `workers`; half of the queries are new, so the query graph runs as it does in production.
    """
    file, traffic = plan.traffic(plan.products)
    runs: dict[tuple[int, int, int], list[Measured]] = {}
    with redis() as store:
        index(file, plan.model, store, plan.bundles)
        for round_ in range(plan.rounds):
            for request_threads, ort_threads in THREADS:
                _say(f"{request_threads} x {ort_threads} threads, round {round_ + 1}")
                settings = {"request_threads": request_threads, "ort_threads": ort_threads}
                given = {name: str(value) for name, value in settings.items()}
                with serve(store, plan.model, plan.bundles, 1, given) as served:
                    _measured(served, traffic.warm_up(), CONNECTIONS)
                    _measured(served, _zipf(traffic, plan.requests), CONNECTIONS)
                    for connections in (1, CONNECTIONS):
                        run = _measured(served, _zipf(traffic, plan.requests), connections)
                        cell = (request_threads, ort_threads, connections)
                        runs.setdefault(cell, []).append(run)
    return [
        {
            "request_threads": request_threads or "event loop",
            "ort_threads": ort_threads,
            "connections": connections,
            "per_second": [round(run.per_second, 1) for run in of_cell],
            **_latency(of_cell),
        }
        for (request_threads, ort_threads, connections), of_cell in runs.items()
    ]


SECTIONS: dict[str, Callable[[Plan], list[Row]]] = {
    "candidates": candidates,
    "catalogue": catalogues,
    "caches": caches,
    "workers": workers,
    "threads": threads,
}


def _cache_off_and_on(plan: Plan, store: str, size: int, traffic: Traffic) -> Iterator[Row]:
    with serve(store, plan.catalogue_model, plan.bundles, 1, {}) as served:
        off = {name: "0" for name in served.info["limits"] if name.startswith("row_cache")}
        # Random ids fill a cache slowly: every product should have had its turn, within reason.
        filling = min(max(plan.requests, 3 * size // N), 20 * plan.requests)
        yield {"row_cache": "on" if off else "none", **_random_ids(plan, served, traffic, filling)}
    if off:
        with serve(store, plan.catalogue_model, plan.bundles, 1, off) as served:
            yield {"row_cache": "off", **_random_ids(plan, served, traffic, plan.requests)}


def _random_ids(plan: Plan, served: Served, traffic: Traffic, warm_up: int) -> Row:
    _measured(served, traffic.requests(warm_up, N, "uniform", "score"))
    return _latency(
        [
            _measured(served, traffic.requests(plan.requests, N, "uniform", "score"))
            for _ in range(plan.rounds)
        ]
    )


def _zipf(traffic: Traffic, count: int) -> list[Request]:
    return traffic.requests(count, N, "zipf", "score")


def _fewer(requests: int, n: int) -> int:
    """As many requests of long lists as take about the time of `requests` at `N`."""
    return max(20, min(requests, requests * N // n))


def _measured(served: Served, requests: list[Request], connections: int = 1) -> Measured:
    run = measure(served.url, requests, connections)
    run.require_ok()
    return run


def _latency(runs: list[Measured]) -> Row:
    return {"p50_ms": [_p(run, 50) for run in runs], "p99_ms": [_p(run, 99) for run in runs]}


def _p(run: Measured, q: int) -> float:
    return quantiles(run.latencies_ms)[f"p{q}"]


def main() -> None:
    """Measures the sections, writes growth.json, growth.md and growth.png, prints the tables."""
    options = read_options(__doc__, SECTIONS)
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory(dir=options.out, prefix="work-") as work:
        plan = Plan(Path(work), options)
        for section in options.only or SECTIONS:
            found[section] = SECTIONS[section](plan)
            # After each section: what is measured is kept if the next one fails.
            text = json.dumps(found, indent=2)
            (options.out / "growth.json").write_text(f"{text}\n", encoding="utf-8")
            (options.out / "growth.md").write_text(markdown(found), encoding="utf-8")
    print(markdown(found))
    if find_spec("matplotlib"):
        plot(found, options.out / "growth.png")
    else:
        _say("no plot: matplotlib is not installed")


def _say(text: str) -> None:
    _CONSOLE.print(text, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
