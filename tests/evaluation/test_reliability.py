"""Reliability and losses against numbers worked out by hand."""

import math

import numpy as np
import pytest

from evaluation.reliability import brier_scores, expected_losses, log_losses, reliability
from evaluation.resampling import Resampling


def test_bins_and_their_error_by_hand() -> None:
    labels = np.array([False, True, True, True, False] * 2)
    probabilities = np.array([0.05, 0.15, 0.15, 1.0, 0.9] * 2, dtype=np.float32)
    found = reliability(labels, probabilities, Resampling(["a"] * 5 + ["b"] * 5, resamples=20))
    assert [part.pairs for part in found.bins] == [2, 4, 0, 0, 0, 0, 0, 0, 0, 4]
    shares = [None if part.relevant is None else part.relevant.value for part in found.bins]
    assert shares[:3] == [0.0, 1.0, None]
    assert shares[9] == 0.5
    assert found.bins[9].mean_probability == pytest.approx(0.95)
    assert found.bins[2].mean_probability is None
    # |0 - .05| * 1/5 + |1 - .15| * 2/5 + |.5 - .95| * 2/5
    assert found.ece == pytest.approx(0.01 + 0.34 + 0.18)


def test_probabilities_that_mean_what_they_say_have_little_error() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.random(20_000).astype(np.float32)
    labels = generator.random(20_000) < probabilities
    resampling = Resampling([f"q{pair // 10}" for pair in range(20_000)], resamples=100)
    honest = reliability(labels, probabilities, resampling)
    assert honest.ece < 0.01
    boastful = reliability(labels, np.where(probabilities > 0.5, 0.99, 0.01), resampling)
    assert boastful.ece == pytest.approx(0.24, abs=0.02)
    inside = [
        part.relevant.low <= part.mean_probability <= part.relevant.high
        for part in honest.bins
        if part.relevant is not None and part.mean_probability is not None
    ]
    assert len(inside) == 10
    assert sum(inside) >= 8


def test_losses_by_hand() -> None:
    labels = np.array([True, False, True])
    probabilities = np.array([0.8, 0.25, 0.5], dtype=np.float32)
    expected = [-math.log(0.8), -math.log(0.75), -math.log(0.5)]
    assert log_losses(labels, probabilities).tolist() == pytest.approx(expected)
    assert brier_scores(labels, probabilities).tolist() == pytest.approx([0.04, 0.0625, 0.25])
    means = expected_losses(labels, probabilities, Resampling(["a", "b", "c"], resamples=10))
    assert means["log_loss"].value == pytest.approx(sum(expected) / 3)
    assert means["brier"].value == pytest.approx((0.04 + 0.0625 + 0.25) / 3)


def test_a_certain_mistake_costs_much_but_not_everything() -> None:
    found = log_losses(np.array([True, False]), np.array([0.0, 1.0], dtype=np.float32))
    assert np.isfinite(found).all()
    assert (found > 20).all()


def test_raw_scores_are_refused() -> None:
    labels, raw = np.array([True, False]), np.array([3.0, -1.0], dtype=np.float32)
    with pytest.raises(ValueError, match="probabilities from 0 to 1, got -1"):
        reliability(labels, raw, Resampling(["a", "b"]))
    with pytest.raises(ValueError, match="probabilities"):
        log_losses(labels, np.array([0.5, np.nan], dtype=np.float32))
