"""The requests that every driver sends: what a shop's search sends, drawn by a seed.

Product popularity is Zipf's (s = 1.0) over the whole catalogue, and independent of its order. Half
of the queries are head queries, from the file; the other half were never sent before. Bodies are
encoded before the clock starts. A stream never repeats an unseen query, but the same seed draws the
same stream: give another seed where the same service process is measured twice.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import orjson
from numpy.typing import NDArray

ZIPF_EXPONENT = 1.0
SCORE_SHARE = 0.7  # the rest goes to /filter
HEAD_SHARE = 0.5  # queries from the file; the rest is new
# Candidates of one request and how often: short lists are frequent, long ones are most of the work.
SIZES = (100, 300, 1_000, 3_000, 5_000)
SIZE_WEIGHTS = (0.25, 0.25, 0.30, 0.12, 0.08)
SORT_MODES = ("default", "price", "sale")

Kind = Literal["zipf", "uniform"]
Endpoint = Literal["mix", "score", "filter"]


@dataclass(frozen=True, slots=True)
class Request:
    """One POST, encoded; `query_seen` says that its query is of the head pool."""

    path: str
    body: bytes
    candidates: int
    query_seen: bool


class Traffic:
    """A deterministic stream of requests over one catalogue and one file of queries."""

    def __init__(self, ids: Sequence[str], queries: Sequence[str], seed: int) -> None:
        """Shuffles both by the seed, so that popularity says nothing about the order of a file.

        Raises:
            ValueError: no ids or no queries, or one of them twice.
        """
        for what, values in (("product ids", ids), ("queries", queries)):
            if not values or len(set(values)) != len(values):
                raise ValueError(
                    f"expected {what} without duplicates, got {len(values)} of which "
                    f"{len(set(values))} differ: give another file"
                )
        self._draw: np.random.Generator = np.random.default_rng(seed)
        self._ids: list[str] = [ids[i] for i in self._draw.permutation(len(ids))]  # popular first
        self._head: list[str] = [queries[i] for i in self._draw.permutation(len(queries))]
        self._product_cdf = _zipf_cdf(len(ids))
        self._head_cdf = _zipf_cdf(len(queries))
        self._words = [word for query in queries for word in query.split()]
        self._lengths = np.array([max(2, len(query.split())) for query in queries])
        self._sent = set(queries)

    @property
    def products(self) -> int:
        """How many products there are."""
        return len(self._ids)

    def requests(
        self,
        count: int,
        candidates: int | None = None,
        kind: Kind = "zipf",
        endpoint: Endpoint = "mix",
    ) -> list[Request]:
        """The next `count` requests of the stream.

        Args:
            count: requests.
            candidates: of every request; where None the mix of `SIZES`, cut at the catalogue.
            kind: whether popular products are drawn more often than others; never twice in one
                request.
            endpoint: `/score`, `/filter` or both.

        Raises:
            ValueError: more candidates than the catalogue has products.
        """
        products = len(self._ids)
        if candidates is not None and not 0 < candidates <= products:
            raise ValueError(
                f"expected 1 to {products} candidates, the catalogue's size, got {candidates}"
            )
        if candidates is None:
            sizes = self._draw.choice(np.minimum(SIZES, products), count, p=SIZE_WEIGHTS)
        else:
            sizes = np.full(count, candidates)
        seen = self._draw.random(count) < HEAD_SHARE
        scores = (
            self._draw.random(count) < {"mix": SCORE_SHARE, "score": 1.0, "filter": 0.0}[endpoint]
        )
        return [
            self._request(int(size), bool(is_seen), bool(is_score), kind)
            for size, is_seen, is_score in zip(sizes, seen, scores, strict=True)
        ]

    def warm_up(self) -> list[Request]:
        """Every head query once, with one product: makes "seen before" true from then on."""
        one = self._ids[:1]
        return [
            Request("/score", orjson.dumps({"query": text, "product_ids": one}), 1, query_seen=True)
            for text in self._head
        ]

    def _request(self, size: int, is_seen: bool, is_score: bool, kind: Kind) -> Request:  # noqa: FBT001
        positions = self._popular(size) if kind == "zipf" else self._any(size)
        body: dict[str, object] = {
            "query": self._head_query() if is_seen else self._new_query(),
            "product_ids": [self._ids[i] for i in positions.tolist()],
        }
        if not is_score:
            body["sort"] = SORT_MODES[int(self._draw.integers(len(SORT_MODES)))]
        path = "/score" if is_score else "/filter"
        return Request(path, orjson.dumps(body), size, is_seen)

    def _popular(self, size: int) -> NDArray[np.int64]:
        """Positions in the order they were drawn, int64 [size]; a repeated draw is dropped."""
        drawn = np.empty(0, dtype=np.int64)
        more = 2 * size
        while True:
            ranks = np.searchsorted(self._product_cdf, self._draw.random(more), side="right")
            drawn = np.concatenate([drawn, ranks])
            first = np.unique(drawn, return_index=True)[1]
            if len(first) >= size:
                return drawn[np.sort(first)[:size]]
            more = len(drawn)

    def _any(self, size: int) -> NDArray[np.int64]:
        return self._draw.choice(len(self._ids), size, replace=False)

    def _head_query(self) -> str:
        rank = int(np.searchsorted(self._head_cdf, self._draw.random(), side="right"))
        return self._head[rank]

    def _new_query(self) -> str:
        """Words of the file in an order that was not sent yet; one more word until it is new."""
        words = int(self._draw.choice(self._lengths))
        text = " ".join(self._words[i] for i in self._draw.integers(len(self._words), size=words))
        while text in self._sent:
            text += " " + self._words[int(self._draw.integers(len(self._words)))]
        self._sent.add(text)
        return text


def read_ids(catalogue: Path) -> list[str]:
    """The `product_id` column of a CSV file."""
    return _column(catalogue, "product_id")


def read_queries(path: Path) -> list[str]:
    """The `query` column of a CSV file, or one query per line of any other; each once."""
    if path.suffix == ".csv":
        lines = _column(path, "query")
    else:
        lines = path.read_text(encoding="utf-8").splitlines()
    return list(dict.fromkeys(line for line in lines if line.strip()))


def _column(path: Path, name: str) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if name not in header:
            raise ValueError(f"{path}: expected a column {name}, got {', '.join(header)}")
        position = header.index(name)
        return [row[position] for row in rows]


def _zipf_cdf(size: int) -> NDArray[np.float64]:
    """Cumulative share of ranks 1..size, float64 [size]; the last is above any draw."""
    weights = 1.0 / np.arange(1, size + 1) ** ZIPF_EXPONENT
    cdf: NDArray[np.float64] = np.cumsum(weights) / weights.sum()
    cdf[-1] = 1.0
    return cdf
