"""What share of a request's products a cache holds, where popularity is Zipf's as in `traffic`.

Ranks r = 1..N are drawn with weights 1/r until n different ones are found, so rank r is in a list
with p_r = 1 - exp(-t / r), where t is such that they sum to n: the most popular product is in
nearly every list, but in none of them twice. A cache of C rows that forgets what was used least
recently has rank r with 1 - exp(-p_r T), where these sum to C (Che's approximation).
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_EXACT = 4_096  # ranks that stand for themselves
_BINS = 4_000  # geometric ones of all the others
_HALVINGS = 200


def hit_ratio(products: float, candidates: float, rows: float) -> float:
    """Share of the candidates that a cache of so many rows holds, once it is full."""
    if rows >= products:
        return 1.0
    if rows <= 0:
        return 0.0
    weight, asked = _asked(products, candidates)

    def held(lists: float) -> NDArray[np.float64]:
        return -np.expm1(-asked * lists)

    lists = _solved(lambda lists: float(weight @ held(lists)), rows)
    return float(weight @ (asked * held(lists))) / min(candidates, products)


def rows_needed(products: float, candidates: float, ratio: float) -> float:
    """Rows of a cache that reaches a hit ratio."""
    if ratio >= 1.0:
        return products
    return _solved(lambda rows: hit_ratio(products, candidates, rows), ratio, products)


@lru_cache(maxsize=16)
def _asked(products: float, candidates: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many ranks a bin stands for, and how probably one of them is in a list; float64 [bins]"""
    exact = np.arange(1, min(products, _EXACT) + 1)
    edges = np.geomspace(_EXACT + 0.5, max(products, _EXACT) + 0.5, _BINS + 1)
    rank = np.concatenate([exact, np.sqrt(edges[:-1] * edges[1:])])
    weight = np.concatenate([np.ones(len(exact)), np.diff(edges)])

    def probability(draws: float) -> NDArray[np.float64]:
        return -np.expm1(-draws / rank)

    n = min(candidates, 0.999 * products)
    draws = _solved(lambda draws: float(weight @ probability(draws)), n)
    return weight, probability(draws)


def _solved(
    rising: Callable[[float], float], target: float, most: float = 1e30, least: float = 1e-9
) -> float:
    """Where a function that rises reaches a value."""
    for _ in range(_HALVINGS):
        middle = (least * most) ** 0.5
        if most / least < 1 + 1e-9:
            break
        if rising(middle) < target:
            least = middle
        else:
            most = middle
    return most
