"""Losses against numbers worked out by hand and sums written out in plain Python."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.losses import (
    list_distillation,
    log_odds,
    logistic_pair,
    margin_pair,
    soft_and_hard_cross_entropy,
    soft_cross_entropy,
)

LOGITS = st.lists(st.floats(-8, 8), min_size=1, max_size=6)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _cross_entropy(logit: float, target: float) -> float:
    score = _sigmoid(logit)
    return -(target * math.log(score) + (1 - target) * math.log(1 - score))


def test_soft_cross_entropy_by_hand() -> None:
    # -[.9 log .5 + .1 log .5] = log 2;  logit log 3 is a score of .75
    loss = soft_cross_entropy(torch.tensor([0.0, math.log(3)]), torch.tensor([0.9, 0.5]))
    by_hand = (math.log(2) - 0.5 * math.log(0.75) - 0.5 * math.log(0.25)) / 2
    assert loss.item() == pytest.approx(by_hand, abs=1e-6)


@given(LOGITS, st.floats(0, 1))
def test_no_logit_does_better_than_the_targets_own(logits: list[float], target: float) -> None:
    soft = torch.full((len(logits),), target)
    at_target = soft_cross_entropy(log_odds(soft), soft).item()
    assert at_target <= soft_cross_entropy(torch.tensor(logits), soft).item() + 1e-5


def test_soft_and_half_hard_by_hand() -> None:
    logits, soft, hard = [1.0, -0.5, 2.0], [0.8, 0.3, 0.6], [1.0, 0.0, 0.0]
    loss = soft_and_hard_cross_entropy(
        torch.tensor(logits), torch.tensor(soft), torch.tensor(hard), 0.5
    )
    by_hand = sum(
        _cross_entropy(s, y) + 0.5 * _cross_entropy(s, h)
        for s, y, h in zip(logits, soft, hard, strict=True)
    )
    assert loss.item() == pytest.approx(by_hand / 3, abs=1e-6)


def test_a_pair_without_a_human_label_has_the_teachers_alone() -> None:
    logits = torch.tensor([1.0, -0.5], requires_grad=True)
    soft, hard = torch.tensor([0.8, 0.3]), torch.tensor([float("nan"), 0.0])
    loss = soft_and_hard_cross_entropy(logits, soft, hard, 0.5)
    by_hand = _cross_entropy(1.0, 0.8) + _cross_entropy(-0.5, 0.3) + 0.5 * _cross_entropy(-0.5, 0.0)
    assert loss.item() == pytest.approx(by_hand / 2, abs=1e-6)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    # d/ds of a cross-entropy is (sigmoid(s) - y); the first pair has one term, the second two
    expected = [
        (_sigmoid(1.0) - 0.8) / 2,
        (_sigmoid(-0.5) - 0.3 + 0.5 * _sigmoid(-0.5)) / 2,
    ]
    assert logits.grad.tolist() == pytest.approx(expected, abs=1e-6)


def test_pair_losses_by_hand() -> None:
    better, worse = torch.tensor([2.0, 0.0]), torch.tensor([0.5, 1.0])
    logistic = (math.log(1 + math.exp(-1.5)) + math.log(1 + math.exp(1.0))) / 2
    assert logistic_pair(better, worse).item() == pytest.approx(logistic, abs=1e-6)
    # differences 1.5 and -1: the first is beyond a margin of 1, the second misses it by 2
    assert margin_pair(better, worse, 1.0).item() == pytest.approx(1.0)
    assert margin_pair(better, worse, 2.0).item() == pytest.approx((0.5 + 3.0) / 2)


def test_list_distillation_by_hand() -> None:
    # At tau = 2 the teacher has softmax(log 3, 0) = (.75, .25), the student (.5, .5).
    teacher = torch.tensor([[2 * math.log(3), 0.0, 99.0]])
    student = torch.tensor([[5.0, 5.0, float("nan")]])
    mask = torch.tensor([[True, True, False]])
    by_hand = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    loss = list_distillation(student, teacher, mask, temperature=2.0)
    assert loss.item() == pytest.approx(by_hand, abs=1e-6)


@given(LOGITS, LOGITS, st.floats(-5, 5), st.sampled_from([0.5, 1.0, 4.0]))
def test_list_distillation_against_plain_sums(
    student: list[float], teacher: list[float], shift: float, tau: float
) -> None:
    size = min(len(student), len(teacher))
    student, teacher = student[:size], teacher[:size]
    t, s = (
        [math.exp(x / tau) / sum(math.exp(y / tau) for y in logits) for x in logits]
        for logits in (teacher, student)
    )
    divergence = sum(a * math.log(a / b) for a, b in zip(t, s, strict=True))
    mask = torch.ones(1, size, dtype=torch.bool)
    for moved in (0.0, shift):  # a list's place on the scale doesn't matter
        loss = list_distillation(
            torch.tensor([student]) + moved, torch.tensor([teacher]), mask, tau
        )
        assert loss.item() == pytest.approx(divergence, abs=1e-4)


def test_lists_count_alike_whatever_their_length() -> None:
    teacher, student = torch.tensor([[1.0, 0.0, 0.0], [3.0, 1.0, 2.0]]), torch.zeros(2, 3)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    both = list_distillation(student, teacher, mask, 1.0)
    alone = [
        list_distillation(student[i : i + 1], teacher[i : i + 1], mask[i : i + 1], 1.0)
        for i in range(2)
    ]
    assert both.item() == pytest.approx((alone[0].item() + alone[1].item()) / 2, abs=1e-6)


def test_padding_sends_no_gradient() -> None:
    student = torch.tensor([[1.0, 2.0, float("inf")]], requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    loss = list_distillation(student, torch.tensor([[0.0, 1.0, 5.0]]), mask, 1.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert student.grad[0, 2] == 0.0


@given(st.floats(-12, 12))
def test_log_odds_turn_a_probability_back(logit: float) -> None:
    probability = torch.sigmoid(torch.tensor([logit], dtype=torch.float64)).float()
    assert log_odds(probability).item() == pytest.approx(logit, abs=2e-2, rel=1e-2)


def test_log_odds_stay_finite() -> None:
    assert log_odds(torch.tensor([0.0, 1.0])).isfinite().all()
