"""Weighted metrics are the metrics of written-out resamples, and intervals cover what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluation import metrics, weighted
from evaluation.errors import UndefinedMetric
from evaluation.resampling import Interval, Resampling, Sampled, Statistic

SCORES = st.sampled_from([-1.0, 0.0, 0.5, 0.75, 2.0])  # few, so that ties are common
GRADES = st.integers(0, 3)


@st.composite
def weighted_pairs(
    draw: st.DrawFn,
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64], dict[str, int]]:
    """Queries, grades and scores of pairs, and how often each query is drawn."""
    pairs = draw(
        st.lists(st.tuples(st.sampled_from("abcd"), GRADES, SCORES), min_size=1, max_size=12)
    )
    queries, grades, scores = zip(*pairs, strict=True)
    times = {query: draw(st.integers(0, 3), label=query) for query in sorted(set(queries))}
    return list(queries), np.array(grades, dtype=float), np.array(scores), times


def written_out(
    queries: list[str], times: dict[str, int]
) -> tuple[list[str], NDArray[np.intp], NDArray[np.float64]]:
    """The resample as pairs of renamed queries, and the weights [1, n] that stand for it."""
    names, rows = [], []
    for row, query in enumerate(queries):
        for copy in range(times[query]):
            names.append(f"{query}{copy}")
            rows.append(row)
    weights = np.array([[float(times[query]) for query in queries]])
    return names, np.array(rows, dtype=np.intp), weights


def same(got: float, expected: float | None) -> bool:
    return np.isnan(got) if expected is None else got == pytest.approx(expected)


@given(weighted_pairs())
def test_weights_stand_for_a_written_out_resample(
    drawn: tuple[list[str], NDArray[np.float64], NDArray[np.float64], dict[str, int]],
) -> None:
    queries, grades, scores, times = drawn
    labels = grades >= 2
    names, rows, weights = written_out(queries, times)
    other = grades * 0.3 + scores

    def expected(metric: str) -> float | None:
        try:
            if metric == "ndcg":
                return metrics.ndcg(names, grades[rows], scores[rows]).value
            if metric == "pearson":
                return metrics.pearson(other[rows], scores[rows])
            return float(getattr(metrics, metric)(labels[rows], scores[rows]))
        except (UndefinedMetric, ValueError):
            return None

    statistics: dict[str, Statistic] = {
        "roc_auc": weighted.roc_auc(labels, scores),
        "neg_pr_auc": weighted.neg_pr_auc(labels, scores),
        "ndcg": weighted.ndcg(queries, grades, scores),
        "pearson": weighted.pearson(other, scores),
    }
    for metric, statistic in statistics.items():
        got = float(statistic(weights)[0])
        assert same(got, expected(metric)), (metric, got, expected(metric))
    if len(rows):
        assert weighted.mean(scores)(weights)[0] == pytest.approx(scores[rows].mean())
        assert weighted.variance(scores)(weights)[0] == pytest.approx(scores[rows].var(), abs=1e-12)


def binormal(
    generator: np.random.Generator, queries: int, each: int
) -> tuple[list[str], NDArray[np.bool_], NDArray[np.float64]]:
    """Pairs whose ROC-AUC is Phi(1 / sqrt(2)) = 0.76 in the long run."""
    labels = generator.random(queries * each) < 0.4
    scores = generator.normal(size=len(labels)) + labels
    return [f"q{pair // each}" for pair in range(len(labels))], labels, scores


def auc_interval(
    queries: list[str], labels: NDArray[np.bool_], scores: NDArray[np.float64], seed: int = 0
) -> Interval:
    resampling = Resampling(queries, resamples=200, seed=seed)
    found = resampling.samples({"auc": weighted.roc_auc(labels, scores)})["auc"].interval()
    assert found is not None
    return found


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(1)
    truth = 0.760250
    inside = 0
    for seed in range(200):
        found = auc_interval(*binormal(generator, 60, 4), seed=seed)
        assert found.low < found.value < found.high
        inside += found.low <= truth <= found.high
    assert 0.90 <= inside / 200 <= 0.985  # 0.95 of 200 has a standard deviation of 0.015


def test_repeating_every_pair_of_a_query_tells_nothing_new() -> None:
    queries, labels, scores = binormal(np.random.default_rng(2), 50, 4)
    once = auc_interval(queries, labels, scores)
    tenfold = auc_interval(queries * 10, np.tile(labels, 10), np.tile(scores, 10))
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))


def test_neither_order_nor_a_second_use_changes_an_interval() -> None:
    queries, labels, scores = binormal(np.random.default_rng(3), 40, 5)
    shuffled = np.random.default_rng(4).permutation(len(labels))
    first = auc_interval(queries, labels, scores)
    moved = auc_interval([queries[row] for row in shuffled], labels[shuffled], scores[shuffled])
    assert (moved.low, moved.high) == pytest.approx((first.low, first.high))
    assert auc_interval(queries, labels, scores) == first
    assert auc_interval(queries, labels, scores, seed=1) != first


def test_many_chunks_are_one_set_of_resamples() -> None:
    queries, labels, scores = binormal(np.random.default_rng(5), 300, 200)  # 8 resamples at a time
    resampling = Resampling(queries, resamples=20)
    sampled = resampling.samples({"auc": weighted.roc_auc(labels, scores)})["auc"]
    assert sampled.resampled.shape == (20,)
    assert len(set(sampled.resampled.tolist())) == 20
    assert sampled.value == pytest.approx(metrics.roc_auc(labels, scores))


def test_paired_figures_are_surer_than_either() -> None:
    generator = np.random.default_rng(6)
    queries, labels, scores = binormal(generator, 200, 5)
    better = scores + 0.1 * labels + generator.normal(0, 0.1, len(scores))
    found = Resampling(queries, resamples=400).samples(
        {"worse": weighted.roc_auc(labels, scores), "better": weighted.roc_auc(labels, better)}
    )
    single = found["better"].interval()
    gain = found["better"].minus(found["worse"]).interval()
    ratio = found["better"].over(found["worse"]).interval()
    assert single is not None
    assert gain is not None
    assert ratio is not None
    assert gain.value == pytest.approx(found["better"].value - found["worse"].value)
    assert ratio.value == pytest.approx(found["better"].value / found["worse"].value)
    assert gain.high - gain.low < (single.high - single.low) / 2
    assert gain.low > 0
    assert ratio.low > 1


def test_figures_of_different_resamples_are_not_paired() -> None:
    queries, labels, scores = binormal(np.random.default_rng(7), 20, 4)
    statistic = {"auc": weighted.roc_auc(labels, scores)}
    one, two = (Resampling(queries, resamples=50).samples(statistic)["auc"] for _ in range(2))
    with pytest.raises(ValueError, match="one Resampling"):
        one.minus(two)
    with pytest.raises(ValueError, match="one Resampling"):
        one.over(two)


def test_too_few_queries_have_no_interval() -> None:
    labels, scores = np.array([True, False]), np.array([0.9, 0.1])
    resampling = Resampling(["a", "b"], resamples=200)  # half of the resamples have one class
    sampled = resampling.samples({"auc": weighted.roc_auc(labels, scores)})["auc"]
    assert sampled.value == 1.0
    assert 60 < np.isnan(sampled.resampled).sum() < 140
    assert sampled.interval() is None


def test_one_query_has_no_interval() -> None:
    """All its resamples are alike, and an interval of no width would look like certainty."""
    labels, scores = np.array([True, False]), np.array([0.9, 0.1])
    sampled = Resampling(["a", "a"], resamples=200).samples(
        {"auc": weighted.roc_auc(labels, scores)}
    )["auc"]
    assert (sampled.value, sampled.interval()) == (1.0, None)


def test_a_few_undefined_resamples_are_left_out() -> None:
    resampling = Resampling(["a", "b"], resamples=100)
    values = np.linspace(0, 1, 100)
    values[:5] = np.nan
    found = Sampled(0.5, values, resampling).interval()
    assert found is not None
    assert found.low > values[5]
    values[5] = np.nan
    assert Sampled(0.5, values, resampling).interval() is None
    assert Sampled(np.nan, np.ones(100), resampling).interval() is None


def test_a_ratio_to_nothing_has_no_value() -> None:
    resampling = Resampling(["a", "b"], resamples=10)
    one, nothing = (Sampled(value, np.full(10, value), resampling) for value in (1.0, 0.0))
    assert one.over(nothing).interval() is None


def test_arguments_that_are_refused() -> None:
    with pytest.raises(ValueError, match="got 0 pairs"):
        Resampling([])
    with pytest.raises(ValueError, match="0 resamples"):
        Resampling(["a"], resamples=0)
    with pytest.raises(ValueError, match=r"1 NaN"):
        weighted.roc_auc(np.array([True, False]), np.array([0.1, np.nan]))
    with pytest.raises(ValueError, match=r"\[2\] and \[3\]"):
        weighted.neg_pr_auc(np.array([True, False]), np.array([0.1, 0.2, 0.3]))
