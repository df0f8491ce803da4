"""What was measured on the cluster beside what the model says of it. Measures nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from loadtest.capacity import (
    Costs,
    affected_share,
    failover_s,
    row_bytes_cached,
    row_bytes_redis,
    worker_us,
)
from loadtest.chaos_redis import MASTERS, NODE_TIMEOUT_MS
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
    """One worker on one core at one kind of request; CPU in microseconds."""

    candidates: int
    row_cache_mb: int
    new_queries: float
    hit_ratio: float
    worker_us: float
    redis_us_per_row: float
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
    indexed: Indexed
    cells: Sequence[Cell]
    lost: Lost
    load_before: float


def fitted(cells: Sequence[Cell]) -> dict[str, float]:
    """Costs of a worker that fit these cells best, relative to what each took."""
    names = ("request", "query", "candidate", "miss")
    rows = np.array([(1.0, each.new_queries, each.candidates, each.misses) for each in cells])
    took = np.array([each.worker_us for each in cells])
    found = np.linalg.lstsq(rows / took[:, None], np.ones(len(took)), rcond=None)[0]
    return dict(zip(names, found.tolist(), strict=True))


def markdown(found: Scaling) -> str:
    """The tables."""
    return "\n\n".join([_whole(found), _cells(found), _costs(found)]) + "\n"


def _whole(found: Scaling) -> str:
    indexed, lost = found.indexed, found.lost
    rows: list[tuple[str, float, float]] = [
        ("bytes of a row in a master", row_bytes_redis(_WIDTH, _ID_BYTES), indexed.row_bytes),
        (
            f"requests of {lost.candidates} rows without scores, a master of {MASTERS} lost",
            affected_share(lost.candidates, MASTERS),
            lost.share,
        ),
        ("seconds until all was right again", failover_s(NODE_TIMEOUT_MS / 1e3), lost.recovered_s),
    ]
    cells = [(name, short(said), short(measured)) for name, said, measured in rows]
    return (
        f"{indexed.rows:,} rows, {MASTERS} masters with a replica each, indexed in "
        f"{indexed.seconds:.0f} s; load of the machine before: {found.load_before:.1f}\n\n"
        + markdown_table(("", "model", "measured"), cells)
    )


def _cells(found: Scaling) -> str:
    columns = (
        *("candidates", "row cache MB", "new queries", "hit ratio: LRU", "measured"),
        *("worker µs per request: model", "measured", "requests/s: model", "measured"),
        "Redis µs per row",
    )
    rows = []
    for each in found.cells:
        kept = each.row_cache_mb * 2**20 / row_bytes_cached(_WIDTH)
        said = worker_us(Costs(), each.candidates, each.misses, each.new_queries)
        rows.append(
            (
                *(f"{each.candidates:,}", each.row_cache_mb, f"{each.new_queries:.0%}"),
                short(hit_ratio(found.products, each.candidates, kept)),
                *(short(each.hit_ratio), short(said), short(each.worker_us)),
                *(short(1e6 / said), short(each.per_second), short(each.redis_us_per_row)),
            )
        )
    return markdown_table(columns, rows)


def _costs(found: Scaling) -> str:
    """What this run says the costs are: for `Costs`, or `--cost`."""
    long = [each.redis_us_per_row for each in found.cells if each.misses >= 300]
    here = {
        **fitted(found.cells),
        "encode": found.indexed.indexer_us,
        "write": found.indexed.write_us,
    }
    if long:
        here["served"] = float(np.median(long))
    rows = [
        (field.name, short(getattr(Costs(), field.name)), short(here[field.name]))
        for field in fields(Costs)
        if field.name in here
    ]
    return markdown_table(("CPU µs", "model", "this run"), rows)
