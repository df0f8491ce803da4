"""How near a student is to its teacher, whatever the judgements say.

As BERT2DNN (ICDM 2020) compares them on 1,000 cases: ROC-AUC, accuracy and F1 against the teacher's
labels (teacher probability >= 0.5), Pearson correlation, mean and variance of both.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from evaluation import weighted
from evaluation.resampling import Interval, Resampling, Statistic


class Agreement(BaseModel):
    """A figure is None where it has no value: the teacher calls all pairs alike, too few queries.

    ROC-AUC, accuracy and F1 hold the student against the teacher's labels at 0.5; Pearson takes
    both as numbers. Variances are of the population.
    """

    model_config = ConfigDict(frozen=True)

    student: str
    teacher: str
    pairs: int
    roc_auc: Interval | None
    accuracy: Interval | None
    f1: Interval | None
    pearson: Interval | None
    student_mean: Interval | None
    teacher_mean: Interval | None
    student_variance: Interval | None
    teacher_variance: Interval | None


def agreement(
    student: tuple[str, NDArray[np.float32]],
    teacher: tuple[str, NDArray[np.float32]],
    resampling: Resampling,
) -> Agreement:
    """Agreement of two named probabilities, float32 [n] each.

    Raises:
        ValueError: the probabilities are not all in [0, 1], or not n of them.
    """
    (student_name, a), (teacher_name, b) = student, teacher
    if a.shape != b.shape or not all(((part >= 0) & (part <= 1)).all() for part in (a, b)):
        raise ValueError(
            f"expected two probabilities [n] from 0 to 1, got {student_name} {list(a.shape)} from "
            f"{a.min()} to {a.max()} and {teacher_name} {list(b.shape)} from {b.min()} to {b.max()}"
        )
    called, labels = a >= 0.5, b >= 0.5
    statistics: dict[str, Statistic] = {
        "roc_auc": weighted.roc_auc(labels, a),
        "accuracy": weighted.mean((called == labels).astype(np.float64)),
        "f1": weighted.ratio(
            2.0 * (called & labels), called.astype(np.float64) + labels.astype(np.float64)
        ),
        "pearson": weighted.pearson(a, b),
        "student_mean": weighted.mean(a),
        "teacher_mean": weighted.mean(b),
        "student_variance": weighted.variance(a),
        "teacher_variance": weighted.variance(b),
    }
    found = resampling.intervals(statistics)
    return Agreement(
        student=student_name,
        teacher=teacher_name,
        pairs=len(a),
        roc_auc=found["roc_auc"],
        accuracy=found["accuracy"],
        f1=found["f1"],
        pearson=found["pearson"],
        student_mean=found["student_mean"],
        teacher_mean=found["teacher_mean"],
        student_variance=found["student_variance"],
        teacher_variance=found["teacher_variance"],
    )
