"""A student that labels for another one: the same logits whatever stands beside a pair."""

from pathlib import Path

import numpy as np
import pytest

from distill.assistant import load_assistant
from distill.errors import TeacherRefused
from distill.labelling import label, open_scorer, score_here
from distill.labels import SHARD_SIZE, PairsFile, read_labels
from distill.objectives import Listwise, Objective, Pairwise
from distill.options import TrainOptions
from distill.train import Silence, train
from distill.transfer_file import TransferPair, write_pairs
from export.checkpoint import load_checkpoint
from export.pairs import Pairs
from export.scoring import score_pairs


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory, parts: tuple[Pairs, Pairs]) -> Path:
    out = tmp_path_factory.mktemp("students") / "bag"
    train("bert2dnn", *parts, out, TrainOptions(epochs=2, learning_rate=3e-3), Silence())
    return out


def test_its_logits_are_the_students_scores(student: Path, parts: tuple[Pairs, Pairs]) -> None:
    pairs, checkpoint = parts[1], load_checkpoint(student)
    logits = load_assistant(student, "cpu").logits(pairs.queries, pairs.titles)
    scores = score_pairs(checkpoint.student, checkpoint.tokenizer, pairs)
    np.testing.assert_allclose(1.0 / (1.0 + np.exp(-logits)), scores, atol=1e-6)
    assert len(np.unique(logits)) > len(logits) // 2


def test_what_was_asked_before_changes_nothing(student: Path, parts: tuple[Pairs, Pairs]) -> None:
    pairs = parts[1]
    asked_before = load_assistant(student, "cpu")
    asked_before.logits(pairs.queries[::-1], pairs.titles)
    fresh = load_assistant(student, "cpu")
    np.testing.assert_array_equal(
        asked_before.logits(pairs.queries, pairs.titles), fresh.logits(pairs.queries, pairs.titles)
    )


def test_it_labels_the_first_pairs_and_then_the_rest(
    student: Path, pairs: Pairs, tmp_path: Path
) -> None:
    path, out = tmp_path / "transfer.csv", tmp_path / "labels"
    rows = 2 * SHARD_SIZE + 10
    texts = [(pairs.queries[n % 1200], pairs.titles[(n * 7) % 1200]) for n in range(rows)]
    write_pairs(path, (TransferPair(*both, "", "bm25") for both in texts), behaviour=False)
    scorer = open_scorer(student, "cpu")

    def labelled(most: int | None) -> tuple[int, int]:
        report = label(
            PairsFile(path), "bag", scorer.sha256, score_here(scorer), out, lambda *_: None, most
        )
        return report.rows, report.labelled

    assert labelled(SHARD_SIZE - 1) == (SHARD_SIZE, SHARD_SIZE)
    first = read_labels(out, SHARD_SIZE - 1)
    assert labelled(None) == (rows, rows - SHARD_SIZE)
    every = read_labels(out)
    np.testing.assert_array_equal(every[: len(first)], first)
    last = [texts[-1]]
    np.testing.assert_allclose(
        every[-1:], scorer.logits([q for q, _ in last], [t for _, t in last]), atol=1e-5
    )


def test_other_weights_are_another_labeller(
    student: Path, parts: tuple[Pairs, Pairs], tmp_path: Path
) -> None:
    options = TrainOptions(epochs=1, learning_rate=3e-3)
    train("bert2dnn", *parts, tmp_path / "other", options, Silence())
    other, first = (load_assistant(each, "cpu") for each in (tmp_path / "other", student))
    assert other.sha256 != first.sha256
    assert load_assistant(student, "cpu").sha256 == first.sha256


def test_a_damaged_checkpoint_is_refused(student: Path, tmp_path: Path) -> None:
    (tmp_path / "student.json").write_bytes((student / "student.json").read_bytes())
    with pytest.raises(TeacherRefused, match=r"model\.safetensors: not a whole safetensors file"):
        open_scorer(tmp_path)


@pytest.mark.parametrize(
    ("objective", "labels"),
    [(Pairwise(), False), (Listwise(), False), (Listwise(pointwise_weight=0.5), True)],
)
def test_what_has_learned_an_order_alone_labels_nothing(
    objective: Objective, labels: bool, parts: tuple[Pairs, Pairs], tmp_path: Path
) -> None:
    """Its logits are on no scale of probabilities."""
    options = TrainOptions(epochs=1, objective=objective)
    train("deepdot", *parts, tmp_path / "first", options, Silence())
    if labels:
        load_assistant(tmp_path / "first", "cpu")
        return
    with pytest.raises(TeacherRefused, match="got one that has learned an order of products alone"):
        load_assistant(tmp_path / "first", "cpu")
    second = TrainOptions(epochs=1, start=tmp_path / "first")
    train("deepdot", *parts, tmp_path / "second", second, Silence())
    load_assistant(tmp_path / "second", "cpu")
