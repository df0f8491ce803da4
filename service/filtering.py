"""What `/filter` keeps: a pure function of scores, threshold and the caller's list."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.coverage import could_not_score


@dataclass(frozen=True, slots=True)
class Page:
    """Kept and removed candidates as positions into the caller's list, intp, in answer order."""

    kept: NDArray[np.intp]
    removed: NDArray[np.intp]
    passed_through: bool


def ordered(
    n: int, sort_values: NDArray[np.float64] | None, order: Literal["asc", "desc"]
) -> NDArray[np.intp]:
    """Positions 0..n-1 in answer order: the caller's, or by sort value [n], stable, NaN last."""
    if sort_values is None:
        return np.arange(n)
    # Negated rather than reversed: equal values keep the caller's order; NaN sorts last either way.
    return np.argsort(sort_values if order == "asc" else -sort_values, kind="stable")


def filter_page(
    scores: NDArray[np.float32],
    codes: NDArray[np.uint8],
    positions: NDArray[np.intp],
    threshold: float,
    min_keep: int,
    missing: Literal["keep", "drop", "last"],
) -> Page:
    """Drops candidates whose calibrated score lies below the threshold; `>=` keeps.

    Args:
        scores: calibrated, float32 [n], NaN = not scored.
        codes: why, uint8 [n] (service.coverage).
        positions: answer order.
        threshold: compared in float32, the precision in which scores are answered: a score that is
            read from `/score` and sent back as the threshold keeps its product.
        min_keep: the best-scored of the removed come back, in place, until so many are kept.
        missing: what happens to products that have no good row.

    A list that could not be scored in time is passed through whole: half a filter would drop
    products by where they stood in the list.
    """
    if could_not_score(codes):
        return Page(positions, positions[:0], passed_through=True)
    unknown = np.isnan(scores)
    keep = scores >= np.float32(threshold)
    if missing != "drop":
        keep |= unknown
    short = min(min_keep, len(scores)) - int(keep.sum())
    if short > 0:
        keep[_best_removed(scores, keep, positions, short)] = True
    kept = positions[keep[positions]]
    if missing == "last":
        kept = np.concatenate([kept[~unknown[kept]], kept[unknown[kept]]])
    return Page(kept, positions[~keep[positions]], passed_through=False)


def _best_removed(
    scores: NDArray[np.float32], keep: NDArray[np.bool_], positions: NDArray[np.intp], short: int
) -> NDArray[np.intp]:
    """The `short` best-scored removed candidates; unscored ones last, ties in answer order."""
    removed = positions[~keep[positions]]
    best = np.argsort(-np.nan_to_num(scores[removed], nan=-1.0), kind="stable")[:short]
    return removed[best]
