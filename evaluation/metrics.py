"""Metrics over judged pairs: arrays in, numbers out. No files and no models here.

Shapes: n judged pairs; `labels` bool [n], true = relevant; `scores` float [n], higher = more
relevant, finite or infinite but never NaN. Every function raises ValueError where its arrays don't
fit together or hold NaN, EvaluationError for grades without a gain, and UndefinedMetric where the
metric has no value for the data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError, UndefinedMetric

Labels = NDArray[np.bool_]
Floats = NDArray[np.floating]

MAX_GRADE = 60  # 2^grade must stay exact in a float64


@dataclass(frozen=True)
class Ndcg:
    """Mean nDCG@k over `queries` queries; `left_out` more had no product of positive relevance."""

    value: float
    queries: int
    left_out: int


@dataclass(frozen=True)
class Confusion:
    """Counts at one threshold and what follows from them; None where the denominator is 0."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    accuracy: float
    precision: float | None
    recall: float | None
    f1: float | None


def roc_auc(labels: Labels, scores: Floats) -> float:
    """Area under the ROC curve: P(a relevant pair outscores an irrelevant one), ties as half."""
    _check_both_classes(labels, scores)
    positives = int(labels.sum())
    negatives = len(labels) - positives
    wins = _average_ranks(scores)[labels].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))


def neg_pr_auc(labels: Labels, scores: Floats) -> float:
    """Average precision of finding the irrelevant pairs, lowest score first.

    ReprBERT's Neg PR-AUC (KDD 2022). AP = sum_k (R_k - R_{k-1}) P_k over the distinct scores; pairs
    of equal score enter together. A random order gives `negative_share`: report the two together.
    """
    _check_both_classes(labels, scores)
    order = np.argsort(scores, kind="stable")
    ends = block_ends(scores[order])
    found = np.cumsum(~labels[order])[ends - 1]
    gained = np.diff(found, prepend=0) / found[-1]
    return float((gained * found / ends).sum())


def negative_share(labels: Labels) -> float:
    """Share of irrelevant pairs: the Neg PR-AUC of a random order."""
    _check_labels(labels)
    return float(1 - labels.mean())


def ndcg(queries: Sequence[str], relevance: Floats, scores: Floats, k: int = 10) -> Ndcg:
    """Mean nDCG@k over queries, with gain 2^relevance - 1 and discount 1 / log2(rank + 1).

    Pairs of equal score share the mean of their gains, which is the expectation over all their
    orders. Queries without a positive relevance have no nDCG: they are left out and counted.

    Args:
        queries: n query texts or ids; pairs of one query need not stand together.
        relevance: float [n], grades from 0 to MAX_GRADE.
        scores: float [n].
        k: ranks that count, from 1 up.
    """
    by_query = ndcg_by_query(queries, relevance, scores, k)
    values = [value for value in by_query.values() if value is not None]
    if not values:
        raise UndefinedMetric(
            "nDCG needs a query with a relevance above 0: "
            f"none of the {len(by_query)} queries has one"
        )
    return Ndcg(float(np.mean(values)), len(values), len(by_query) - len(values))


def ndcg_by_query(
    queries: Sequence[str], relevance: Floats, scores: Floats, k: int = 10
) -> dict[str, float | None]:
    """nDCG@k of every query, as `ndcg` has it; None where no product has a positive relevance."""
    _check_pair("relevance", relevance, scores)
    if len(queries) != len(scores):
        raise ValueError(f"expected one query per score: got {len(queries)} and {len(scores)}")
    if k < 1:
        raise ValueError(f"expected k of at least 1, got {k}")
    check_grades(relevance)
    gains = np.exp2(relevance.astype(np.float64)) - 1
    rows: dict[str, list[int]] = {}
    for row, query in enumerate(queries):
        rows.setdefault(query, []).append(row)
    return {
        query: _query_ndcg(gains[members], scores[members], k) if gains[members].any() else None
        for query, members in rows.items()
    }


def check_grades(relevance: Floats) -> None:
    """Refuses grades that have no gain, 2^grade - 1; n >= 1.

    Raises:
        EvaluationError: one is negative, or 2^grade is no longer exact.
    """
    least, most = float(relevance.min()), float(relevance.max())
    if least < 0 or most > MAX_GRADE:
        raise EvaluationError(
            f"expected grades from 0 to {MAX_GRADE}, whose gain is 2^grade - 1, got {least:g} to "
            f"{most:g}: shift or map them, such as 0 to 100 onto 0 to 4"
        )


def confusion(labels: Labels, scores: Floats, threshold: float) -> Confusion:
    """What happens if every pair with score >= threshold is called relevant."""
    _check_labels(labels)
    _check_pair("labels", labels, scores)
    if np.isnan(threshold):
        raise ValueError("expected a number as threshold, got NaN")
    called = scores >= threshold
    tp, fp = int((called & labels).sum()), int((called & ~labels).sum())
    fn, tn = int((~called & labels).sum()), int((~called & ~labels).sum())
    return Confusion(
        true_positives=tp,
        false_positives=fp,
        true_negatives=tn,
        false_negatives=fn,
        accuracy=(tp + tn) / len(labels),
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        f1=_ratio(2 * tp, 2 * tp + fp + fn),
    )


def pearson(a: Floats, b: Floats) -> float:
    """Linear correlation of two float [n], n >= 2; both must be finite and vary."""
    _check_pair("a", a, b)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("correlation needs finite values: got an infinity")
    if (a == a[0]).all() or (b == b[0]).all():
        raise UndefinedMetric("correlation needs values that vary: at least one side is constant")
    x, y = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (a, b))
    cosine = (x / np.linalg.norm(x)) @ (y / np.linalg.norm(y))
    return float(np.clip(cosine, -1, 1))


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation of two float [n]: Pearson's of their average ranks."""
    _check_pair("a", a, b)
    return pearson(_average_ranks(a), _average_ranks(b))


def decisions_changed(before: Floats, after: Floats) -> float:
    """Share of pairs that a threshold decides differently by `after`: mean over every threshold.

    A pair's thresholds are the scores before of all others, so none has to be chosen, and any
    increasing score scale gives the same share; its own would call every rounding a change. A pair
    is kept from score >= threshold: it changes where one is above the lower of its two scores, not
    the higher. One pair alone has no threshold: 0.
    """
    _check_pair("before", before, after)
    lower, higher = np.sort(np.minimum(before, after)), np.sort(np.maximum(before, after))
    changed = (np.searchsorted(lower, before) - np.searchsorted(higher, before)).sum()
    by_own = (after < before).sum()
    return float((changed - by_own) / max(1, len(before) * (len(before) - 1)))


def _query_ndcg(gains: NDArray[np.float64], scores: Floats, k: int) -> float:
    discounts = np.zeros(len(gains))
    discounts[:k] = 1 / np.log2(np.arange(2, min(k, len(gains)) + 2))
    order = np.argsort(-scores, kind="stable")
    ends = block_ends(scores[order])
    sizes = np.diff(ends, prepend=0)
    means = np.add.reduceat(gains[order], ends - sizes) / sizes
    best = np.sort(gains)[::-1] @ discounts
    return float(np.repeat(means, sizes) @ discounts / best)


def block_ends(ordered: Floats) -> NDArray[np.intp]:
    """One past the last index of every run of equal values."""
    return np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(ordered))


def _average_ranks(values: Floats) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    order = np.argsort(values, kind="stable")
    ends = block_ends(values[order])
    sizes = np.diff(ends, prepend=0)
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(ends - (sizes - 1) / 2, sizes)
    return ranks


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _check_both_classes(labels: Labels, scores: Floats) -> None:
    _check_labels(labels)
    _check_pair("labels", labels, scores)
    if labels.all() or not labels.any():
        raise UndefinedMetric(
            f"expected relevant and irrelevant pairs, got {int(labels.sum())} relevant of "
            f"{len(labels)}: check the threshold that makes labels of grades, or judge more pairs"
        )


def _check_labels(labels: Labels) -> None:
    if labels.ndim != 1 or labels.dtype != np.bool_ or not len(labels):
        raise ValueError(
            f"labels must be a non-empty bool [n], got {labels.dtype} {list(labels.shape)}: "
            "compare grades with a threshold first"
        )


def _check_pair(name: str, other: NDArray[np.generic], scores: Floats) -> None:
    """Same non-empty length; no NaN on either side."""
    if scores.ndim != 1 or scores.shape != other.shape or not len(scores):
        raise ValueError(
            f"expected two non-empty arrays of one length, got {name} {list(other.shape)} "
            f"and {list(scores.shape)}"
        )
    for values in (other, scores):
        missing = int(np.isnan(values.astype(np.float64)).sum())
        if missing:
            raise ValueError(
                f"{missing} of {len(values)} values are NaN (not scored): leave those pairs out "
                "and report how many"
            )
