r"""What a load takes: workers, Redis nodes, memory, network; with a node, a zone or a rollout out.

    python -m loadtest.capacity --products 1e9 --qps 100000 --candidates 1000 [--hit-ratio 0.8]

docs/scaling.md explains each symbol; `Costs` are figures measured there. One core is one of that
machine's: measure yours with `python -m loadtest.scaling`, and give what differs as `--cost`.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Final

from loadtest.figures import markdown_table, short
from loadtest.popularity import hit_ratio, rows_needed

_KEY_PREFIX: Final = len("winnow:01234567.1:{000}:")
_RECORD: Final = 12  # hash and time beside a row
_RESP: Final = 14  # lengths and line ends around a key, and around its value
_OF_AN_ID: Final = 3  # quotes and comma in JSON
_OF_A_SCORE: Final = 11
_HEADERS: Final = 600  # of a request and its answer
_ELECTION_S: Final = 2.5
_FRAMING: Final = 1.05  # TCP, IP and Ethernet around what is sent


@dataclass(frozen=True)
class Costs:
    """CPU microseconds of one core; measured, see docs/scaling.md.

    request: of a worker per request, without its candidates; new queries cost `query` more
    candidate: of a worker per candidate whose row it has: read, head, answer
    miss: of a worker per row that it fetches beside that
    served: of Redis per row that it serves
    encode: of an indexer per title; `write` of Redis per row that it takes
    worker_mb: memory of a worker without its row cache; the same for each version loaded
    """

    request: float = 560.0
    query: float = 250.0
    candidate: float = 1.6
    miss: float = 0.9
    served: float = 0.6
    encode: float = 60.0
    write: float = 4.0
    worker_mb: float = 100.0


@dataclass(frozen=True)
class Load:
    """What is asked for, and what there is to answer it with.

    width: float16 of a row; id_bytes: of a product id
    row_cache_mb: of each worker, from which the hit ratio follows unless it is given
    sets: vector sets at once: the live one, and the next one or the last
    busy: share of a core that is used on an ordinary day, of workers and of Redis
    node_gb, fill: memory of a Redis node, and the share of it that rows may take
    node_gbit: network of a Redis node
    replicas: of each master; zones: over which everything is spread evenly
    restarting: share of the workers that a rollout replaces at a time, with empty caches
    node_timeout_s: `cluster-node-timeout`, after which a master is called lost
    index_hours: in which all products are to be encoded and written again
    """

    products: float = 1e9
    qps: float = 100_000.0
    candidates: float = 1_000.0
    hit_ratio: float | None = None
    row_cache_mb: float = 256.0
    new_queries: float = 0.5
    width: int = 64
    id_bytes: int = 10
    sets: int = 2
    busy: float = 0.6
    node_gb: float = 64.0
    fill: float = 0.7
    node_gbit: float = 10.0
    replicas: int = 1
    zones: int = 3
    restarting: float = 0.1
    node_timeout_s: float = 5.0
    index_hours: float = 24.0


@dataclass(frozen=True)
class Capacity:
    """What the load takes; the names are those of docs/scaling.md, units at their end."""

    row_bytes_redis: float
    row_bytes_cached: float
    hit_ratio: float
    row_cache_mb: float
    worker_us_per_request: float
    workers: int
    workers_with_a_zone_out: int
    worker_memory_gb: float
    rows_per_s: float
    rows_per_s_in_a_rollout: float
    redis_memory_gb: float
    masters_by_memory: int
    masters_by_cpu: int
    masters_by_network: int
    masters: int
    nodes: int
    store_gbit: float
    http_gbit: float
    affected_share: float
    failover_s: float
    unanswered_per_failover: float
    index_cores: float
    index_rows_per_s: float
    index_master_busy: float


def capacity(load: Load, costs: Costs) -> Capacity:
    """The model: a formula per line, in the order of docs/scaling.md."""
    cached = row_bytes_cached(load.width)
    if load.hit_ratio is None:
        cache_mb = load.row_cache_mb
        hits = hit_ratio(load.products, load.candidates, cache_mb * 2**20 / cached)
    else:
        hits = load.hit_ratio
        cache_mb = rows_needed(load.products, load.candidates, hits) * cached / 2**20
    misses = load.candidates * (1 - hits)
    request_us = worker_us(costs, load.candidates, misses, load.new_queries)
    workers = math.ceil(load.qps * request_us / 1e6 / load.busy)
    with_a_zone_out = _spread(workers, load.zones)
    per_s = load.qps * misses
    in_a_rollout = per_s + load.restarting * load.qps * (load.candidates - misses)
    row = row_bytes_redis(load.width, load.id_bytes)
    memory_gb = load.products * row * load.sets / 1e9
    wire = _FRAMING * (_KEY_PREFIX + load.id_bytes + 2 * load.width + _RECORD + 2 * _RESP)
    http = _FRAMING * (_HEADERS + load.candidates * (load.id_bytes + _OF_AN_ID + _OF_A_SCORE))
    by_memory = math.ceil(memory_gb / load.fill / load.node_gb)
    by_cpu = math.ceil(in_a_rollout * costs.served / 1e6 / load.busy)
    by_network = math.ceil(in_a_rollout * wire * 8e-9 / load.busy / load.node_gbit)
    masters = max(3, by_memory, by_cpu, by_network)
    affected = affected_share(misses, masters)
    written = load.products / load.index_hours / 3600
    return Capacity(
        row_bytes_redis=row,
        row_bytes_cached=cached,
        hit_ratio=hits,
        row_cache_mb=cache_mb,
        worker_us_per_request=request_us,
        workers=workers,
        workers_with_a_zone_out=with_a_zone_out,
        worker_memory_gb=with_a_zone_out * (2 * costs.worker_mb + load.sets * cache_mb) / 1024,
        rows_per_s=per_s,
        rows_per_s_in_a_rollout=in_a_rollout,
        redis_memory_gb=memory_gb,
        masters_by_memory=by_memory,
        masters_by_cpu=by_cpu,
        masters_by_network=by_network,
        masters=masters,
        nodes=masters * (1 + load.replicas),
        store_gbit=per_s * wire * 8e-9,
        http_gbit=load.qps * http * 8e-9,
        affected_share=affected,
        failover_s=failover_s(load.node_timeout_s),
        unanswered_per_failover=load.qps * affected * failover_s(load.node_timeout_s),
        index_cores=written * costs.encode / 1e6,
        index_rows_per_s=written,
        index_master_busy=written / masters * costs.write / 1e6,
    )


def worker_us(costs: Costs, candidates: float, misses: float, new_queries: float) -> float:
    """CPU of a worker per request."""
    return (
        costs.request
        + new_queries * costs.query
        + candidates * costs.candidate
        + misses * costs.miss
    )


def affected_share(misses: float, masters: int) -> float:
    """Share of the requests that need a row of one master, where ids fall evenly."""
    return 1 - math.pow(1 - 1 / masters, misses)


def failover_s(node_timeout_s: float) -> float:
    """Until a lost master's replica serves: the time-out, agreement, a vote, the next look."""
    return node_timeout_s + _ELECTION_S


def row_bytes_redis(width: int, id_bytes: int) -> float:
    """What a row takes of a cluster node's memory: key, value, and what Redis keeps with them.

    An entry of the dictionary (40 bytes in a cluster of Redis 7.0), the value's object (16), both
    strings with their headers, each rounded up by jemalloc, and 1 to 2 pointers of the table, which
    doubles when it is full; 1.5 here.
    """
    key = _KEY_PREFIX + id_bytes
    record = 2 * width + _RECORD
    return _allocated(40) + _allocated(16) + _string(key) + _string(record) + 1.5 * 8


def row_bytes_cached(width: int) -> float:
    """What a row takes of the row cache's memory: 64-byte lines, and 15 bytes to find it."""
    return -(-2 * width // 64) * 64 + 16


def _string(length: int) -> int:
    header = 1 if length < 32 else 3 if length < 256 else 5
    return _allocated(header + length + 1)


def _allocated(size: int) -> int:
    """The size class of jemalloc: steps of 16 up to 128, then four to each doubling."""
    if size <= 128:
        return -(-size // 16) * 16
    step = 1 << ((size - 1).bit_length() - 3)
    return -(-size // step) * step


def _spread(workers: int, zones: int) -> int:
    """So many that those of all zones but one are enough."""
    if zones < 2:
        return workers
    return math.ceil(workers / (zones - 1)) * zones


def table(found: Capacity) -> str:
    """Markdown."""
    rows = [
        (name.replace("_", " "), f"{value:,}" if isinstance(value, int) else short(value))
        for name, value in asdict(found).items()
    ]
    return markdown_table(("", ""), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for field in fields(Load):
        kind = int if isinstance(field.default, int) else float
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=kind,
            default=field.default,
            help=f"default {field.default if field.default is not None else 'by the row cache'}",
        )
    names = ", ".join(field.name for field in fields(Costs))
    parser.add_argument(
        "--cost", action="append", default=[], metavar="NAME=US", help=f"one of {names}"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        given = {name: float(us) for name, us in (each.split("=") for each in options.cost)}
        costs = replace(Costs(), **given)
    except (ValueError, TypeError):
        parser.error(f"expected --cost NAME=US, NAME one of {names}, got {options.cost}")
    load = Load(**{field.name: getattr(options, field.name) for field in fields(Load)})
    found = capacity(load, costs)
    if options.json:
        print(json.dumps({"load": asdict(load), "costs": asdict(costs), **asdict(found)}, indent=1))
    else:
        print(table(found))


if __name__ == "__main__":
    main()
