"""Metrics against known values and against plain definitions written out here."""

import itertools
import math
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluation import metrics
from evaluation.errors import EvaluationError, UndefinedMetric

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]

# Few distinct scores, so that ties are common.
SCORES = st.sampled_from([-2.5, -1.0, 0.0, 0.25, 0.5, 0.75, 1.0, 7.0])
PAIRS = st.lists(st.tuples(st.booleans(), SCORES), min_size=2, max_size=40)
BOTH_CLASSES = PAIRS.filter(lambda pairs: len({label for label, _ in pairs}) == 2)


def arrays(pairs: list[tuple[bool, float]]) -> tuple[Labels, Floats]:
    return np.array([label for label, _ in pairs]), np.array([score for _, score in pairs])


def bools(*values: int) -> Labels:
    return np.array(values, dtype=bool)


def floats(*values: float) -> Floats:
    return np.array(values, dtype=float)


@given(BOTH_CLASSES)
def test_roc_auc_is_the_share_of_pairs_in_order(pairs: list[tuple[bool, float]]) -> None:
    wins = [
        float(a > b) + float(a == b) / 2
        for (positive, a), (other, b) in itertools.product(pairs, pairs)
        if positive and not other
    ]
    assert metrics.roc_auc(*arrays(pairs)) == pytest.approx(sum(wins) / len(wins))


@given(BOTH_CLASSES)
def test_neg_pr_auc_is_the_step_sum_over_thresholds(pairs: list[tuple[bool, float]]) -> None:
    irrelevant = sum(not label for label, _ in pairs)
    area, recall_before = 0.0, 0.0
    for threshold in sorted({score for _, score in pairs}):
        called = [label for label, score in pairs if score <= threshold]
        found = called.count(False)
        area += (found / irrelevant - recall_before) * found / len(called)
        recall_before = found / irrelevant
    assert metrics.neg_pr_auc(*arrays(pairs)) == pytest.approx(area)


@given(BOTH_CLASSES)
def test_ranking_metrics_see_order_only(pairs: list[tuple[bool, float]]) -> None:
    labels, scores = arrays(pairs)
    stretched = np.exp(scores) * 3 + 1
    assert metrics.roc_auc(labels, stretched) == pytest.approx(metrics.roc_auc(labels, scores))
    assert metrics.roc_auc(labels, -scores) == pytest.approx(1 - metrics.roc_auc(labels, scores))
    assert metrics.neg_pr_auc(labels, stretched) == pytest.approx(
        metrics.neg_pr_auc(labels, scores)
    )


def test_known_ranking_values() -> None:
    labels, scores = bools(0, 0, 1, 1), floats(0.1, 0.4, 0.35, 0.8)
    assert metrics.roc_auc(labels, scores) == 0.75
    assert metrics.neg_pr_auc(labels, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.roc_auc(labels, floats(1, 1, 1, 1)) == 0.5
    assert metrics.neg_pr_auc(labels, floats(1, 1, 1, 1)) == metrics.negative_share(labels) == 0.5
    assert metrics.roc_auc(labels, floats(-math.inf, 0, 1, math.inf)) == 1
    assert metrics.neg_pr_auc(labels, floats(0, 1, 2, 3)) == 1
    assert metrics.negative_share(bools(1, 0, 0, 0, 0)) == pytest.approx(0.8)


def brute_ndcg(grades: list[int], scores: list[float], k: int) -> float:
    """Mean DCG over all orders that the scores allow, over the best DCG."""

    def dcg(order: list[int]) -> float:
        return sum(
            (2.0**grade - 1) / math.log2(rank + 1) for rank, grade in enumerate(order[:k], 1)
        )

    orders = [
        [grades[i] for i in order]
        for order in itertools.permutations(range(len(grades)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    return sum(map(dcg, orders)) / len(orders) / dcg(sorted(grades, reverse=True))


@given(
    st.dictionaries(
        st.sampled_from(["red shoe", "鞋", "q3"]),
        st.lists(st.tuples(st.integers(0, 3), SCORES), min_size=1, max_size=5),
        min_size=1,
    ),
    st.integers(1, 6),
    st.randoms(use_true_random=False),
)
def test_ndcg_is_the_mean_over_queries_and_tied_orders(
    judged: dict[str, list[tuple[int, float]]], k: int, dice: Random
) -> None:
    rows = [(query, grade, score) for query, pairs in judged.items() for grade, score in pairs]
    dice.shuffle(rows)
    queries = [query for query, _, _ in rows]
    relevance = np.array([grade for _, grade, _ in rows], dtype=float)
    scores = np.array([score for _, _, score in rows])
    expected = [
        brute_ndcg([grade for grade, _ in pairs], [score for _, score in pairs], k)
        for pairs in judged.values()
        if any(grade for grade, _ in pairs)
    ]
    if not expected:
        with pytest.raises(UndefinedMetric, match="relevance above 0"):
            metrics.ndcg(queries, relevance, scores, k)
        return
    got = metrics.ndcg(queries, relevance, scores, k)
    assert got.value == pytest.approx(sum(expected) / len(expected))
    assert (got.queries, got.left_out) == (len(expected), len(judged) - len(expected))


def test_known_ndcg() -> None:
    got = metrics.ndcg(["a"] * 4, floats(0, 3, 2, 0), floats(4, 3, 2, 1), k=3)
    gained = 7 / math.log2(3) + 3 / 2
    assert got.value == pytest.approx(gained / (7 + 3 / math.log2(3)))
    assert metrics.ndcg(["a", "a"], floats(0, 1), floats(2, 1), k=1).value == 0


@pytest.mark.parametrize(
    ("relevance", "k", "message"),
    [
        (floats(1, math.nan), 10, "1 of 2 values are NaN"),
        (floats(1, 1), 0, "k of at least 1"),
        (floats(1), 10, "one length"),
    ],
)
def test_ndcg_refuses(relevance: Floats, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.ndcg(["a", "a"], relevance, floats(1, 2), k)


@pytest.mark.parametrize("relevance", [floats(1, -1), floats(1, math.inf), floats(1, 61)])
def test_grades_without_a_gain_are_refused(relevance: Floats) -> None:
    with pytest.raises(EvaluationError, match=r"grades from 0 to 60, whose gain .*: shift or map"):
        metrics.ndcg(["a", "a"], relevance, floats(1, 2))


def test_ndcg_wants_a_query_for_every_score() -> None:
    with pytest.raises(ValueError, match="one query per score: got 1 and 2"):
        metrics.ndcg(["a"], floats(1, 1), floats(1, 2))


@given(PAIRS, SCORES)
def test_confusion_counts(pairs: list[tuple[bool, float]], threshold: float) -> None:
    got = metrics.confusion(*arrays(pairs), threshold)
    called = [(score >= threshold, label) for label, score in pairs]
    assert got.true_positives == called.count((True, True))
    assert got.false_positives == called.count((True, False))
    assert got.false_negatives == called.count((False, True))
    assert got.true_negatives == called.count((False, False))
    assert got.accuracy == sum(call == label for call, label in called) / len(pairs)
    if got.precision and got.recall:
        harmonic = 2 * got.precision * got.recall / (got.precision + got.recall)
        assert got.f1 == pytest.approx(harmonic)


def test_confusion_threshold_is_inclusive_and_undefined_is_none() -> None:
    labels, scores = bools(1, 1, 0), floats(0.5, 0.4, 0.1)
    inclusive = metrics.confusion(labels, scores, 0.5)
    assert (inclusive.precision, inclusive.recall) == (1.0, 0.5)
    nothing_called = metrics.confusion(labels, scores, 0.9)
    assert (nothing_called.precision, nothing_called.recall, nothing_called.f1) == (None, 0.0, 0.0)
    nothing_relevant = metrics.confusion(bools(0, 0, 0), scores, 0.9)
    assert nothing_relevant.recall is nothing_relevant.f1 is nothing_relevant.precision is None
    assert nothing_relevant.accuracy == 1
    with pytest.raises(ValueError, match="NaN"):
        metrics.confusion(labels, scores, math.nan)


VARYING = st.lists(
    st.tuples(st.integers(-1000, 1000), st.integers(-1000, 1000)), min_size=2, max_size=30
).filter(lambda pairs: len({a for a, _ in pairs}) > 1 and len({b for _, b in pairs}) > 1)


def brute_pearson(a: list[float], b: list[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    products = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    squares = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return products / math.sqrt(squares)


def brute_ranks(values: list[float]) -> list[float]:
    return [sum(other < x for other in values) + (values.count(x) + 1) / 2 for x in values]


@given(VARYING)
def test_correlations(pairs: list[tuple[int, int]]) -> None:
    a, b = [float(x) for x, _ in pairs], [float(y) for _, y in pairs]
    assert metrics.pearson(floats(*a), floats(*b)) == pytest.approx(brute_pearson(a, b), abs=1e-9)
    assert metrics.spearman(floats(*a), floats(*b)) == pytest.approx(
        brute_pearson(brute_ranks(a), brute_ranks(b)), abs=1e-9
    )


@given(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=40))
def test_decisions_changed_is_the_mean_over_thresholds(pairs: list[tuple[float, float]]) -> None:
    before, after = floats(*(a for a, _ in pairs)), floats(*(b for _, b in pairs))
    changed = [
        (before[pair] >= before[other]) != (after[pair] >= before[other])
        for pair, other in itertools.permutations(range(len(pairs)), 2)
    ]
    expected = np.mean(changed) if changed else 0
    assert metrics.decisions_changed(before, after) == pytest.approx(expected)


def test_decisions_changed_of_known_scores() -> None:
    scores = floats(0.1, 0.2, 0.3, 0.4)
    assert metrics.decisions_changed(scores, scores) == 0
    assert metrics.decisions_changed(scores, scores + 0.05) == 0  # no threshold lies between
    assert metrics.decisions_changed(scores, scores - 0.05) == 0  # but its own
    assert metrics.decisions_changed(scores, scores + 0.1) == 3 / 12  # all but the highest
    with pytest.raises(ValueError, match="of one length"):
        metrics.decisions_changed(scores, scores[:2])


def test_known_correlations() -> None:
    rising = floats(1, 2, 3, 4)
    assert metrics.pearson(rising, 5 - 2 * rising) == pytest.approx(-1)
    assert metrics.spearman(rising, np.exp(rising)) == pytest.approx(1)
    assert metrics.spearman(rising, floats(0, 1, 2, math.inf)) == pytest.approx(1)
    with pytest.raises(ValueError, match="infinity"):
        metrics.pearson(rising, floats(0, 1, 2, math.inf))


@pytest.mark.parametrize("correlation", [metrics.pearson, metrics.spearman])
@pytest.mark.parametrize("constant", [floats(0.1, 0.1, 0.1), floats(7)])
def test_constant_values_have_no_correlation(
    correlation: Callable[[Floats, Floats], float], constant: Floats
) -> None:
    with pytest.raises(UndefinedMetric, match="vary"):
        correlation(constant, np.arange(len(constant), dtype=float))


RANKING = [metrics.roc_auc, metrics.neg_pr_auc]
OVER_LABELS = [*RANKING, lambda labels, scores: metrics.confusion(labels, scores, 0.5)]


@pytest.mark.parametrize("metric", RANKING)
@pytest.mark.parametrize("labels", [bools(1, 1, 1), bools(0, 0, 0)])
def test_labels_of_one_class_have_no_ranking(
    metric: Callable[[Labels, Floats], float], labels: Labels
) -> None:
    with pytest.raises(UndefinedMetric, match=f"got {labels.sum()} relevant of 3"):
        metric(labels, floats(1, 2, 3))


@pytest.mark.parametrize("metric", OVER_LABELS)
@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        (bools(1, 0, 1), floats(1, math.nan, math.nan), "2 of 3 values are NaN.*leave those"),
        (bools(1, 0, 1), floats(1, 2), "one length"),
        (bools(), floats(), "non-empty"),
        (floats(1, 0, 1), floats(1, 2, 3), "bool.*float64.*threshold"),
        (bools(1, 0, 1)[None], floats(1, 2, 3), "bool"),
        (bools(1, 0), floats(1, 2)[None], "one length"),
    ],
)
def test_arrays_that_are_refused(
    metric: Callable[[Labels, Floats], object], labels: Labels, scores: Floats, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        metric(labels, scores)
