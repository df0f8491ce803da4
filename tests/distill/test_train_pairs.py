"""Training pairs from files, labels and both; the second stage that goes on from a checkpoint."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from distill.continuation import kind_of
from distill.errors import LabelsRefused, TrainingRefused
from distill.labels import LABELS_FILE, LabelsFile, shard_path
from distill.objectives import Pointwise
from distill.options import TrainOptions
from distill.train import Silence, train
from distill.training_pairs import PairSource, read_training_pairs
from evaluation.errors import InputFileError
from export.checkpoint import Checkpoint, load_checkpoint
from export.errors import CheckpointRefused, PairsRefused
from export.pairs import PairColumns, Pairs
from model_store.digest import file_sha256
from tests.export.small import KINDS

Parts = tuple[Pairs, Pairs]


def _write(
    path: Path, pairs: Pairs, hard: list[str] | None = None, encoding: str = "utf-8"
) -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["query", "title", "target", "behaviour"])
        for row, (query, title) in enumerate(zip(pairs.queries, pairs.titles, strict=True)):
            target = f"{pairs.targets[row]:g}" if hard is None else hard[row]
            rows.writerow([query, title, target, "1" if row == 3 else ""])
    return path


def _label(
    folder: Path, pairs: Path, logits: list[float], teacher: str, encoding: str = "utf-8-sig"
) -> Path:
    """A folder as labelling leaves it."""
    folder.mkdir(parents=True)
    file = LabelsFile(
        pairs=pairs.name,
        pairs_sha256=file_sha256(pairs),
        rows=len(logits),
        query_column="query",
        title_column="title",
        encoding=encoding,
        teacher=teacher,
        teacher_sha256=teacher * 64,
        shard_size=4096,
    )
    (folder / LABELS_FILE).write_text(file.model_dump_json())
    np.save(shard_path(folder, 0), np.array(logits, dtype=np.float32))
    return folder


@pytest.fixture
def few(pairs: Pairs) -> Pairs:
    """Ten pairs."""
    return pairs.take(np.arange(10))


def test_targets_of_a_file(tmp_path: Path, few: Pairs) -> None:
    path = _write(tmp_path / "pairs.csv", few)
    pairs = read_training_pairs(PairSource(path=path))
    assert (pairs.queries, pairs.titles) == (few.queries, few.titles)
    np.testing.assert_array_equal(pairs.targets, few.targets)
    assert pairs.hard is None
    assert pairs.queries[0] is pairs.queries[1]  # a text is kept once, however often it comes
    first = read_training_pairs(PairSource(path=path, max_pairs=4))
    assert first.queries == few.queries[:4]
    assert len(read_training_pairs(PairSource(path=path, max_pairs=99))) == 10


def test_targets_of_two_teachers(tmp_path: Path, few: Pairs) -> None:
    path = _write(tmp_path / "pairs.csv", few)
    logits = np.linspace(-4, 4, 10)
    folders = (
        _label(tmp_path / "labels" / "a", path, logits.tolist(), "a"),
        _label(tmp_path / "labels" / "b", path, (2 - logits).tolist(), "b"),
    )
    source = PairSource(path=path, labels=folders, temperature=2.0)
    pairs = read_training_pairs(source)
    expected = (1 / (1 + np.exp(-logits / 2)) + 1 / (1 + np.exp(-(2 - logits) / 2))) / 2
    np.testing.assert_allclose(pairs.targets, expected, atol=1e-6)
    assert pairs.facts["teachers"] == "a, b"
    assert pairs.facts["temperature"] == 2.0
    assert pairs.sha256 != read_training_pairs(replace(source, temperature=3.0)).sha256
    clicked = read_training_pairs(replace(source, behaviour=True))
    assert clicked.targets[3] == 1.0
    np.testing.assert_allclose(np.delete(clicked.targets, 3), np.delete(expected, 3), atol=1e-6)
    np.testing.assert_allclose(
        read_training_pairs(replace(source, max_pairs=4)).targets, expected[:4], atol=1e-6
    )


def test_labels_say_how_their_pairs_are_encoded(tmp_path: Path, few: Pairs) -> None:
    accented = replace(few, titles=[f"café {title}" for title in few.titles])
    human = ["1", "0"] * 5
    path = _write(tmp_path / "pairs.csv", accented, human, "utf-16")
    with pytest.raises(PairsRefused, match="not text in utf-8"):
        read_training_pairs(PairSource(path=path))
    folder = _label(tmp_path / "a", path, [0.0] * 10, "a", "utf-16")
    pairs = read_training_pairs(PairSource(path=path, labels=(folder,), hard_column="target"))
    assert pairs.titles == accented.titles
    assert pairs.hard is not None
    assert pairs.hard.tolist() == [1.0, 0.0] * 5


def test_a_teachers_and_a_human_label(tmp_path: Path, few: Pairs) -> None:
    human = ["1", "0", "", "0.5", "", "1", "0", "0", "1", ""]
    path = _write(tmp_path / "pairs.csv", few, human)
    folder = _label(tmp_path / "a", path, [0.0] * 10, "a")
    pairs = read_training_pairs(PairSource(path=path, labels=(folder,), hard_column="target"))
    assert pairs.targets.tolist() == [0.5] * 10
    assert pairs.hard is not None
    assert ["" if np.isnan(each) else f"{each:g}" for each in pairs.hard] == human
    taken = pairs.take(np.array([3, 2])).hard
    assert taken is not None
    assert taken[0] == 0.5
    # Without labels: a second column. Here every behaviour but one is empty.
    path = _write(tmp_path / "both.csv", few)
    both = read_training_pairs(PairSource(path=path, hard_column="behaviour", max_pairs=5))
    assert both.hard is not None
    np.testing.assert_array_equal(np.isnan(both.hard), [True, True, True, False, True])
    np.testing.assert_array_equal(both.targets, few.targets[:5])


def test_what_makes_no_sense_is_refused(tmp_path: Path, few: Pairs) -> None:
    path = _write(tmp_path / "pairs.csv", few)
    with pytest.raises(TrainingRefused, match=r"temperature: softens .* of pairs\.csv"):
        PairSource(path=path, temperature=2.0)
    with pytest.raises(TrainingRefused, match="behaviour: puts a 1 in place of a teacher's"):
        PairSource(path=path, behaviour=True)
    with pytest.raises(TrainingRefused, match="hard_column: 'target' holds the targets"):
        PairSource(path=path, hard_column="target")
    with pytest.raises(TrainingRefused, match="max_pairs: expected at least 1, got 0"):
        PairSource(path=path, max_pairs=0)
    folder = _label(tmp_path / "a", path, [0.0] * 10, "a")
    empty = _write(tmp_path / "empty.csv", few, [""] * 10)
    of_empty = _label(tmp_path / "e", empty, [0.0] * 10, "a")
    with pytest.raises(TrainingRefused, match="human labels in 'target' of some pairs, found none"):
        read_training_pairs(PairSource(path=empty, labels=(of_empty,), hard_column="target"))
    with pytest.raises(LabelsRefused, match=r"expected labels of empty\.csv"):
        read_training_pairs(PairSource(path=empty, labels=(folder,)))
    with pytest.raises(InputFileError, match="no column 'grade'"):
        read_training_pairs(PairSource(path=path, labels=(folder,), hard_column="grade"))
    beyond = _write(tmp_path / "beyond.csv", few, ["2"] * 10)
    of_beyond = _label(tmp_path / "f", beyond, [0.0] * 10, "a")
    with pytest.raises(PairsRefused, match=r"beyond\.csv, line 2: expected 'target' from 0 to 1"):
        read_training_pairs(PairSource(path=beyond, labels=(of_beyond,), hard_column="target"))
    with pytest.raises(PairsRefused, match="no column 'relevance'"):
        read_training_pairs(PairSource(path=path, columns=PairColumns(target="relevance")))


def test_the_hard_label_pulls(tmp_path: Path, parts: Parts) -> None:
    """Soft targets that say nothing, human ones that are right: only lambda > 0 learns."""
    soft = replace(parts[0], targets=np.full(len(parts[0]), 0.5, dtype=np.float32))
    soft.targets[:2] = (0.4, 0.6)
    both = replace(soft, hard=parts[0].labels.astype(np.float32))
    aucs = []
    for name, pairs, weight in (("soft", soft, 0.0), ("zero", both, 0.0), ("both", both, 0.5)):
        options = TrainOptions(
            objective=Pointwise(hard_weight=weight), epochs=4, patience=4, batch_size=32
        )
        train("bert2dnn", pairs, parts[1], tmp_path / name, options, Silence())
        aucs.append(load_checkpoint(tmp_path / name).training["validation_auc"])
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("soft", "zero")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert isinstance(aucs[2], float)
    assert isinstance(aucs[0], float)
    assert aucs[2] > max(0.7, aucs[0] + 0.1)
    facts = load_checkpoint(tmp_path / "both").training
    assert (facts["objective"], facts["hard_weight"]) == ("pointwise", 0.5)


def test_a_hard_weight_needs_hard_labels(tmp_path: Path, parts: Parts) -> None:
    options = TrainOptions(objective=Pointwise(hard_weight=0.5))
    with pytest.raises(TrainingRefused, match=r"hard_weight: expected pairs with a teacher's"):
        train("deepdot", *parts, tmp_path / "out", options, Silence())
    with pytest.raises(TrainingRefused, match="hard_weight: expected at least 0"):
        Pointwise(hard_weight=-0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_stage_starts_where_the_first_ended(
    kind: str, tmp_path: Path, parts: Parts, trained: dict[str, Checkpoint]
) -> None:
    first = trained[kind].folder
    slow = TrainOptions(
        start=first, epochs=1, batch_size=64, learning_rate=1e-12, encoder_learning_rate=1e-12
    )
    train(kind, *parts, tmp_path / "out", slow, Silence())
    before, after = (load_file(f / "model.safetensors") for f in (first, tmp_path / "out"))
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, atol=1e-7, rtol=0)
    second = load_checkpoint(tmp_path / "out")
    assert second.spec == trained[kind].spec
    assert second.training["start.validation_auc"] == trained[kind].training["validation_auc"]
    assert second.training["start"] == kind
    for name in ("vocabulary.u64", "vocabulary.txt", "tokenizer.json"):
        assert (first / name).exists() == (tmp_path / "out" / name).exists()
    assert kind_of(tmp_path / "out") == kind


def test_a_checkpoint_is_gone_on_with_as_it_is(
    tmp_path: Path, parts: Parts, trained: dict[str, Checkpoint], encoder_folder: Path
) -> None:
    start = trained["reprbert"].folder
    for wrong, expected in (
        (TrainOptions(start=start, layers=1), "layers: a student that starts from .*: leave it"),
        (TrainOptions(start=start, encoder=encoder_folder), "encoder: a student that starts"),
        (TrainOptions(start=start, attention=False), "attention: a student that starts from"),
        (TrainOptions(start=start, query_tokens=8), "query_tokens: a student that starts from"),
    ):
        with pytest.raises(TrainingRefused, match=expected):
            train("reprbert", *parts, tmp_path / "out", wrong, Silence())
    with pytest.raises(TrainingRefused, match="checkpoint of student deepdot, got one of reprbert"):
        train("deepdot", *parts, tmp_path / "out", TrainOptions(start=start), Silence())
    with pytest.raises(CheckpointRefused, match="expected the folder that training wrote"):
        train("reprbert", *parts, tmp_path / "out", TrainOptions(start=tmp_path), Silence())
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_may_be_a_teachers(tmp_path: Path, parts: Parts, encoder_folder: Path) -> None:
    """The first layers of a cross-encoder, whose weights lie under their own names or a prefix."""
    config = json.loads((encoder_folder / "config.json").read_text())
    prefixed = load_file(encoder_folder / "model.safetensors")
    plain = {name.removeprefix("bert."): tensor for name, tensor in prefixed.items()}
    for name, tensors in (("plain", plain), ("prefixed", prefixed)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "tokenizer.json").write_bytes((encoder_folder / "tokenizer.json").read_bytes())
        head = {"head.weight": torch.ones(1, 32), "head.bias": torch.zeros(1)}
        save_file({**tensors, **head}, folder / "model.safetensors")
        options = TrainOptions(
            encoder=folder, epochs=1, learning_rate=1e-12, encoder_learning_rate=1e-12
        )
        train("reprbert", *parts, tmp_path / f"{name}.out", options, Silence())
        student = load_file(tmp_path / f"{name}.out" / "model.safetensors")
        for layer in (0, 1):
            tensor = f"encoder.layer.{layer}.attention.self.query.weight"
            torch.testing.assert_close(student[f"encoder.{tensor}"], plain[tensor])
