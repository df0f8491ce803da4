"""Points of curves: their areas are the metrics, their thresholds do what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import metrics
from evaluation.curves import precision_recall_points, roc_points, threshold_curve

PAIRS = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])), min_size=2, max_size=40
).filter(lambda pairs: len({label for label, _ in pairs}) == 2)


@given(PAIRS)
def test_areas_are_the_metrics(pairs: list[tuple[bool, float]]) -> None:
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score for _, score in pairs])
    false_rate, true_rate = roc_points(labels, scores)
    assert np.trapezoid(true_rate, false_rate) == pytest.approx(metrics.roc_auc(labels, scores))
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)
    recall, precision = precision_recall_points(labels, scores, of_irrelevant=True)
    area = np.diff(recall, prepend=0) @ precision
    assert area == pytest.approx(metrics.neg_pr_auc(labels, scores))
    recall, precision = precision_recall_points(labels, scores, of_irrelevant=False)
    assert np.diff(recall, prepend=0) @ precision == pytest.approx(
        metrics.neg_pr_auc(~labels, -scores)
    )
    assert recall[-1] == 1
    assert precision[-1] == pytest.approx(labels.mean())


@given(PAIRS)
def test_every_threshold_does_what_the_curve_says(pairs: list[tuple[bool, float]]) -> None:
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score for _, score in pairs])
    curve = threshold_curve(labels, scores)
    assert curve.thresholds.tolist() == sorted(set(scores.tolist()))
    for place, threshold in enumerate(curve.thresholds):
        found = metrics.confusion(labels, scores, threshold)
        kept = found.true_positives + found.false_positives
        assert curve.precision[place] == pytest.approx(found.precision)
        assert curve.recall[place] == pytest.approx(found.recall)
        assert curve.kept[place] == pytest.approx(kept / len(pairs))
        assert curve.pairs_kept[place] == kept
