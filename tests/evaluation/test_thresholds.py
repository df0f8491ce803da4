"""Targets: read from text, met on the pairs, by the threshold that gives most."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.errors import EvaluationError, NoCleanSeparation, UndefinedMetric
from evaluation.metrics import confusion
from evaluation.thresholds import MIN_KEPT, Target, parse_target, target_threshold


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("recall=0.99", Target("recall", 0.99)),
        ("precision = 1", Target("precision", 1.0)),
        ("keep=.8", Target("keep", 0.8)),
    ],
)
def test_targets_are_read_and_written(text: str, target: Target) -> None:
    assert parse_target(text) == target
    assert parse_target(str(target)) == target


@pytest.mark.parametrize(
    "text", ["", "recall", "recall=", "recall=0", "recall=1.01", "recall=nan", "f1=0.5", "0.9"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(EvaluationError, match=r"expected a target such as recall=0\.99"):
        parse_target(text)


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.8])),
        min_size=MIN_KEPT,
        max_size=3 * MIN_KEPT,
    ).filter(lambda pairs: any(label for label, _ in pairs)),
    st.sampled_from([0.3, 0.5, 0.9, 0.95, 1.0]),
)
def test_thresholds_are_those_of_a_search_over_all(
    pairs: list[tuple[bool, float]], share: float
) -> None:
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score for _, score in pairs], dtype=np.float32)
    every = sorted(set(scores.tolist()))
    found = {threshold: confusion(labels, scores, threshold) for threshold in every}
    kept = {each: f.true_positives + f.false_positives for each, f in found.items()}

    recalling = [each for each in every if (found[each].recall or 0) >= share - 1e-9]
    assert target_threshold(Target("recall", share), labels, scores) == max(recalling)
    keeping = [each for each in every if kept[each] >= share * len(pairs) - 1e-9]
    assert target_threshold(Target("keep", share), labels, scores) == max(keeping)
    precise = [
        each
        for each in every
        if kept[each] >= MIN_KEPT and (found[each].precision or 0) >= share - 1e-9
    ]
    if precise:
        assert target_threshold(Target("precision", share), labels, scores) == min(precise)
    else:
        with pytest.raises(NoCleanSeparation, match="is reached at no threshold"):
            target_threshold(Target("precision", share), labels, scores)


def test_a_precision_out_of_reach_says_what_is_in_reach() -> None:
    labels = np.array([True, True, True, False] * 25)
    scores = np.linspace(1, 0, 100, dtype=np.float32)
    with pytest.raises(NoCleanSeparation, match=r"precision=0\.9 .* best precision is 0\.774.*31"):
        target_threshold(Target("precision", 0.9), labels, scores)


def test_precision_of_a_handful_is_not_believed() -> None:
    labels = np.ones(MIN_KEPT - 1, dtype=np.bool_)
    with pytest.raises(NoCleanSeparation, match="keeps 30 pairs, and there are 29: judge more"):
        target_threshold(Target("precision", 0.5), labels, np.ones(29, dtype=np.float32))


def test_recall_needs_a_relevant_pair() -> None:
    with pytest.raises(UndefinedMetric, match="no pair is relevant"):
        target_threshold(
            Target("recall", 0.9), np.zeros(3, dtype=np.bool_), np.zeros(3, dtype=np.float32)
        )
