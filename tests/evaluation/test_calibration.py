"""Platt scaling finds the scale that was hidden from it, and keeps every order."""

import numpy as np
import pytest

from evaluation.calibration import fit_platt
from evaluation.errors import UndefinedMetric
from evaluation.thresholds import recall_threshold, sort_thresholds


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.3, -0.8), (2.5, 1.0)])
def test_it_finds_the_scale_that_made_the_labels(slope: float, intercept: float) -> None:
    random = np.random.default_rng(3)
    logit = random.normal(0, 3, 200_000)
    truth = 1 / (1 + np.exp(-(slope * logit + intercept)))
    labels = random.random(len(logit)) < truth
    raw = (1 / (1 + np.exp(-logit))).astype(np.float32)
    found = fit_platt(labels, raw)
    np.testing.assert_allclose(found, (slope, intercept), rtol=0.05, atol=0.05)


def test_a_student_that_is_far_too_sure_is_calmed_down() -> None:
    labels = np.array([True, False] * 50)
    labels[:10] = ~labels[:10]  # a tenth is wrong
    raw = np.where(np.array([True, False] * 50), 0.999999, 0.000001).astype(np.float32)
    slope, intercept = fit_platt(labels, raw)
    logit = np.log(0.999999 / 0.000001)
    assert 1 / (1 + np.exp(-(slope * logit + intercept))) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("scores", [[0.0, 1.0], [0.9, 0.1]])
def test_the_saturated_and_the_separable_do_not_diverge(scores: list[float]) -> None:
    labels = np.array([scores[0] > scores[1], scores[1] > scores[0]] * 10)
    slope, intercept = fit_platt(labels, np.array(scores * 10, dtype=np.float32))
    assert 0 < slope < np.inf
    assert np.isfinite(intercept)


def test_a_student_that_ranks_backwards_has_no_clean_separation() -> None:
    labels = np.array([True, False] * 20)
    raw = np.array([0.2, 0.8] * 20, dtype=np.float32)
    with pytest.raises(UndefinedMetric, match="no clean separation"):
        fit_platt(labels, raw)


def test_one_class_cannot_be_calibrated() -> None:
    with pytest.raises(UndefinedMetric, match="relevant and irrelevant"):
        fit_platt(np.ones(5, dtype=np.bool_), np.full(5, 0.5, dtype=np.float32))


@pytest.mark.parametrize("floor", [0.5, 0.9, 0.95, 0.99, 1.0])
def test_a_recall_threshold_keeps_its_floor_and_is_the_highest_that_does(floor: float) -> None:
    random = np.random.default_rng(5)
    labels = random.random(1000) < 0.4
    scores = random.random(1000).astype(np.float32)
    threshold = recall_threshold(labels, scores, floor)
    kept = (scores[labels] >= np.float32(threshold)).mean()
    assert kept >= floor
    above = np.sort(scores[labels][scores[labels] > np.float32(threshold)])
    assert (scores[labels] >= above[0]).mean() < floor if above.size else True


def test_price_is_filtered_hardest_and_default_least() -> None:
    labels = np.arange(100) % 2 == 0
    chosen = sort_thresholds(labels, np.linspace(0, 1, 100, dtype=np.float32))
    assert chosen["default"] <= chosen["sale"] <= chosen["price"]


def test_without_a_relevant_pair_no_threshold_is_chosen() -> None:
    with pytest.raises(UndefinedMetric, match="no pair is relevant"):
        recall_threshold(np.zeros(3, dtype=np.bool_), np.zeros(3, dtype=np.float32), 0.9)
