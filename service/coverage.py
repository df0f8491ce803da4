"""Why a candidate has no score: one code per candidate, and the coverage block of every answer."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

SCORED, MISSING_PRODUCT, CORRUPT_ROW, DEADLINE, STORE_ERROR, SHED = range(6)
REASONS = ("scored", "missing_product", "corrupt_row", "deadline", "store_error", "shed")


class Coverage(TypedDict):
    """`percent` is of the candidates requested; an empty request is fully covered."""

    requested: int
    scored: int
    percent: float
    full: bool
    degraded: dict[str, int]


def coverage(codes: NDArray[np.uint8]) -> Coverage:
    """Counts of codes uint8 [n], one per candidate."""
    counts = np.bincount(codes, minlength=len(REASONS)).tolist()
    requested, scored = len(codes), counts[SCORED]
    return {
        "requested": requested,
        "scored": scored,
        "percent": round(100.0 * scored / requested, 2) if requested else 100.0,
        "full": scored == requested,
        "degraded": {
            reason: count for reason, count in zip(REASONS[1:], counts[1:], strict=True) if count
        },
    }


def could_not_score(codes: NDArray[np.uint8]) -> bool:
    """Whether any candidate went unscored for a reason of ours, and not for want of a good row."""
    return bool((codes >= DEADLINE).any())
