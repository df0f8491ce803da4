"""Pairwise training: which product is better, against brute force; DRFC's two stages."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import TrainingRefused
from distill.losses import logistic_pair, margin_pair
from distill.objectives import Pairwise
from distill.options import TrainOptions
from distill.pairwise import Better, PairwiseMaterial
from distill.student_pairs import StudentPairs
from distill.train import Silence, train
from evaluation.metrics import roc_auc
from export.checkpoint import Checkpoint, load_checkpoint
from export.pairs import Pairs
from export.scoring import score_pairs

Parts = tuple[Pairs, Pairs]

JUDGED = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.1, 0.3, 0.33, 0.5, 0.67, 1.0])),
    min_size=1,
    max_size=24,
)


@given(JUDGED, st.sampled_from([0.1, 0.34, 1.0]), st.integers(0, 5))
def test_the_worse_one_is_worse_by_the_gap(
    judged: list[tuple[int, float]], gap: float, seed: int
) -> None:
    queries = np.array([query for query, _ in judged], dtype=np.int64)
    targets = np.array([target for _, target in judged], dtype=np.float32)
    possible = {
        a: {
            b
            for b in range(len(judged))
            if queries[a] == queries[b] and targets[a] - targets[b] >= gap - 1e-6
        }
        for a in range(len(judged))
    }
    with_worse = {a for a, worse in possible.items() if worse}
    if not with_worse:
        with pytest.raises(TrainingRefused, match=f"differ by {gap:g} or more, got none"):
            Better(queries, targets, gap)
        return
    better = Better(queries, targets, gap)
    assert len(better) == len(with_worse)
    triples = better.draw(np.random.default_rng(seed))
    assert triples.shape == (2, len(better))
    assert set(triples[0].tolist()) == with_worse
    assert all(b in possible[a] for a, b in triples.T.tolist())


def test_every_worse_one_is_drawn_as_often() -> None:
    targets = np.array([1.0, 0.0, 0.5, 0.2, 0.95], dtype=np.float32)
    better = Better(np.zeros(5, dtype=np.int64), targets, least_gap=0.3)
    random = np.random.default_rng(0)
    worse = np.concatenate([better.draw(random)[1][[0]] for _ in range(300)])
    drawn = [dict(better.draw(random).T.tolist())[0] for _ in range(900)]
    assert set(drawn) == {1, 2, 3}  # 0.95 is too near to 1
    assert min(drawn.count(b) for b in (1, 2, 3)) > 230
    assert len(worse) == 300


def _material(
    checkpoint: Checkpoint, pairs: Pairs, options: Pairwise
) -> tuple[StudentPairs, PairwiseMaterial]:
    on_pairs = StudentPairs(checkpoint.student, checkpoint.tokenizer, pairs, torch.device("cpu"))
    return on_pairs, PairwiseMaterial(on_pairs, options, batch_size=16, seed=3)


def test_the_loss_is_that_of_the_logits(trained: dict[str, Checkpoint], parts: Parts) -> None:
    options = Pairwise(random_negatives=False)
    on_pairs, material = _material(trained["deepdot"], parts[0], options)
    batches = material.batches(1)
    assert len(batches) == material.steps == -(-int(parts[0].labels.sum()) // 16)
    better, worse = batches[0]
    assert parts[0].labels[better].all()
    assert not parts[0].labels[worse].any()
    with torch.inference_mode():
        s_a, s_b = on_pairs.logits(better), on_pairs.logits(worse)
        assert material.loss(batches[0]) == pytest.approx(logistic_pair(s_a, s_b).item(), abs=1e-6)
        _, by_margin = _material(
            trained["deepdot"], parts[0], replace(options, pair_loss="margin", margin=2.0)
        )
        expected = margin_pair(s_a, s_b, 2.0).item()
        assert by_margin.loss(batches[0]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_random_negatives_belong_to_another_query(
    seed: int, trained: dict[str, Checkpoint], parts: Parts
) -> None:
    checkpoint, few = trained["deepdot"], parts[0].take(np.arange(12))
    on_pairs, material = _material(checkpoint, few, Pairwise())
    better, worse = triples = material.batches(1)[0]  # three queries with two relevant products
    assert len(better) == 6
    torch.manual_seed(seed)
    with torch.inference_mode():
        loss = material.loss(triples)
        torch.manual_seed(seed)
        other = better[((torch.arange(6) + torch.randint(1, 6, (6,))) % 6).numpy()]
        strange = [few.queries[a] != few.queries[b] for a, b in zip(better, other, strict=True)]
        expected = logistic_pair(on_pairs.logits(better), on_pairs.logits(worse))
        if any(strange):
            crossed = Pairs(
                "crossed",
                "",
                [few.queries[row] for row in better[strange]],
                [few.titles[row] for row in other[strange]],
                np.zeros(sum(strange), dtype=np.float32),
            )
            scores = score_pairs(checkpoint.student, checkpoint.tokenizer, crossed)
            s_other = torch.from_numpy(scores).logit()
            expected = (expected + logistic_pair(on_pairs.logits(better[strange]), s_other)) / 2
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    if seed == 0:
        assert 0 < sum(strange) < 6  # a product of the same query is no negative


def test_a_batch_of_one_triple_has_no_random_negative(
    trained: dict[str, Checkpoint], parts: Parts
) -> None:
    on_pairs, material = _material(trained["deepdot"], parts[0], Pairwise())
    triple = material.batches(1)[0][:, :1]
    with torch.inference_mode():
        expected = logistic_pair(on_pairs.logits(triple[0]), on_pairs.logits(triple[1]))
        assert material.loss(triple) == pytest.approx(expected.item(), abs=1e-6)


def test_an_epoch_draws_anew_and_repeats_itself(
    trained: dict[str, Checkpoint], parts: Parts
) -> None:
    _, material = _material(trained["deepdot"], parts[0], Pairwise())
    first, again, second = material.batches(1), material.batches(1), material.batches(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len(first) == len(second) == material.steps


@pytest.mark.parametrize("kind", ["bert2dnn", "deepdot"])
def test_drfc_in_two_stages(kind: str, tmp_path: Path, parts: Parts) -> None:
    first = TrainOptions(objective=Pairwise(), epochs=10, patience=10, batch_size=32)
    train(kind, *parts, tmp_path / "stage1", first, Silence())
    stage1 = load_checkpoint(tmp_path / "stage1")
    scores = score_pairs(stage1.student, stage1.tokenizer, parts[0])
    assert roc_auc(parts[0].labels, scores) > 0.75
    assert stage1.training["objective"] == "pairwise"
    assert stage1.training["pair_loss"] == "logistic"
    second = TrainOptions(start=tmp_path / "stage1", epochs=2, batch_size=32)
    train(kind, *parts, tmp_path / "stage2", second, Silence())
    stage2 = load_checkpoint(tmp_path / "stage2")
    assert stage2.training["start.objective"] == "pairwise"
    # What pairs can't teach, the scale: targets are 0.9 and 0.1, and nothing beyond.
    error = [
        np.abs(score_pairs(each.student, each.tokenizer, parts[0]) - parts[0].targets).mean()
        for each in (stage1, stage2)
    ]
    assert error[1] < error[0]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"least_gap": 0.0}, "least_gap: expected above 0 and at most 1"),
        ({"least_gap": 1.5}, "least_gap: expected above 0 and at most 1"),
        ({"margin": 0.0}, "margin: expected above 0"),
        ({"pair_loss": "hinge"}, "pair_loss: expected logistic or margin, got 'hinge'"),
    ],
)
def test_options_out_of_range_are_named(wrong: dict[str, object], expected: str) -> None:
    with pytest.raises(TrainingRefused, match=expected):
        Pairwise(**wrong)  # type: ignore[arg-type]


def test_pairs_that_do_not_differ_enough_are_refused(tmp_path: Path, parts: Parts) -> None:
    options = TrainOptions(objective=Pairwise(least_gap=0.9))
    with pytest.raises(TrainingRefused, match=r"differ by 0\.9 or more, got none"):
        train("deepdot", *parts, tmp_path / "out", options, Silence())
    assert list(tmp_path.iterdir()) == []
