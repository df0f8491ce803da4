"""Points of the curves that a report draws: arrays in, arrays out. No plots here.

Shapes: n judged pairs; `labels` bool [n]; `scores` float [n]; m distinct scores.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics import Floats, Labels, block_ends
from evaluation.resampling import Interval

Points = NDArray[np.float64]


@dataclass(frozen=True)
class CurvePoint:
    """One measured point: what was varied, and the figure with its interval."""

    x: float
    y: Interval


@dataclass(frozen=True)
class Curve:
    """A named row of points, such as one student's ROC-AUC by temperature."""

    name: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class CurvePlot:
    """Curves over one thing that was varied, and levels to hold them against."""

    name: str  # of the file, without .png
    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    levels: tuple[tuple[str, float], ...] = ()  # horizontal lines, such as the teacher's figure
    log_x: bool = False


@dataclass(frozen=True)
class ThresholdCurve:
    """What every distinct threshold does, from the lowest up; float64 [m] each."""

    thresholds: Points
    precision: Points
    recall: Points
    kept: Points  # share of all pairs
    pairs_kept: Points


def roc_points(labels: Labels, scores: Floats) -> tuple[Points, Points]:
    """False and true positive rate from (0, 0) to (1, 1), float64 [m + 1] each."""
    false_positives, true_positives = _found(labels, scores)
    return (
        np.append(0.0, false_positives / false_positives[-1]),
        np.append(0.0, true_positives / true_positives[-1]),
    )


def precision_recall_points(
    labels: Labels, scores: Floats, *, of_irrelevant: bool
) -> tuple[Points, Points]:
    """Recall and precision of finding one class, float64 [m] each.

    Relevant pairs are looked for from the highest score down, irrelevant ones from the lowest up;
    the area under the latter is Neg PR-AUC.
    """
    wrong, right = _found(~labels, -scores) if of_irrelevant else _found(labels, scores)
    return right / right[-1], right / (right + wrong)


def threshold_curve(labels: Labels, scores: Floats) -> ThresholdCurve:
    """Precision, recall and share kept (score >= threshold) at every distinct score."""
    irrelevant, relevant = (part[::-1] for part in _found(labels, scores))
    return ThresholdCurve(
        thresholds=np.unique(scores).astype(np.float64),
        precision=relevant / (relevant + irrelevant),
        recall=relevant / relevant[0],
        kept=(relevant + irrelevant) / len(scores),
        pairs_kept=relevant + irrelevant,
    )


def _found(labels: Labels, scores: Floats) -> tuple[Points, Points]:
    """Negatives and positives at or above every distinct score, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    last = block_ends(scores[order]) - 1
    positives = np.cumsum(labels[order])[last].astype(np.float64)
    return last + 1 - positives, positives
