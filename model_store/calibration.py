"""From a student's raw probabilities to calibrated ones: sigmoid(slope * logit + intercept).

`evaluation.calibration` fits the two numbers on judged pairs; a manifest holds them.
"""

import numpy as np
from numpy.typing import NDArray

from model_store.manifest import Calibration

_CLIP = 1e-12


def inside(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities [n] in float64, kept off 0 and 1, which have no finite logarithm."""
    return np.clip(probabilities.astype(np.float64), _CLIP, 1.0 - _CLIP)


def log_odds(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logit of probabilities, float64 [n]: finite for 0 and 1 too."""
    clipped = inside(probabilities)
    logit: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return logit


def calibrated(raw: NDArray[np.float32], calibration: Calibration) -> NDArray[np.float32]:
    """Scores float32 [n] on the calibrated scale; the identity leaves them as they are."""
    if calibration.slope == 1.0 and calibration.intercept == 0.0:
        return raw
    z = calibration.slope * log_odds(raw) + calibration.intercept
    scores: NDArray[np.float32] = (1.0 / (1.0 + np.exp(-z))).astype(np.float32)
    return scores
