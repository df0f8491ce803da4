r"""The capacity model held against a Redis Cluster of six nodes, here, on loopback.

    python -m loadtest.scaling [--products 2000000] [--masters 3] [--out .data/scaling]

Starts masters with a replica each, indexes a made catalogue with `winnow index`, and measures
memory per row, CPU per request of one worker and per row of Redis at several lengths of the list
and hit ratios, and what a killed master costs. Prints each beside what `loadtest.capacity` says.
Where there are two CPUs or more the worker has the last one to itself. CPU time is the kernel's
count, so a busy machine spoils it less than it spoils requests per second. Exit code 1: an answer
was wrong or failed.
"""

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from rich.console import Console

from loadtest import catalogue
from loadtest.chaos_clients import Load, NotRecovered, Seen
from loadtest.chaos_redis import MASTERS, Cluster, RedisProcess
from loadtest.chaos_serving import RECOVERS_WITHIN_S, Shop
from loadtest.closed_loop import measure
from loadtest.commands import Served, index, on_cpus, serve
from loadtest.scaling_report import Cell, Indexed, Lost, Scaling, markdown
from loadtest.traffic import Request, Traffic, read_ids, read_queries

_ROOT = Path(__file__).parents[1]
_CONNECTIONS: Final = 8
_QUERIES: Final = 500
_ANSWERS_BEFORE: Final = 50  # a master is lost
_QUIET_S: Final = 2.0  # no answer is marked: the replica serves
_LOST_CANDIDATES: Final = 3  # few enough that a request may miss the lost master
# What is late is measured all the same: a busy machine is no reason to give up.
_PATIENT: Final = {"deadline_ms": "20000", "store_timeout_ms": "10000"}
_CONSOLE = Console(stderr=True)
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Asked:
    """A kind of request to measure: candidates, the worker's cache, and whose queries."""

    candidates: int
    row_cache_mb: int
    queries_seen: bool


_ASKED: Final = (
    Asked(1, 0, queries_seen=True),
    Asked(3, 0, queries_seen=True),
    Asked(10, 0, queries_seen=True),
    Asked(10, 0, queries_seen=False),
    Asked(100, 0, queries_seen=True),
    Asked(1_000, 0, queries_seen=True),
    Asked(3_000, 0, queries_seen=True),
    Asked(1_000, 8, queries_seen=True),
    Asked(1_000, 32, queries_seen=True),
    Asked(1_000, 128, queries_seen=True),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; the exit code."""
    options = _options(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    load_before = os.getloadavg()[0]
    cpus = sorted(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory(prefix="winnow-scaling-") as folder,
        ExitStack() as stack,
        on_cpus(cpus[:-1] or cpus),
    ):
        shop = _shop(Path(folder), options)
        cluster = Cluster(Path(folder) / "cluster", stack, options.masters)
        indexed = _indexed(shop, cluster, cpus)
        traffic = Traffic(read_ids(shop.catalogue), read_queries(shop.queries), options.seed)
        cells = _cells(shop, cluster, traffic, options.requests, cpus)
        lost = _lost(shop, cluster)
    found = Scaling(options.products, options.masters, indexed, cells, lost, load_before)
    (options.out / "scaling.json").write_text(json.dumps(asdict(found), indent=1) + "\n")
    (options.out / "scaling.md").write_text(markdown(found))
    print(markdown(found))
    for note in lost.notes:
        _CONSOLE.print(note, markup=False)
    return 1 if lost.notes else 0


def _shop(folder: Path, options: argparse.Namespace) -> Shop:
    products, queries = folder / "products.csv", folder / "queries.txt"
    catalogue.write_catalogue(products, options.products, options.seed)
    queries.write_text("\n".join(catalogue.queries(_QUERIES, options.seed)) + "\n")
    return Shop(
        options.model,
        options.bundles,
        products,
        queries,
        workers=1,
        connections=4,
        candidates=_LOST_CANDIDATES,
        seed=options.seed,
        seconds=600,
    )


def _indexed(shop: Shop, cluster: Cluster, cpus: Sequence[int]) -> Indexed:
    """Memory per row of a master, CPU per row of the indexer and of the masters."""
    _say("indexing")
    masters = cluster.masters()
    memory, redis_s, own_s = _memory(masters), _redis_cpu_s(masters), _children_cpu_s()
    with on_cpus(cpus):
        seconds = index(shop.catalogue, shop.model, cluster.url, shop.bundles)
    cluster.wait_until_whole()
    rows = sum(_rows(master) for master in masters)
    return Indexed(
        rows=rows,
        seconds=seconds,
        row_bytes=(_memory(masters) - memory) / rows,
        indexer_us=(_children_cpu_s() - own_s) / rows * 1e6,
        write_us=(_redis_cpu_s(masters) - redis_s) / rows * 1e6,
    )


def _cells(
    shop: Shop, cluster: Cluster, traffic: Traffic, requests: int, cpus: Sequence[int]
) -> list[Cell]:
    """One worker that has one core, for each size of its row cache."""
    fit = [each for each in _ASKED if each.candidates <= traffic.products]
    cells = []
    for row_cache_mb, of_one in groupby(fit, lambda each: each.row_cache_mb):
        settings = {"row_cache_mb": str(row_cache_mb), **_PATIENT}
        with ExitStack() as stack:
            with on_cpus(cpus[-1:]):
                served = stack.enter_context(
                    serve(cluster.url, shop.model, shop.bundles, 1, settings)
                )
            measure(served.url, traffic.warm_up(), _CONNECTIONS).require_ok()
            cells += [_cell(each, served, cluster, traffic, requests) for each in of_one]
    return cells


def _cell(asked: Asked, served: Served, cluster: Cluster, traffic: Traffic, requests: int) -> Cell:
    """CPU per request, and requests per second."""
    _say(f"{asked.candidates} candidates, a row cache of {asked.row_cache_mb} MB")
    filling = _requests(traffic, asked, requests * (5 if asked.row_cache_mb else 1))
    measure(served.url, filling, _CONNECTIONS).require_ok()
    # As many as take about the time of `requests` of 1,000 candidates, within reason.
    sent = _requests(traffic, asked, requests * 1_000 // max(250, asked.candidates))
    masters = cluster.masters()
    looked_up = _looked_up(asked, served)
    redis_s, worker_s = _redis_cpu_s(masters), _cpu_s(served)
    measured = measure(served.url, sent, _CONNECTIONS)
    worker_s, redis_s = _cpu_s(served) - worker_s, _redis_cpu_s(masters) - redis_s
    measured.require_ok()
    hits = _hit_ratio(looked_up, _looked_up(asked, served))
    return Cell(
        asked.candidates,
        asked.row_cache_mb,
        0.0 if asked.queries_seen else 1.0,
        hits,
        worker_us=worker_s / len(sent) * 1e6,
        redis_us=redis_s / len(sent) * 1e6,
        per_second=measured.per_second,
    )


def _requests(traffic: Traffic, asked: Asked, count: int) -> list[Request]:
    drawn = traffic.requests(4 * count, asked.candidates, endpoint="score")
    return [each for each in drawn if each.query_seen == asked.queries_seen][:count]


def _looked_up(asked: Asked, served: Served) -> dict[str, float]:
    """Rows so far; the counters come a moment late, and nobody waits for a cache that is off."""
    return served.cached_rows() if asked.row_cache_mb else {"hit": 0.0, "miss": 0.0}


def _hit_ratio(before: dict[str, float], after: dict[str, float]) -> float:
    hit, miss = (after[name] - before[name] for name in ("hit", "miss"))
    return hit / (hit + miss) if hit else 0.0


def _lost(shop: Shop, cluster: Cluster) -> Lost:
    """A master killed under load: what share of the requests had no scores, for how long."""
    _say("killing a master")
    for node in cluster.nodes:  # else no master answers while one is lost
        with node.client() as client:
            client.config_set("cluster-require-full-coverage", "no")
    recovered_s, notes = float("nan"), list[str]()
    with serve(cluster.url, shop.model, shop.bundles, 1, {"row_cache_mb": "0"}) as served:
        load = shop.load([served])
        with load.running():
            load.wait_for_answers(_ANSWERS_BEFORE)
            before, killed_s = load.total(), time.monotonic()
            cluster.masters()[0].kill()
            share = _share_while_lost(load, before)
            try:
                recovered_s = load.recovered_after_s(killed_s, RECOVERS_WITHIN_S)
            except NotRecovered as error:
                notes.append(str(error))
        total = load.total()
    return Lost(shop.candidates, share, recovered_s, notes + total.wrong[:3] + total.failed[:3])


def _share_while_lost(load: Load, before: Seen) -> float:
    """Marked answers of all, until no more come that are marked."""
    last, changed_s = load.total(), time.monotonic()
    while time.monotonic() - changed_s < _QUIET_S:
        now = load.total()
        if now.marked > last.marked:
            last, changed_s = now, time.monotonic()
        time.sleep(0.02)
    marked, right = last.marked - before.marked, last.right - before.right
    return marked / max(1, marked + right)


def _memory(masters: Sequence[RedisProcess]) -> float:
    return sum(_info(master, "memory", "used_memory") for master in masters)


def _redis_cpu_s(masters: Sequence[RedisProcess]) -> float:
    names = ("used_cpu_user", "used_cpu_sys")
    return sum(_info(master, "cpu", name) for master in masters for name in names)


def _info(node: RedisProcess, section: str, name: str) -> float:
    with node.client() as client:
        found: dict[str, float] = client.info(section)
    return float(found[name])


def _rows(node: RedisProcess) -> int:
    with node.client() as client:
        return int(client.dbsize())


def _cpu_s(served: Served) -> float:
    """User and system time of its only process, threads included."""
    after_name = Path(f"/proc/{served.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / _TICKS


def _children_cpu_s() -> float:
    """Of those that have ended: commands, and not yet the servers."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _say(what: str) -> None:
    _CONSOLE.print(f"{what} ...", highlight=False)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--products", type=int, default=2_000_000)
    parser.add_argument("--masters", type=int, default=MASTERS, help="each with a replica")
    parser.add_argument("--requests", type=int, default=400, help="of 1,000 candidates, per cell")
    parser.add_argument("--model", default="shop-bert2dnn")
    parser.add_argument("--bundles", type=Path, default=_ROOT / "model_store" / "bundles")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(".data") / "scaling")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    # Stopped by `timeout`, it still ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
