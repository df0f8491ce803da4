"""Adam on rows of a table against torch's own; the course of the learning rates."""

import pytest
import torch
from torch import Tensor, nn

from distill.optimise import Adam, LearningRates, make_word_tables_sparse


class _Words(nn.Module):
    """A table and a layer, as a bag has them; an encoder beside it if asked for."""

    def __init__(self, *, encoder: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(30, 4, sparse=True)
        self.layer = nn.Linear(4, 1)
        if encoder:
            self.encoder = nn.ModuleDict({"word_embeddings": nn.Embedding(30, 4)})

    def forward(self, ids: Tensor) -> Tensor:
        words = self.table(ids)
        if hasattr(self, "encoder"):
            words = words + self.encoder["word_embeddings"](ids)
        out: Tensor = self.layer(words.sum(dim=1)).squeeze(-1)
        return out


def _steps(count: int) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(1)
    return [
        (torch.randint(0, 30, (4, 5), generator=random), torch.rand(4, generator=random))
        for _ in range(count)
    ]


def _loss(module: nn.Module, ids: Tensor, target: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(module(ids), target)


@pytest.fixture(autouse=True)
def _no_check_of_sparse_tensors() -> None:
    torch.sparse.check_sparse_tensor_invariants.disable()  # type: ignore[no-untyped-call]


def test_rows_move_as_with_torchs_optimisers() -> None:
    ours, theirs = _Words(), _Words()
    rates = LearningRates(encoder=1.0, new=1e-2, warm_up=0.0, schedule="constant")
    adam = Adam(ours, rates, steps=40)
    sparse = torch.optim.SparseAdam([theirs.table.weight], lr=1e-2)
    dense = torch.optim.AdamW(theirs.layer.parameters(), lr=1e-2, weight_decay=0.01)
    start = ours.table.weight.detach().clone()
    for step, (ids, target) in enumerate(_steps(40)):
        adam.descend(_loss(ours, ids, target), step)
        sparse.zero_grad()
        dense.zero_grad()
        _loss(theirs, ids, target).backward()  # type: ignore[no-untyped-call]
        sparse.step()  # type: ignore[no-untyped-call]
        dense.step()
    # torch adds eps before it corrects the bias of the root, Kingma & Ba and AdamW after it.
    torch.testing.assert_close(ours.table.weight, theirs.table.weight, atol=3e-4, rtol=0)
    torch.testing.assert_close(ours.layer.weight, theirs.layer.weight, atol=1e-4, rtol=0)
    assert (ours.table.weight - start).abs().max() > 0.05


def test_rows_that_no_text_has_stay() -> None:
    module = _Words()
    before = module.table.weight.detach().clone()
    adam = Adam(module, LearningRates(encoder=1.0, new=0.1), steps=5)
    for step in range(5):
        adam.descend(_loss(module, torch.tensor([[1, 2, 2]]), torch.ones(1)), step)
    moved = (module.table.weight != before).any(dim=1)
    assert moved.nonzero().flatten().tolist() == [1, 2]


def test_an_encoder_has_a_rate_of_its_own_and_a_sparse_table() -> None:
    module = _Words(encoder=True)
    make_word_tables_sparse(module)
    table = module.encoder["word_embeddings"]
    assert isinstance(table, nn.Embedding)
    before = [module.table.weight.detach().clone(), table.weight.detach().clone()]
    rates = LearningRates(encoder=1e-4, new=1e-2, warm_up=0.0, schedule="constant")
    adam = Adam(module, rates, steps=9)
    adam.descend(_loss(module, torch.tensor([[1, 2, 3]]), torch.ones(1)), 0)
    new, encoder = module.table.weight - before[0], table.weight - before[1]
    # The first step of Adam is as long as its rate, whatever the gradient.
    torch.testing.assert_close(new[1:4].abs(), torch.full((3, 4), 1e-2), atol=1e-4, rtol=0)
    torch.testing.assert_close(encoder[1:4].abs(), torch.full((3, 4), 1e-4), atol=1e-6, rtol=0)
    assert not encoder[4:].any()


def test_rates_rise_and_fall() -> None:
    falling = LearningRates(encoder=1.0, new=1.0, warm_up=0.1)
    by_hand = {0: 0.1, 4: 0.5, 9: 1.0, 10: 1.0, 55: 0.5, 99: 1 / 90}
    assert {step: falling.factor(step, 100) for step in by_hand} == pytest.approx(by_hand)
    staying = LearningRates(encoder=1.0, new=1.0, warm_up=0.1, schedule="constant")
    by_hand = {0: 0.1, 4: 0.5, 9: 1.0, 55: 1.0, 99: 1.0}
    assert {step: staying.factor(step, 100) for step in by_hand} == pytest.approx(by_hand)
    at_once = LearningRates(encoder=1.0, new=1.0, warm_up=0.0)
    assert at_once.factor(0, 3) == 1.0
