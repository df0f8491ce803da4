"""Thresholds of the sort modes, chosen on validation pairs by the share of relevant pairs kept."""

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import UndefinedMetric

# A price-sorted page shows its cheapest product first, however irrelevant, so it is filtered
# hardest; the default order already knows relevance. The floors are Winnow's own: the papers give
# none.
RECALL_FLOORS = {"default": 0.99, "sale": 0.95, "price": 0.9}


def recall_threshold(labels: NDArray[np.bool_], scores: NDArray[np.float32], floor: float) -> float:
    """The highest threshold that keeps (score >= threshold) at least `floor` of the relevant pairs.

    Args:
        labels: bool [n].
        scores: calibrated, float32 [n].
        floor: share of the relevant pairs, in (0, 1].

    Raises:
        UndefinedMetric: no pair is relevant.
    """
    relevant = np.sort(scores[labels])
    if not relevant.size:
        raise UndefinedMetric("no pair is relevant: a recall floor chooses no threshold")
    may_lose = int(np.floor((1.0 - floor) * len(relevant) + 1e-9))
    return float(relevant[may_lose])


def sort_thresholds(labels: NDArray[np.bool_], scores: NDArray[np.float32]) -> dict[str, float]:
    """One threshold per sort mode, by RECALL_FLOORS."""
    return {sort: recall_threshold(labels, scores, floor) for sort, floor in RECALL_FLOORS.items()}
