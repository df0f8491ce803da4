"""Metrics of `evaluation.metrics` under weights, for resampling: arrays in, a Statistic out.

A pair of weight 2 counts as two pairs, one of weight 0 not at all, so equal weights give the
metric itself. What does not depend on the weights, such as the order of the scores, is worked out
once. A resample without a value (one class only, nothing kept) gives NaN.

Shapes: n pairs; `labels` bool [n]; `scores` float [n] without NaN; `weights` [b, n].
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics import Floats, Labels, block_ends, ndcg_by_query
from evaluation.resampling import Statistic, Weights, divided


def roc_auc(labels: Labels, scores: Floats) -> Statistic:
    """`metrics.roc_auc`."""
    _check(labels, scores)
    order = np.argsort(scores, kind="stable")
    last = block_ends(scores[order]) - 1
    relevant = labels[order].astype(np.float64)

    def value(weights: Weights) -> NDArray[np.float64]:
        drawn = weights[:, order]
        positives = np.cumsum(drawn * relevant, axis=1)[:, last]
        negatives = np.cumsum(drawn, axis=1)[:, last] - positives
        # A block of equal scores wins against the negatives below it and half of its own.
        outscored = negatives - np.diff(negatives, axis=1, prepend=0) / 2
        won = (np.diff(positives, axis=1, prepend=0) * outscored).sum(axis=1)
        return divided(won, positives[:, -1] * negatives[:, -1])

    return value


def neg_pr_auc(labels: Labels, scores: Floats) -> Statistic:
    """`metrics.neg_pr_auc`."""
    _check(labels, scores)
    order = np.argsort(scores, kind="stable")
    last = block_ends(scores[order]) - 1
    irrelevant = (~labels[order]).astype(np.float64)

    def value(weights: Weights) -> NDArray[np.float64]:
        drawn = weights[:, order]
        called = np.cumsum(drawn, axis=1)[:, last]
        found = np.cumsum(drawn * irrelevant, axis=1)[:, last]
        precision = found / np.maximum(called, 1)  # nothing called yet: nothing gained either
        area = (np.diff(found, axis=1, prepend=0) * precision).sum(axis=1)
        both = (found[:, -1] > 0) & (found[:, -1] < called[:, -1])
        return divided(area, np.where(both, found[:, -1], 0.0))

    return value


def ndcg(queries: Sequence[str], relevance: Floats, scores: Floats, k: int = 10) -> Statistic:
    """`metrics.ndcg`; the weights must be the same for all pairs of a query."""
    values = ndcg_by_query(queries, relevance, scores, k)
    first = {query: row for row, query in reversed(list(enumerate(queries)))}
    counted = [query for query, value in values.items() if value is not None]
    rows = np.array([first[query] for query in counted], dtype=np.intp)
    gains = np.array([values[query] for query in counted], dtype=np.float64)

    def value(weights: Weights) -> NDArray[np.float64]:
        drawn = weights[:, rows]
        return divided(drawn @ gains, drawn.sum(axis=1))

    return value


def ratio(part: Floats, whole: Floats) -> Statistic:
    """Sum of part [n] over sum of whole [n].

    A precision: kept relevant pairs over kept pairs. A mean: values over ones.
    """
    above, below = part.astype(np.float64), whole.astype(np.float64)

    def value(weights: Weights) -> NDArray[np.float64]:
        return divided(weights @ above, weights @ below)

    return value


def mean(values: Floats) -> Statistic:
    """Mean of values [n]."""
    return ratio(values, np.ones(len(values)))


def variance(values: Floats) -> Statistic:
    """Population variance of values [n]."""
    centred = values.astype(np.float64) - values.mean(dtype=np.float64)
    first, second = mean(centred), mean(centred**2)
    return lambda weights: second(weights) - first(weights) ** 2


def pearson(a: Floats, b: Floats) -> Statistic:
    """`metrics.pearson`; NaN where a resample holds one value only."""
    x, y = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (a, b))
    products, mean_x, mean_y = mean(x * y), mean(x), mean(y)
    variance_x, variance_y = variance(x), variance(y)

    def value(weights: Weights) -> NDArray[np.float64]:
        together = products(weights) - mean_x(weights) * mean_y(weights)
        # Below this a difference of two sums is rounding, not variation.
        spread = [
            np.where(part > 1e-12 * max(scale, 1e-300), part, 0.0)
            for part, scale in (
                (variance_x(weights), float(np.mean(x**2))),
                (variance_y(weights), float(np.mean(y**2))),
            )
        ]
        return np.clip(divided(together, np.sqrt(spread[0] * spread[1])), -1, 1)

    return value


def _check(labels: Labels, scores: Floats) -> None:
    if labels.dtype != np.bool_ or labels.shape != scores.shape or np.isnan(scores).any():
        raise ValueError(
            f"expected labels bool [n] and scores [n] without NaN, got {labels.dtype} "
            f"{list(labels.shape)} and {list(scores.shape)} with {int(np.isnan(scores).sum())} NaN"
        )
