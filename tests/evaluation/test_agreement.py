"""Student against teacher, by hand and at its edges."""

import numpy as np
import pytest

from evaluation.agreement import agreement
from evaluation.resampling import Interval, Resampling


def value(figure: Interval | None) -> float:
    assert figure is not None
    return figure.value


def test_figures_by_hand() -> None:
    student = np.array([0.9, 0.6, 0.4, 0.2, 0.7] * 40, dtype=np.float32)
    teacher = np.array([0.8, 0.5, 0.6, 0.1, 0.3] * 40, dtype=np.float32)
    queries = [f"q{pair // 5}" for pair in range(200)]
    found = agreement(("s", student), ("t", teacher), Resampling(queries, resamples=50))
    assert (found.student, found.teacher, found.pairs) == ("s", "t", 200)
    # The teacher's labels are 1 1 1 0 0 (0.5 counts as relevant), the student's 1 1 0 0 1.
    assert value(found.accuracy) == pytest.approx(3 / 5)
    assert value(found.constant_accuracy) == pytest.approx(3 / 5)
    assert value(found.f1) == pytest.approx(2 * 2 / (3 + 3))
    assert value(found.roc_auc) == pytest.approx(4 / 6)  # .9 and .6 and .4 against .2 and .7
    expected = np.corrcoef(student.astype(float), teacher.astype(float))[0, 1]
    assert value(found.pearson) == pytest.approx(expected)
    assert value(found.student_mean) == pytest.approx(student.mean())
    assert value(found.teacher_mean) == pytest.approx(teacher.mean())
    assert value(found.student_variance) == pytest.approx(student.var())
    assert value(found.teacher_variance) == pytest.approx(teacher.var())


def test_a_teacher_of_grades_calls_relevant_what_it_has_learned_as_such() -> None:
    """Of grades 1 to 3, relevant from 2.33: at 0.5 lies grade 2, which is irrelevant."""
    student = np.array([0.9, 0.62, 0.66, 0.2] * 40, dtype=np.float32)
    teacher = np.array([0.8, 0.6, 0.55, 0.1] * 40, dtype=np.float32)
    resampling = Resampling([f"q{pair // 4}" for pair in range(160)], resamples=50)
    found = agreement(("s", student), ("t", teacher), resampling, relevant_from=0.645)
    assert found.relevant_from == 0.645
    # The teacher's labels are 1 0 0 0, the student's 1 0 1 0; at 0.5 both say 1 1 1 0.
    assert value(found.accuracy) == pytest.approx(3 / 4)
    assert value(found.constant_accuracy) == pytest.approx(3 / 4)
    assert value(found.f1) == pytest.approx(2 * 1 / (2 + 1))
    assert value(found.roc_auc) == pytest.approx(1.0)
    at_half = agreement(("s", student), ("t", teacher), resampling)
    assert value(at_half.accuracy) == pytest.approx(1.0)


def test_a_teacher_of_one_mind_leaves_no_roc_auc() -> None:
    student = np.linspace(0, 1, 50, dtype=np.float32)
    teacher = np.full(50, 0.9, dtype=np.float32)
    resampling = Resampling([f"q{pair}" for pair in range(50)], resamples=50)
    found = agreement(("s", student), ("t", teacher), resampling)
    assert found.roc_auc is None
    assert found.pearson is None  # a constant correlates with nothing
    assert value(found.teacher_mean) == pytest.approx(0.9)


def test_logits_and_other_lengths_are_refused() -> None:
    resampling = Resampling(["a", "b"])
    half = np.array([0.5, 0.5], dtype=np.float32)
    with pytest.raises(ValueError, match="two probabilities"):
        agreement(("s", half), ("t", np.array([-2.0, 3.0], dtype=np.float32)), resampling)
    with pytest.raises(ValueError, match=r"\[2\].*\[3\]"):
        agreement(("s", half), ("t", np.full(3, 0.5, dtype=np.float32)), resampling)
