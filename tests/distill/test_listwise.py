"""Listwise losses against numbers made another way, and what padding must not change."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from distill.errors import TrainingRefused
from distill.listwise import (
    LISTWISE,
    approx_ndcg,
    listmle,
    listnet,
    mean_over_lists,
    ranknet,
)
from distill.query_lists import QueryLists

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

# Fixed tie-breaks: the place in the list.
LOSSES: dict[str, Loss] = {
    "ranknet": ranknet,
    "listnet": listnet,
    "listmle": lambda s, y, mask: listmle(s, y, mask, torch.arange(s.shape[1]).expand(s.shape) / 1),
    "approxndcg": approx_ndcg,
}


def _ranknet(s: list[float], y: list[float]) -> float:
    return sum(
        math.log(1 + math.exp(-(s[i] - s[j])))
        for i, j in itertools.permutations(range(len(s)), 2)
        if y[i] > y[j]
    )


def _listnet(s: list[float], y: list[float]) -> float:
    total_y, total_s = sum(map(math.exp, y)), sum(map(math.exp, s))
    terms = zip(s, y, strict=True)
    return -sum(math.exp(b) / total_y * math.log(math.exp(a) / total_s) for a, b in terms)


def _listmle(s: list[float], y: list[float]) -> float:
    order = sorted(range(len(s)), key=lambda i: (-y[i], i))
    return -sum(
        math.log(math.exp(s[i]) / sum(math.exp(s[j]) for j in order[k:]))
        for k, i in enumerate(order)
    )


def _approx_ndcg(s: list[float], y: list[float]) -> float:
    def rank(i: int) -> float:
        others = (j for j in range(len(s)) if j != i)
        return 1 + sum(1 / (1 + math.exp((s[i] - s[j]) / 0.1)) for j in others)

    best = sum((2**b - 1) / math.log2(2 + k) for k, b in enumerate(sorted(y, reverse=True)))
    return -sum((2**b - 1) / math.log2(1 + rank(i)) for i, b in enumerate(y)) / best


BY_HAND: dict[str, Callable[[list[float], list[float]], float]] = {
    "ranknet": _ranknet,
    "listnet": _listnet,
    "listmle": _listmle,
    "approxndcg": _approx_ndcg,
}

_LISTS = st.lists(
    st.tuples(st.floats(-3, 3, width=32), st.sampled_from([0.0, 0.5, 1.0, 2.0])),
    min_size=2,
    max_size=6,
).filter(lambda pairs: any(y > 0 for _, y in pairs))


def _tensors(lists: list[list[tuple[float, float]]], filler: float) -> tuple[Tensor, ...]:
    longest = max(map(len, lists))
    scores = torch.full((len(lists), longest), filler, dtype=torch.float64)
    grades, mask = scores.clone(), torch.zeros_like(scores, dtype=torch.bool)
    for row, pairs in enumerate(lists):
        for place, (s, y) in enumerate(pairs):
            scores[row, place], grades[row, place], mask[row, place] = s, y, True
    return scores, grades, mask


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=60, deadline=None)
@given(lists=st.lists(_LISTS, min_size=1, max_size=4))
def test_each_list_has_its_loss_whatever_stands_in_padding(
    name: str, lists: list[list[tuple[float, float]]]
) -> None:
    expected = [BY_HAND[name]([s for s, _ in pairs], [y for _, y in pairs]) for pairs in lists]
    for filler in (0.0, 9e9, math.nan):
        losses = LOSSES[name](*_tensors(lists, filler))
        assert losses.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_approx_ndcg_has_tf_rankings_value() -> None:
    y, s = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    loss = approx_ndcg(s, y, torch.ones(1, 2, dtype=torch.bool))
    assert loss.item() == pytest.approx(-0.655107, abs=1e-6)


def test_approx_ndcg_becomes_ndcg_as_the_temperature_falls() -> None:
    scores, grades = torch.tensor([[0.1, 0.9, 0.5, 0.2]]), torch.tensor([[2.0, 0.0, 1.0, 1.0]])
    # By score the grades come as 0, 1, 1, 2; the best order is 2, 1, 1, 0.
    found = 1 / math.log2(3) + 1 / math.log2(4) + 3 / math.log2(5)
    best = 3 + 1 / math.log2(3) + 1 / math.log2(4)
    loss = approx_ndcg(scores, grades, torch.ones(1, 4, dtype=torch.bool), temperature=1e-4)
    assert loss.item() == pytest.approx(-found / best, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_the_formula(name: str) -> None:
    random = torch.Generator().manual_seed(3)
    scores = torch.randn(3, 5, generator=random, dtype=torch.float64, requires_grad=True)
    grades = torch.tensor([[0, 1, 2, 0, 1], [1, 0, 0, 9, 9], [0, 0, 0, 0, 0]], dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda s: LOSSES[name](s, grades, mask), (scores,))


@pytest.mark.parametrize("name", LISTWISE)
def test_lists_without_a_positive_and_padding_move_nothing(name: str) -> None:
    scores = torch.tensor([[0.3, -0.2, 0.1], [0.5, 0.4, torch.nan]], requires_grad=True)
    grades = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, torch.nan]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    losses = LISTWISE[name](scores, grades, mask)
    assert losses[0] == 0
    mean = mean_over_lists(losses, grades, mask)
    assert mean == losses[1]
    mean.backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert scores.grad[0].tolist() == [0.0, 0.0, 0.0]
    assert scores.grad[1, 0] < 0 < scores.grad[1, 1]
    assert scores.grad[1, 2] == 0


@pytest.mark.parametrize("name", LISTWISE)
def test_nothing_to_learn_is_a_loss_of_zero(name: str) -> None:
    scores = torch.zeros(2, 3, requires_grad=True)
    grades, mask = torch.zeros(2, 3), torch.tensor([[True, True, False], [False, False, False]])
    mean = mean_over_lists(LISTWISE[name](scores, grades, mask), grades, mask)
    assert mean == 0
    mean.backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert not scores.grad.any()


@pytest.mark.parametrize("name", LISTWISE)
def test_descending_puts_products_in_order(name: str) -> None:
    torch.manual_seed(0)
    grades = torch.tensor([[0.0, 2.0, 1.0, 0.0], [1.0, 0.0, 2.0, 7.0]])
    mask = torch.tensor([[True] * 4, [True, True, True, False]])
    scores = torch.zeros(2, 4, requires_grad=True)
    optimiser = torch.optim.Adam([scores], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        loss = mean_over_lists(LISTWISE[name](scores, grades, mask), grades, mask)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert scores[0, 1] > scores[0, 2] > scores[0, [0, 3]].max()
    assert scores[1, 2] > scores[1, 0] > scores[1, 1]


def test_listmle_breaks_ties_anew() -> None:
    torch.manual_seed(0)
    scores, grades = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 1.0, 1.0]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    losses = {round(LISTWISE["listmle"](scores, grades, mask).item(), 5) for _ in range(50)}
    orders = {
        round(_listmle(list(order), [1.0] * 3), 5) for order in itertools.permutations([0.0, 1, 2])
    }
    assert losses == orders


def _lists(count: int) -> tuple[list[str], NDArray[np.float32]]:
    random = np.random.default_rng(0)
    sizes = random.integers(1, 12, size=count)
    queries = [f"q{number}" for number, size in enumerate(sizes) for _ in range(size)]
    return queries, random.choice([0.0, 0.5, 1.0], size=len(queries)).astype(np.float32)


def test_every_list_that_teaches_an_order_comes_once() -> None:
    queries, targets = _lists(80)
    lists = QueryLists(queries, targets)
    teaching = {
        query
        for query in queries
        if len({targets[row] for row, other in enumerate(queries) if other == query}) > 1
    }
    assert len(lists.lists) == len(teaching)
    assert lists.left_out == 80 - len(teaching)
    lengths = np.random.default_rng(1).integers(5, 40, size=len(queries))
    batches = lists.batches(lengths, 20, 8, np.random.default_rng(2))
    seen: list[str] = []
    for batch in batches:
        members = batch.spread(torch.from_numpy(batch.rows) + 1)
        assert len(batch.rows) <= 20
        assert ((members > 0) == batch.mask).all()
        for row in members.tolist():
            mine = [queries[place - 1] for place in row if place]
            assert len(set(mine)) == 1
            assert len(mine) == min(8, queries.count(mine[0]))
            seen.append(mine[0])
    assert sorted(seen) == sorted(teaching)


def test_long_lists_are_drawn_anew_and_the_generator_decides() -> None:
    queries, targets = ["q"] * 30, np.arange(30, dtype=np.float32) / np.float32(30)
    lists = QueryLists(queries, targets)
    lengths = np.ones(30, dtype=np.int64)

    def drawn(seed: int) -> list[int]:
        (batch,) = lists.batches(lengths, 4, 10, np.random.default_rng(seed))
        rows: list[int] = batch.rows.tolist()
        return rows

    assert len(set(drawn(0))) == 10
    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_lists_without_an_order_are_refused() -> None:
    with pytest.raises(TrainingRefused, match="none among 2: a listwise loss has nothing"):
        QueryLists(["a", "a", "b"], np.array([1, 1, 0], dtype=np.float32))
