"""Training: it learns, repeats itself, stops early, and says why it won't start."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from distill.errors import TrainingRefused
from distill.options import TrainOptions
from distill.train import Silence, Training, Validation, train
from evaluation.metrics import roc_auc
from export.checkpoint import Checkpoint, load_checkpoint
from export.pairs import Pairs
from export.scoring import score_pairs
from model_store.cwub import token_hash
from tests.export.small import KINDS, TrainKind

Parts = tuple[Pairs, Pairs]


def _digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_files(
    kind: str, tmp_path: Path, train_kind: TrainKind, trained: dict[str, Checkpoint]
) -> None:
    train_kind(kind, tmp_path / "again")
    assert _digest(tmp_path / "again") == _digest(trained[kind].folder)


def test_torchs_random_state_is_left_alone(tmp_path: Path, parts: Parts) -> None:
    before = torch.random.get_rng_state()
    train("deepdot", *parts, tmp_path / "out", TrainOptions(epochs=1), Silence())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_seed_gives_other_weights(
    tmp_path: Path, train_kind: TrainKind, trained: dict[str, Checkpoint]
) -> None:
    train_kind("bert2dnn", tmp_path / "other", seed=1)
    ours, theirs = _digest(tmp_path / "other"), _digest(trained["bert2dnn"].folder)
    assert ours["model.safetensors"] != theirs["model.safetensors"]
    assert ours["vocabulary.u64"] == theirs["vocabulary.u64"]


@pytest.mark.parametrize("kind", ["bert2dnn", "deepdot"])
def test_it_learns_its_training_pairs(kind: str, tmp_path: Path, parts: Parts) -> None:
    options = TrainOptions(epochs=8, patience=8, batch_size=32)
    training = train(kind, *parts, tmp_path / "out", options, Silence())
    assert training.validations[-1].loss < 0.85 * training.validations[0].loss
    checkpoint = load_checkpoint(tmp_path / "out")
    scores = score_pairs(checkpoint.student, checkpoint.tokenizer, parts[0])
    assert roc_auc(parts[0].labels, scores) > 0.8


class _Heard:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, int]] = []
        self.validations: list[Validation] = []

    def resumed(self, step: int, steps: int) -> None:
        pytest.fail("nothing was stopped")

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        assert np.isfinite(loss)
        self.steps.append((epoch, step, steps))

    def validation(self, validation: Validation) -> None:
        self.validations.append(validation)


def _train_to_the_end(parts: Parts, out: Path, patience: int) -> tuple[Training, _Heard]:
    heard = _Heard()
    # Nothing that holds for other queries can be learned from these targets.
    random = np.random.default_rng(0).random(len(parts[0])).astype(np.float32)
    noise = replace(parts[0], targets=random)
    options = TrainOptions(epochs=12, patience=patience, batch_size=64)
    return train("deepdot", noise, parts[1], out, options, heard), heard


def test_it_stops_early_and_keeps_the_best_epoch(tmp_path: Path, parts: Parts) -> None:
    training, heard = _train_to_the_end(parts, tmp_path / "out", patience=2)
    assert heard.validations == training.validations
    assert len(training.validations) == training.best.number + 2
    best = max(each.validation_auc for each in training.validations)
    assert training.best.validation_auc == best
    checkpoint = load_checkpoint(training.folder)
    scores = score_pairs(checkpoint.student, checkpoint.tokenizer, parts[1])
    assert roc_auc(parts[1].labels, scores) == training.best.validation_auc
    assert checkpoint.training["best_epoch"] == training.best.number == training.best.epoch
    steps = heard.steps[-1][2]
    assert heard.steps[-1] == (len(training.validations), steps, steps)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_validation_every_few_steps(tmp_path: Path, parts: Parts) -> None:
    per_epoch = -(-len(parts[0]) // 64)
    options = TrainOptions(epochs=2, patience=99, batch_size=64, validate_every=5)
    training = train("deepdot", *parts, tmp_path / "out", options, _Heard())
    last = 2 * per_epoch
    assert [each.step for each in training.validations] == [*range(5, last, 5), last]
    assert training.validations[0].epoch == 5 / per_epoch
    assert training.validations[-1].epoch == 2.0


def test_validation_changes_nothing_of_the_training(tmp_path: Path, parts: Parts) -> None:
    def weights(name: str, every: int | None) -> dict[str, torch.Tensor]:
        options = TrainOptions(epochs=1, patience=99, batch_size=64, validate_every=every)
        training = train("bert2dnn", *parts, tmp_path / name, options, Silence())
        assert training.best.step == training.validations[-1].step  # still rising
        return load_file(tmp_path / name / "model.safetensors")

    often, once = weights("often", 4), weights("once", None)
    assert all(torch.equal(often[name], once[name]) for name in once)


def test_student_json_says_where_it_came_from(
    parts: Parts, trained: dict[str, Checkpoint], encoder_folder: Path
) -> None:
    facts = json.loads((trained["reprbert"].folder / "student.json").read_text())["training"]
    weights = (encoder_folder / "model.safetensors").read_bytes()
    assert facts["encoder_sha256"] == hashlib.sha256(weights).hexdigest()
    assert facts["pairs_sha256"] == parts[0].sha256
    assert facts["pairs"] == len(parts[0])
    assert facts["seed"] == 0
    assert facts["torch"] == torch.__version__


def test_the_vocabulary_can_be_read_by_people(trained: dict[str, Checkpoint]) -> None:
    folder = trained["bert2dnn"].folder
    tokens = (folder / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
    hashes = np.fromfile(folder / "vocabulary.u64", dtype="<u8")
    assert [token_hash(token) for token in tokens] == hashes.tolist()
    assert "usb" in tokens


def test_limits_leave_the_texts_whole(parts: Parts, trained: dict[str, Checkpoint]) -> None:
    for kind in KINDS:
        spec = trained[kind].spec
        for limit in (spec.query_tokens, spec.product_tokens):
            assert limit % 8 == 0
            assert limit <= 40
        longest = max(parts[0].titles, key=len)
        _, mask = trained[kind].tokenizer.encode([longest], "product")
        assert mask.sum() <= spec.product_tokens


@pytest.mark.parametrize("kind", KINDS)
def test_limits_can_be_told(kind: str, tmp_path: Path, parts: Parts, encoder_folder: Path) -> None:
    encoder = encoder_folder if kind == "reprbert" else None
    options = TrainOptions(epochs=1, query_tokens=4, product_tokens=5, encoder=encoder)
    train(kind, *parts, tmp_path / "out", options, Silence())
    tokenizer = load_checkpoint(tmp_path / "out").tokenizer
    assert tokenizer.encode(["red usb cable red usb cable"], "query")[0].shape == (1, 4)
    assert tokenizer.encode(["red usb cable red usb cable"], "product")[0].shape == (1, 5)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"batch_size": -1}, "batch_size: expected at least 1"),
        ({"learning_rate": 0.0}, "learning_rate: expected above 0"),
        ({"learning_rate": float("nan")}, "learning_rate: expected above 0"),
        ({"query_tokens": 5000}, "query_tokens: expected at most 4096"),
        ({"minimum_frequency": 0}, "minimum_frequency: expected at least 1"),
        ({"validate_every": 0}, "validate_every: expected at least 1, got 0"),
        ({"save_minutes": -1}, "save_minutes: expected at least 0, got -1"),
        ({"warm_up": 1.0}, "warm_up: expected a share of all steps .*, got 1.0"),
        ({"schedule": "cosine"}, "schedule: expected linear or constant, got 'cosine'"),
    ],
)
def test_options_out_of_range_are_named(wrong: dict[str, float], expected: str) -> None:
    with pytest.raises(TrainingRefused, match=expected):
        TrainOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("resnet", TrainOptions(), "unknown student 'resnet'"),
        ("reprbert", TrainOptions(), "starts from an encoder"),
        ("deepdot", TrainOptions(encoder=Path("x")), "deepdot has no encoder"),
        ("bert2dnn", TrainOptions(minimum_frequency=10_000), "lower the minimum frequency"),
    ],
)
def test_it_says_why_it_will_not_start(
    kind: str, options: TrainOptions, expected: str, tmp_path: Path, parts: Parts
) -> None:
    with pytest.raises(TrainingRefused, match=expected):
        train(kind, *parts, tmp_path / "out", options, Silence())
    assert list(tmp_path.iterdir()) == []


def test_limits_beyond_the_encoders_positions_are_refused(
    tmp_path: Path, parts: Parts, encoder_folder: Path
) -> None:
    options = TrainOptions(encoder=encoder_folder, product_tokens=41)
    with pytest.raises(TrainingRefused, match=r"product_tokens: expected 3 .* to 40 .*, got 41"):
        train("reprbert", *parts, tmp_path / "out", options, Silence())


def test_pairs_of_one_class_are_refused(tmp_path: Path, parts: Parts) -> None:
    good = parts[1].take(np.flatnonzero(parts[1].labels))
    with pytest.raises(TrainingRefused, match="expected relevant and irrelevant validation pairs"):
        train("deepdot", parts[0], good, tmp_path / "out", TrainOptions(), Silence())


def test_low_click_ratios_are_told_what_learns_them(tmp_path: Path, parts: Parts) -> None:
    ratios = replace(parts[0], targets=parts[0].targets * np.float32(0.1))
    with pytest.raises(TrainingRefused, match=r"got 0 relevant of .*: objective pairwise$"):
        train("deepdot", ratios, parts[1], tmp_path / "out", TrainOptions(), Silence())
    assert list(tmp_path.iterdir()) == []


def test_it_never_overwrites(tmp_path: Path, parts: Parts) -> None:
    with pytest.raises(TrainingRefused, match="exists already"):
        train("deepdot", *parts, tmp_path, TrainOptions(), Silence())


def test_a_diverging_loss_stops_it(tmp_path: Path, parts: Parts, encoder_folder: Path) -> None:
    huge = shutil.copytree(encoder_folder, tmp_path / "encoder")
    weights = load_file(huge / "model.safetensors")
    weights["bert.encoder.layer.0.intermediate.dense.weight"].fill_(3e38)
    save_file(weights, huge / "model.safetensors")
    options = TrainOptions(encoder=huge)
    with pytest.raises(
        TrainingRefused, match="epoch 1, step 1: the loss is nan: training diverged"
    ):
        train("reprbert", *parts, tmp_path / "out", options, Silence())
    assert list(tmp_path.iterdir()) == [huge]
