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

from loadtest.costs import (
    BUCKETS,
    KEY_PREFIX,
    RECORD,
    Costs,
    affected_share,
    failover_s,
    redis_us,
    row_bytes_cached,
    row_bytes_redis,
    worker_us,
)
from loadtest.figures import markdown_table, short
from loadtest.popularity import hit_ratio, rows_needed

_SHARES: Final = {"hit_ratio", "new_queries", "busy", "fill", "restarting"}
_MAY_BE_ZERO: Final = {"hit_ratio", "row_cache_mb", "new_queries", "replicas", "restarting"}
_MOST_CLUSTERS: Final = 1_000
_RESP: Final = 14  # lengths and line ends around a key, and around its value
_OF_AN_ID: Final = 3  # quotes and comma in JSON
_OF_A_SCORE: Final = 11
_HEADERS: Final = 600  # of a request and its answer
_FRAMING: Final = 1.05  # TCP, IP and Ethernet around what is sent


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

    def __post_init__(self) -> None:
        """Raises:
        ValueError: a number that can't be.
        """
        for name, value in asdict(self).items():
            least = 0 if name in _MAY_BE_ZERO else 1e-9
            most = 1 if name in _SHARES else math.inf
            if value is not None and not least <= value <= most:
                allowed = "a share of 1" if name in _SHARES else "a number above 0"
                raise ValueError(f"expected {name} to be {allowed}, got {value:g}")


@dataclass(frozen=True)
class Clusters:
    """So many clusters of so many masters, each with all rows and its share of the requests."""

    copies: int
    by_memory: int
    by_cpu: int
    by_network: int

    @property
    def masters(self) -> int:
        """Of one of them."""
        return max(3, self.by_memory, self.by_cpu, self.by_network)


@dataclass(frozen=True)
class Capacity:
    """What the load takes; the names are those of docs/scaling.md, units at their end."""

    row_bytes_redis: float
    row_bytes_cached: float
    hit_ratio: float
    row_cache_mb: float
    worker_us_per_request: float
    redis_us_per_request: float
    workers: int
    workers_with_a_zone_out: int
    worker_memory_gb: float
    rows_per_s: float
    rows_per_s_in_a_rollout: float
    redis_memory_gb: float
    clusters: int
    masters_by_memory: int
    masters_by_cpu: int
    masters_by_network: int
    masters_of_each: int
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
    per_s = load.qps * misses
    in_a_rollout = per_s + load.restarting * load.qps * (load.candidates - misses)
    row = row_bytes_redis(load.width, load.id_bytes)
    memory_gb = load.products * row * load.sets / 1e9
    wire = _FRAMING * (KEY_PREFIX + load.id_bytes + 2 * load.width + RECORD + 2 * _RESP)
    clusters = _clusters(load, costs, misses, memory_gb, in_a_rollout * wire * 8e-9)
    masters = clusters.masters
    http = _FRAMING * (_HEADERS + load.candidates * (load.id_bytes + _OF_AN_ID + _OF_A_SCORE))
    request_us = worker_us(costs, load.candidates, misses, load.new_queries, masters)
    workers = math.ceil(load.qps * request_us / 1e6 / load.busy)
    with_a_zone_out = _spread(workers, load.zones)
    affected = affected_share(misses, masters) / clusters.copies
    written = load.products / load.index_hours / 3600
    return Capacity(
        row_bytes_redis=row,
        row_bytes_cached=cached,
        hit_ratio=hits,
        row_cache_mb=cache_mb,
        worker_us_per_request=request_us,
        redis_us_per_request=redis_us(costs, misses, masters),
        workers=workers,
        workers_with_a_zone_out=with_a_zone_out,
        worker_memory_gb=with_a_zone_out * (2 * costs.worker_mb + load.sets * cache_mb) / 1024,
        rows_per_s=per_s,
        rows_per_s_in_a_rollout=in_a_rollout,
        redis_memory_gb=memory_gb * clusters.copies,
        clusters=clusters.copies,
        masters_by_memory=clusters.by_memory,
        masters_by_cpu=clusters.by_cpu,
        masters_by_network=clusters.by_network,
        masters_of_each=masters,
        nodes=clusters.copies * masters * (1 + load.replicas),
        store_gbit=per_s * wire * 8e-9,
        http_gbit=load.qps * http * 8e-9,
        affected_share=affected,
        failover_s=failover_s(load.node_timeout_s),
        unanswered_per_failover=load.qps * affected * failover_s(load.node_timeout_s),
        index_cores=written * clusters.copies * costs.encode / 1e6,
        index_rows_per_s=written,
        index_master_busy=written / masters * costs.write / 1e6,
    )


def _clusters(load: Load, costs: Costs, misses: float, memory_gb: float, gbit: float) -> Clusters:
    """The fewest masters in all.

    A request asks nearly every master of its cluster, so from some rate on more masters help no
    more, and another cluster with all rows does.

    Raises:
        ValueError: the rows need more masters than a vector set has buckets.
    """
    by_memory = math.ceil(memory_gb / load.fill / load.node_gb)
    possible = []
    for copies in range(1, _MOST_CLUSTERS + 1):
        by_cpu = _masters_by_cpu(replace(load, qps=load.qps / copies), costs, misses)
        by_network = math.ceil(gbit / copies / load.busy / load.node_gbit)
        possible.append(Clusters(copies, by_memory, by_cpu, by_network))
    possible = [each for each in possible if each.masters <= BUCKETS]
    if not possible:
        raise ValueError(
            f"expected rows for at most {BUCKETS} masters, the buckets of a vector set, got "
            f"{memory_gb:,.0f} GB: give larger nodes (--node-gb) or fewer sets"
        )
    return min(possible, key=lambda each: each.copies * each.masters)


def _masters_by_cpu(load: Load, costs: Costs, misses: float) -> int:
    """The fewest that are not too busy in a rollout; more than there are buckets where none are."""
    masters = 1
    while masters <= BUCKETS:
        us = (1 - load.restarting) * redis_us(costs, misses, masters)
        us += load.restarting * redis_us(costs, load.candidates, masters)
        needed = math.ceil(load.qps * us / 1e6 / load.busy)
        if needed <= masters:
            break
        masters = needed
    return masters


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
    try:
        load = Load(**{field.name: getattr(options, field.name) for field in fields(Load)})
        found = capacity(load, costs)
    except ValueError as error:
        parser.error(str(error))
    if options.json:
        print(json.dumps({"load": asdict(load), "costs": asdict(costs), **asdict(found)}, indent=1))
    else:
        print(table(found))


if __name__ == "__main__":
    main()
