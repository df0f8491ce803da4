"""How near a student is to its teacher, whatever the judgements say.

As BERT2DNN (ICDM 2020) compares them on 1,000 cases: ROC-AUC, accuracy and F1 against the teacher's
labels, Pearson correlation, mean and variance of both. There a label is a probability from 0.5; a
teacher of graded targets says where a grade lies on its scale, and calls relevant what lies above
the place of the lowest relevant grade.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from evaluation import weighted
from evaluation.resampling import Interval, Resampling, Statistic


class Agreement(BaseModel):
    """A figure is None where it has no value: the teacher calls all pairs alike, too few queries.

    ROC-AUC, accuracy and F1 hold the student against the teacher's labels: probabilities from
    `relevant_from`, of both. `constant_accuracy` is that of calling all pairs what the teacher
    calls most of them. Pearson takes both as numbers. Variances are of the population.
    """

    model_config = ConfigDict(frozen=True)

    student: str
    teacher: str
    pairs: int
    relevant_from: float
    roc_auc: Interval | None
    accuracy: Interval | None
    constant_accuracy: Interval | None
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
    relevant_from: float = 0.5,
) -> Agreement:
    """Agreement of two named probabilities, float32 [n] each.

    relevant_from: the probability from which either calls a pair relevant

    Raises:
        ValueError: the probabilities are not all in [0, 1], or not n of them.
    """
    (student_name, a), (teacher_name, b) = student, teacher
    if a.shape != b.shape or not all(((part >= 0) & (part <= 1)).all() for part in (a, b)):
        raise ValueError(
            f"expected two probabilities [n] from 0 to 1, got {student_name} {list(a.shape)} from "
            f"{a.min()} to {a.max()} and {teacher_name} {list(b.shape)} from {b.min()} to {b.max()}"
        )
    called, labels = a >= relevant_from, b >= relevant_from
    most = labels.mean() >= 0.5  # what the teacher calls most pairs
    statistics: dict[str, Statistic] = {
        "roc_auc": weighted.roc_auc(labels, a),
        "accuracy": weighted.mean((called == labels).astype(np.float64)),
        "constant_accuracy": weighted.mean((labels == most).astype(np.float64)),
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
        relevant_from=relevant_from,
        roc_auc=found["roc_auc"],
        accuracy=found["accuracy"],
        constant_accuracy=found["constant_accuracy"],
        f1=found["f1"],
        pearson=found["pearson"],
        student_mean=found["student_mean"],
        teacher_mean=found["teacher_mean"],
        student_variance=found["student_variance"],
        teacher_variance=found["teacher_variance"],
    )
