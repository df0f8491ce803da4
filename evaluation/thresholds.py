"""Thresholds of the sort modes, chosen on judged pairs by what a user asks of them."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError, NoCleanSeparation, UndefinedMetric

# A price-sorted page shows its cheapest product first, however irrelevant, so it is filtered
# hardest; the default order already knows relevance. The floors are Winnow's own: the papers give
# none.
RECALL_FLOORS = {"default": 0.99, "sale": 0.95, "price": 0.9}

MIN_KEPT = 30  # pairs above a threshold before its precision is believed

Measure = Literal["precision", "recall", "keep"]


@dataclass(frozen=True)
class Target:
    """What a threshold has to do.

    precision: at least `share` of the kept pairs are relevant; of those thresholds, the lowest.
    recall: at least `share` of the relevant pairs are kept; of those thresholds, the highest.
    keep: at least `share` of all pairs are kept; of those thresholds, the highest.
    """

    measure: Measure
    share: float  # in (0, 1]

    def __str__(self) -> str:
        """As `parse_target` reads it."""
        return f"{self.measure}={self.share:g}"


def parse_target(text: str) -> Target:
    """Reads "recall=0.99", "precision=0.95" or "keep=0.8".

    Raises:
        EvaluationError: anything else, or a share outside (0, 1].
    """
    expected = (
        f"expected a target such as recall=0.99 (one of {', '.join(get_args(Measure))}, and a "
        f"share above 0 and up to 1), got {text!r}"
    )
    name, _, number = text.partition("=")
    measure = next((known for known in get_args(Measure) if known == name.strip()), None)
    try:
        share = float(number)
    except ValueError as error:
        raise EvaluationError(expected) from error
    if measure is None or not 0.0 < share <= 1.0:
        raise EvaluationError(expected)
    return Target(measure, share)


def target_threshold(
    target: Target, labels: NDArray[np.bool_], scores: NDArray[np.float32]
) -> float:
    """The threshold (kept: score >= threshold) that meets the target on n judged pairs.

    Args:
        target: what it has to do.
        labels: bool [n].
        scores: calibrated, float32 [n]; the threshold is one of them.

    Raises:
        NoCleanSeparation: no threshold that keeps MIN_KEPT pairs has the precision asked for.
        UndefinedMetric: a recall is asked for, and no pair is relevant.
    """
    if target.measure == "recall":
        return recall_threshold(labels, scores, target.share)
    if target.measure == "keep":
        return _highest_keeping(scores, target.share)
    return _precision_threshold(labels, scores, target)


def recall_threshold(labels: NDArray[np.bool_], scores: NDArray[np.float32], floor: float) -> float:
    """The highest threshold that keeps (score >= threshold) at least `floor` of the relevant pairs.

    Args:
        labels: bool [n].
        scores: calibrated, float32 [n].
        floor: share of the relevant pairs, in (0, 1].

    Raises:
        UndefinedMetric: no pair is relevant.
    """
    if not labels.any():
        raise UndefinedMetric("no pair is relevant: a recall floor chooses no threshold")
    return _highest_keeping(scores[labels], floor)


def sort_thresholds(labels: NDArray[np.bool_], scores: NDArray[np.float32]) -> dict[str, float]:
    """One threshold per sort mode, by RECALL_FLOORS."""
    return {sort: recall_threshold(labels, scores, floor) for sort, floor in RECALL_FLOORS.items()}


def _highest_keeping(scores: NDArray[np.float32], share: float) -> float:
    ordered = np.sort(scores)
    may_lose = int(np.floor((1.0 - share) * len(ordered) + 1e-9))
    return float(ordered[min(may_lose, len(ordered) - 1)])


def _precision_threshold(
    labels: NDArray[np.bool_], scores: NDArray[np.float32], target: Target
) -> float:
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    kept = np.arange(1, len(order) + 1)
    precision = np.cumsum(labels[order]) / kept
    # Equal scores are kept or removed together: only the last of them is a threshold's count.
    possible = np.append(descending[1:] != descending[:-1], [True]) & (kept >= MIN_KEPT)
    meets = np.flatnonzero(possible & (precision >= target.share - 1e-9))
    if meets.size:
        return float(descending[meets[-1]])
    if not possible.any():
        raise NoCleanSeparation(
            f"no clean separation: {target} needs a threshold that keeps {MIN_KEPT} pairs, and "
            f"there are {len(scores)}: judge more"
        )
    best = np.flatnonzero(possible)[np.argmax(precision[possible])]
    raise NoCleanSeparation(
        f"no clean separation: {target} is reached at no threshold; the best precision is "
        f"{precision[best]:.3f}, at {descending[best]:.3f}, which keeps {kept[best]} of "
        f"{len(scores)} pairs: ask for less, or train a better student"
    )
