"""What was measured on the cluster beside what the model says of it. Measures nothing.

    python -m loadtest.scaling_report .data/three/scaling.json .data/twelve/scaling.json

fits the costs of `loadtest.costs` to several runs at once, as `--cost` of `loadtest.capacity`.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtest.chaos_redis import NODE_TIMEOUT_MS
from loadtest.costs import (
    Costs,
    affected_share,
    commands,
    failover_s,
    masters_asked,
    redis_us,
    row_bytes_cached,
    row_bytes_redis,
    worker_us,
)
from loadtest.figures import markdown_table, short
from loadtest.popularity import hit_ratio

_WIDTH, _ID_BYTES = 64, 8  # of what is indexed


@dataclass(frozen=True)
class Indexed:
    """A catalogue written to the masters; CPU in microseconds per row."""

    rows: int
    seconds: float
    row_bytes: float
    indexer_us: float
    write_us: float


@dataclass(frozen=True)
class Cell:
    """One worker on one core at one kind of request; CPU in microseconds per request."""

    candidates: int
    row_cache_mb: int
    new_queries: float
    hit_ratio: float
    worker_us: float
    redis_us: float
    per_second: float

    @property
    def misses(self) -> float:
        """Rows of a request that came from Redis."""
        return self.candidates * (1 - self.hit_ratio)


@dataclass(frozen=True)
class Lost:
    """A master killed under requests of so few candidates that some did without it.

    share: of the requests, while it was lost; notes: answers that were wrong or failed
    """

    candidates: int
    share: float
    recovered_s: float
    notes: Sequence[str]


@dataclass(frozen=True)
class Scaling:
    """A run."""

    products: int
    masters: int
    indexed: Indexed
    cells: Sequence[Cell]
    lost: Lost
    load_before: float


def fitted(runs: Sequence[Scaling]) -> dict[str, float]:
    """Costs that fit these runs best, relative to what each kind of request took; none below zero.

    What a master costs shows where runs have different numbers of them.
    """
    cells = [each for run in runs for each in run.cells]
    asked = [masters_asked(each.misses, run.masters) for run in runs for each in run.cells]
    worker = [
        (1.0, each.new_queries, each.candidates, masters, each.misses)
        for each, masters in zip(cells, asked, strict=True)
    ]
    redis = [
        (masters, commands(each.misses), each.misses)
        for each, masters in zip(cells, asked, strict=True)
    ]
    names = ("request", "query", "candidate", "ask", "miss"), ("asked", "command", "served")
    return {
        **_fitted(names[0], worker, [each.worker_us for each in cells]),
        **_fitted(names[1], redis, [each.redis_us for each in cells]),
    }


def _fitted(
    names: Sequence[str], parts: Sequence[Sequence[float]], took_us: Sequence[float]
) -> dict[str, float]:
    """Least squares; the most negative of the costs is none, and the others are fitted again."""
    took = np.array(took_us)
    rows = np.array(parts)
    kept = list(range(len(names)))
    while True:
        relative = rows[:, kept] / took[:, None]
        found = np.linalg.lstsq(relative, np.ones(len(took)), rcond=None)[0]
        if found.min() >= 0:
            costs = dict.fromkeys(names, 0.0)
            return costs | {names[i]: float(us) for i, us in zip(kept, found, strict=True)}
        kept.pop(int(found.argmin()))


def read(path: Path) -> Scaling:
    """A run's scaling.json."""
    found = json.loads(path.read_text())
    return Scaling(
        found["products"],
        found["masters"],
        Indexed(**found["indexed"]),
        [Cell(**cell) for cell in found["cells"]],
        Lost(**found["lost"]),
        found["load_before"],
    )


def markdown(found: Scaling) -> str:
    """The tables."""
    return "\n\n".join([_whole(found), _cells(found), _costs(found)]) + "\n"


def _whole(found: Scaling) -> str:
    indexed, lost = found.indexed, found.lost
    rows: list[tuple[str, float, float]] = [
        ("bytes of a row in a master", row_bytes_redis(_WIDTH, _ID_BYTES), indexed.row_bytes),
        (
            f"requests of {lost.candidates} rows without scores, a master of {found.masters} lost",
            affected_share(lost.candidates, found.masters),
            lost.share,
        ),
        ("seconds until all was right again", failover_s(NODE_TIMEOUT_MS / 1e3), lost.recovered_s),
    ]
    cells = [(name, short(said), short(measured)) for name, said, measured in rows]
    return (
        f"{indexed.rows:,} rows, {found.masters} masters with a replica each, indexed in "
        f"{indexed.seconds:.0f} s; load of the machine before: {found.load_before:.1f}\n\n"
        + markdown_table(("", "model", "measured"), cells)
    )


def _cells(found: Scaling) -> str:
    columns = (
        *("candidates", "row cache MB", "new queries", "hit ratio: model", "measured"),
        *("worker µs: model", "measured", "Redis µs: model", "measured", "requests/s"),
    )
    rows = []
    for each in found.cells:
        kept = each.row_cache_mb * 2**20 / row_bytes_cached(_WIDTH)
        kind = each.candidates, each.misses, each.new_queries, found.masters
        rows.append(
            (
                *(f"{each.candidates:,}", each.row_cache_mb, f"{each.new_queries:.0%}"),
                short(hit_ratio(found.products, each.candidates, kept)),
                *(short(each.hit_ratio), short(worker_us(Costs(), *kind)), short(each.worker_us)),
                *(short(redis_us(Costs(), each.misses, found.masters)), short(each.redis_us)),
                short(each.per_second),
            )
        )
    return markdown_table(columns, rows)


def _costs(found: Scaling) -> str:
    """What this run says the costs are: for `Costs`, or `--cost`."""
    indexed = {"encode": found.indexed.indexer_us, "write": found.indexed.write_us}
    here = fitted([found]) | indexed
    rows = [(name, short(getattr(Costs(), name)), short(us)) for name, us in here.items()]
    return markdown_table(("CPU µs", "model", "this run"), rows)


if __name__ == "__main__":
    costs = fitted([read(Path(path)) for path in sys.argv[1:]])
    print(" ".join(f"--cost {name}={us:.3g}" for name, us in costs.items()))
