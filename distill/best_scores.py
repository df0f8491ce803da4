"""The best of many scores, of which most are 0 or far behind."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_STRIDE = 16  # of the scores that suggest a threshold


def best_of(scores: NDArray[np.floating[Any]], depth: int) -> NDArray[np.int64]:
    """Positions of the `depth` best scores above 0, best first, int64 [at most depth].

    Equal scores are ordered by position, so that every machine gives the same list.
    """
    found = _candidates(scores, depth)
    if len(found) > depth:
        place = len(found) - depth
        least = np.partition(scores[found], place)[place]
        found = found[scores[found] >= least]
    order = np.lexsort((found, -scores[found]))
    return found[order[:depth]].astype(np.int64)


def _candidates(scores: NDArray[np.floating[Any]], depth: int) -> NDArray[np.int64]:
    """Positions of the `depth` best scores above 0 and of few others, ascending.

    A threshold that every 16th score suggests spares looking closely at the rest; where fewer than
    `depth` reach it, it was too high, and all scores above 0 are taken.
    """
    sample = scores[::_STRIDE]
    place = len(sample) - 1 - 4 * depth // _STRIDE
    if place > 0:
        least = np.partition(sample, place)[place]
        if least > 0 and np.count_nonzero(found := scores >= least) >= depth:
            return np.flatnonzero(found)
    return np.flatnonzero(scores > 0)
