"""What calls answer with. Nothing here can be changed, and nothing needs numpy."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many candidates were scored, and why the others were not.

    degraded: reason -> candidates. The service's reasons are `missing_product`, `corrupt_row`,
        `deadline`, `store_error` and `shed`; `unavailable` is the client's own.
    """

    requested: int
    scored: int
    degraded: Mapping[str, int]

    @property
    def full(self) -> bool:
        """Whether every candidate was scored."""
        return self.scored == self.requested


@dataclass(frozen=True, slots=True)
class Scores:
    """Of `score`.

    scores: calibrated probabilities, float32 [n] aligned with the candidates, NaN = not scored;
        `numpy.asarray(scores)` takes them without a copy
    model, version: of the student that scored; None where nobody did
    reason: why these are no scores, where the service was unavailable; else None
    """

    scores: "array[float]"
    coverage: Coverage
    model: str | None = None
    version: str | None = None
    reason: str | None = None

    @property
    def fell_back(self) -> bool:
        """Whether the service was unavailable and nothing is scored."""
        return self.reason is not None

    def or_none(self) -> list[float | None]:
        """The scores as a list, None = not scored."""
        return [None if isnan(score) else score for score in self.scores]


@dataclass(frozen=True, slots=True)
class Filtered:
    """Of `filter`.

    kept, removed: product ids, in the caller's order or by `sort_values`
    threshold: that was applied; None where none was
    passed_through: nothing was removed, because the service could not score in time
    reason: why nothing was removed, where the service was unavailable; else None
    """

    kept: list[str]
    removed: list[str]
    coverage: Coverage
    threshold: float | None = None
    model: str | None = None
    version: str | None = None
    passed_through: bool = False
    reason: str | None = None

    @property
    def fell_back(self) -> bool:
        """Whether the service was unavailable and everything is kept."""
        return self.reason is not None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document's place among those that were handed in, and its score; None = not scored."""

    index: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Reranked:
    """Of `rerank`.

    results: the best first, without those that have no score; or the caller's order, all of them,
        where the service was unavailable
    reason: why it is the caller's order; else None
    """

    results: list[Ranked]
    coverage: Coverage
    model: str | None = None
    version: str | None = None
    reason: str | None = None

    @property
    def fell_back(self) -> bool:
        """Whether the service was unavailable and this is the caller's order."""
        return self.reason is not None
