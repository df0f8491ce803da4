"""Listwise distillation: batches of lists, and the loss against that of each list alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from distill.errors import TrainingRefused
from distill.list_distillation import ListwiseMaterial
from distill.losses import log_odds, soft_cross_entropy
from distill.objectives import Listwise
from distill.options import TrainOptions
from distill.student_pairs import StudentPairs
from distill.train import Silence, train
from evaluation.metrics import ndcg
from export.checkpoint import Checkpoint, load_checkpoint
from export.pairs import Pairs
from export.scoring import score_pairs

Parts = tuple[Pairs, Pairs]


def _material(
    checkpoint: Checkpoint, pairs: Pairs, options: Listwise
) -> tuple[StudentPairs, ListwiseMaterial]:
    on_pairs = StudentPairs(checkpoint.student, checkpoint.tokenizer, pairs, torch.device("cpu"))
    return on_pairs, ListwiseMaterial(on_pairs, options, batch_size=20, seed=3)


def test_an_epoch_has_every_list_once(trained: dict[str, Checkpoint], parts: Parts) -> None:
    _, material = _material(trained["deepdot"], parts[0], Listwise())
    batches = material.batches(1)
    assert len(batches) == material.steps
    rows = np.concatenate([batch.rows for batch in batches])
    assert sorted(rows.tolist()) == list(range(len(parts[0])))
    for batch in batches:
        assert batch.mask.sum() == len(batch.rows)
        assert len(batch.mask) <= 5  # lists of four pairs, twenty pairs a batch
    assert [b.rows.tolist() for b in batches] == [b.rows.tolist() for b in material.batches(1)]
    assert batches[0].rows.tolist() != material.batches(2)[0].rows.tolist()


def test_of_a_long_list_others_are_drawn_each_epoch(
    trained: dict[str, Checkpoint], parts: Parts
) -> None:
    _, material = _material(trained["deepdot"], parts[0], Listwise(list_size=3))
    drawn = [
        {row for batch in material.batches(epoch) for row in batch.rows.tolist()}
        for epoch in (1, 2)
    ]
    assert [len(rows) for rows in drawn] == [len(parts[0]) * 3 // 4] * 2
    assert drawn[0] != drawn[1]


def test_the_loss_is_that_of_its_lists(trained: dict[str, Checkpoint], parts: Parts) -> None:
    options = Listwise(list_temperature=2.0, pointwise_weight=0.5)
    on_pairs, material = _material(trained["deepdot"], parts[0], options)
    batch = material.batches(1)[0]
    with torch.inference_mode():
        loss = material.loss(batch).item()
        student = on_pairs.logits(batch.rows)
        teacher = log_odds(on_pairs.soft[torch.from_numpy(batch.rows)])
        parts_of = batch.mask.sum(dim=1).tolist()
        divergences = []
        lists = (torch.split(student, parts_of), torch.split(teacher, parts_of))
        for s, t in zip(*lists, strict=True):
            p, q = torch.softmax(t / 2, dim=0), torch.softmax(s / 2, dim=0)
            divergences.append(float((p * (p.log() - q.log())).sum()))
        anchor = soft_cross_entropy(student, on_pairs.soft[torch.from_numpy(batch.rows)])
    assert loss == pytest.approx(np.mean(divergences) + 0.5 * anchor.item(), abs=1e-5)


def test_it_learns_an_order(tmp_path: Path, parts: Parts) -> None:
    options = TrainOptions(objective=Listwise(), epochs=10, patience=10, batch_size=32)
    train("bert2dnn", *parts, tmp_path / "out", options, Silence())
    checkpoint = load_checkpoint(tmp_path / "out")
    scores = score_pairs(checkpoint.student, checkpoint.tokenizer, parts[0])
    assert ndcg(parts[0].queries, parts[0].targets, scores, 2).value > 0.85
    assert checkpoint.training["objective"] == "listwise"


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"list_size": 1}, "list_size: expected at least 2, got 1"),
        ({"list_temperature": 0.0}, "list_temperature: expected above 0"),
        ({"pointwise_weight": -1.0}, "pointwise_weight: expected at least 0"),
        ({"pointwise_weight": float("nan")}, "pointwise_weight: expected at least 0, got nan"),
    ],
)
def test_options_out_of_range_are_named(wrong: dict[str, float], expected: str) -> None:
    with pytest.raises(TrainingRefused, match=expected):
        Listwise(**wrong)  # type: ignore[arg-type]
