"""Confidence intervals: figures on resamples of the queries. No files and no models here.

The pairs of one query were judged and scored together, so they say less than as many pairs of
different queries: what is drawn, with replacement, is queries with all their pairs. A resample is
never written out: it gives every pair a weight (how often its query was drawn), and a metric in
weighted form (`evaluation.weighted`) takes many resamples at once.

Intervals are percentile intervals (Efron & Tibshirani, An Introduction to the Bootstrap, ch. 13).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

RESAMPLES = 1_000
LEVEL = 0.95
MAX_UNDEFINED = 0.05  # of the resamples; with more, the others no longer stand for all
_WEIGHTS = 500_000  # held at once: what fits in a core's cache

Weights = NDArray[np.float64]
"""[b, n]: how often each of n pairs counts in each of b resamples."""

Statistic = Callable[[Weights], NDArray[np.float64]]
"""A figure of n pairs under weights [b, n], float64 [b]; NaN where it has no value."""


class Interval(BaseModel):
    """A figure on all pairs, between the ends of its LEVEL confidence interval."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """As tables show it."""
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Sampled:
    """A figure on all pairs and on every resample of one `Resampling`."""

    value: float  # NaN: it has none
    resampled: NDArray[np.float64]  # [resamples]; NaN where a resample has none
    drawn_by: "Resampling"

    def interval(self) -> Interval | None:
        """None where the figure, or more than MAX_UNDEFINED of its resamples, has no value.

        Of a single query too: all its resamples are alike, which says nothing of other queries.
        """
        defined = self.resampled[~np.isnan(self.resampled)]
        undefined = len(self.resampled) - len(defined)
        if np.isnan(self.value) or self.drawn_by.queries < 2:
            return None
        if undefined > MAX_UNDEFINED * len(self.resampled):
            return None
        low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(value=self.value, low=float(low), high=float(high))

    def minus(self, other: "Sampled") -> "Sampled":
        """Paired difference: both figures are taken on the same resamples.

        Raises:
            ValueError: the two were not drawn by one Resampling.
        """
        self._check_paired(other)
        return Sampled(
            self.value - other.value, self.resampled - other.resampled, drawn_by=self.drawn_by
        )

    def over(self, other: "Sampled") -> "Sampled":
        """Paired ratio; no value where the other figure is 0.

        Raises:
            ValueError: the two were not drawn by one Resampling.
        """
        self._check_paired(other)
        value = np.array([self.value]), np.array([other.value])
        return Sampled(
            float(divided(*value)[0]),
            divided(self.resampled, other.resampled),
            drawn_by=self.drawn_by,
        )

    def _check_paired(self, other: "Sampled") -> None:
        if other.drawn_by is not self.drawn_by:
            raise ValueError(
                "figures of different resamples can't be paired: take both from one Resampling"
            )


class Resampling:
    """Draws of the queries of n pairs: the same on every use, and whatever the pairs' order."""

    def __init__(
        self, queries: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
    ) -> None:
        """Takes the query of each of n pairs; pairs of one query need not stand together.

        Raises:
            ValueError: no pair, or no resample.
        """
        if not queries or resamples < 1:
            raise ValueError(
                f"expected pairs and resamples, got {len(queries)} pairs, {resamples} resamples"
            )
        names = sorted(set(queries))
        position = {name: row for row, name in enumerate(names)}
        self._query_of = np.array([position[query] for query in queries])
        self.queries = len(names)
        self.resamples = resamples
        self.seed = seed

    def samples(self, statistics: Mapping[str, Statistic]) -> dict[str, Sampled]:
        """Every statistic, by its name, on all pairs and on every resample."""
        every = np.ones((1, len(self._query_of)))
        values = {name: float(statistic(every)[0]) for name, statistic in statistics.items()}
        parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in statistics}
        for weights in self._weights():
            for name, statistic in statistics.items():
                parts[name].append(statistic(weights))
        return {name: Sampled(values[name], np.concatenate(parts[name]), self) for name in parts}

    def intervals(self, statistics: Mapping[str, Statistic]) -> dict[str, Interval | None]:
        """Every statistic, by its name, with its interval; None as `Sampled.interval`."""
        return {name: found.interval() for name, found in self.samples(statistics).items()}

    def _weights(self) -> Iterator[Weights]:
        """All resamples, some at a time."""
        generator = np.random.default_rng(self.seed)
        pairs, queries = len(self._query_of), self.queries
        step = max(1, _WEIGHTS // pairs)
        for start in range(0, self.resamples, step):
            rows = min(step, self.resamples - start)
            drawn = generator.integers(queries, size=(rows, queries))
            drawn += np.arange(rows)[:, None] * queries
            times = np.bincount(drawn.ravel(), minlength=rows * queries).reshape(rows, queries)
            yield times.astype(np.float64)[:, self._query_of]


def divided(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quotient; NaN where the whole is 0."""
    quotient = np.full(part.shape, np.nan)
    np.divide(part, whole, out=quotient, where=whole != 0)
    return quotient
