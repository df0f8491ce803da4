"""Platt scaling: a student's probability made to mean what it says, by two numbers.

calibrated = sigmoid(slope * logit(raw) + intercept); Platt (1999), "Probabilistic outputs for
support vector machines", with its smoothed targets. Order, and so every ranking metric, stays.
"""

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import NoCleanSeparation, UndefinedMetric
from model_store.calibration import log_odds

_ITERATIONS = 100


def fit_platt(labels: NDArray[np.bool_], raw: NDArray[np.float32]) -> tuple[float, float]:
    """Slope and intercept that minimise the log loss on n judged pairs.

    Args:
        labels: bool [n].
        raw: the student's own probabilities, float32 [n].

    Raises:
        UndefinedMetric: one class only.
        NoCleanSeparation: raw scores that do not rise with relevance: no positive slope fits, so
            no threshold would mean anything.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        raise UndefinedMetric(
            f"expected relevant and irrelevant pairs to calibrate on, got {positives} relevant "
            f"of {len(labels)}"
        )
    x = np.stack([log_odds(raw), np.ones(len(raw))], axis=1)
    # Platt's targets: a class seen n times is never given more certainty than n pairs can show.
    target = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    weights = np.array([1.0, 0.0])
    for _ in range(_ITERATIONS):  # Newton's method on a convex loss of two parameters
        probability = 1.0 / (1.0 + np.exp(-np.clip(x @ weights, -500.0, 500.0)))
        gradient = x.T @ (probability - target)
        spread = probability * (1.0 - probability)
        step = np.linalg.solve((x * spread[:, None]).T @ x + 1e-9 * np.eye(2), gradient)
        # A full step can overshoot where the student is very sure: halve it until the loss falls.
        while (
            _loss(x, target, weights - step) > _loss(x, target, weights)
            and np.abs(step).max() > 1e-12
        ):
            step = step / 2
        weights = weights - step
        if np.abs(step).max() < 1e-10:
            break
    slope, intercept = (float(weight) for weight in weights)
    if slope <= 0.0:
        raise NoCleanSeparation(
            f"no clean separation: the best slope is {slope:.3g}, so relevant pairs do not score "
            "higher than others: train the student again"
        )
    return slope, intercept


def _loss(
    x: NDArray[np.float64], target: NDArray[np.float64], weights: NDArray[np.float64]
) -> float:
    z = x @ weights
    return float((np.logaddexp(0.0, z) - target * z).sum())
