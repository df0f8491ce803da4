"""Fine-tuning of teachers: it learns, repeats itself, and goes on after it was stopped."""

import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from distill.cross_encoder import CrossEncoder
from distill.descent import Descent
from distill.errors import TrainingRefused
from distill.fine_tune import parameter_groups
from distill.pretrained import load_encoder
from distill.resume import Epoch
from distill.stack import stacked_probability
from distill.teach import Taught, teach
from distill.teach_options import Loss, TeachOptions
from distill.teacher import load_teacher
from distill.teacher_file import HeadConfig
from evaluation.metrics import ndcg, roc_auc
from export.pairs import Pairs
from tests.distill.families import FAMILIES, write_encoder

ROOT = Path(__file__).parents[2]
Parts = tuple[Pairs, Pairs]

QUICK = TeachOptions(
    epochs=2,
    batch_size=32,
    learning_rate=1e-3,
    head_learning_rate=1e-3,
    save_every=5,
)


def _silent(phase: str, done: int, total: int | None) -> None: ...


def _digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def few(parts: Parts) -> Parts:
    """160 training and 100 validation pairs, their targets graded."""
    random = np.random.default_rng(4)

    def graded(pairs: Pairs, count: int) -> Pairs:
        some = pairs.take(np.arange(count))
        noise = random.choice([-0.1, 0.0, 0.1], size=count).astype(np.float32)
        return replace(some, targets=some.targets + noise)

    return graded(parts[0], 160), graded(parts[1], 100)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, parts: Parts, encoder_folder: Path) -> Taught:
    """A teacher of all pairs."""
    out = tmp_path_factory.mktemp("taught") / "teacher"
    options = replace(QUICK, epochs=6, learning_rate=2e-3, relevant_from=0.4, seed=1)
    return teach(encoder_folder, *parts, out, options, _silent, "cpu")


def test_it_learns_and_keeps_the_best_epoch(taught: Taught, parts: Parts) -> None:
    teacher = load_teacher(taught.folder, "cpu")
    logits = teacher.logits(parts[1].queries, parts[1].titles)
    auc = roc_auc(parts[1].labels, logits)
    assert auc == taught.best.value == max(epoch.value for epoch in taught.epochs)
    assert auc > 0.75
    assert taught.epochs[-1].loss < taught.epochs[0].loss
    assert not taught.folder.with_name("teacher.partial").exists()


def test_teacher_json_says_where_it_came_from(taught: Taught, parts: Parts) -> None:
    document = json.loads((taught.folder / "teacher.json").read_text())
    assert document["kind"] == "cross-encoder"
    assert document["scale"] == {"slope": 1.0, "intercept": 0.0}
    assert document["pair_tokens"] % 8 == 0
    facts = document["training"]
    assert facts["best_epoch"] == taught.best.number
    assert facts["validation_roc_auc"] == taught.best.value
    assert (facts["seed"], facts["loss"]) == (1, "pointwise")
    assert facts["pairs"] == len(parts[0])
    assert facts["torch"] == torch.__version__


def test_stacking_two_seeds(
    taught: Taught, parts: Parts, encoder_folder: Path, tmp_path: Path
) -> None:
    options = replace(QUICK, epochs=6, learning_rate=2e-3, relevant_from=0.4, seed=2)
    teach(encoder_folder, *parts, tmp_path / "other", options, _silent, "cpu")
    one, other = (
        load_teacher(folder, "cpu").logits(parts[1].queries, parts[1].titles)
        for folder in (taught.folder, tmp_path / "other")
    )
    assert not np.array_equal(one, other)
    stacked = stacked_probability([one, other])
    alone = [roc_auc(parts[1].labels, each) for each in (one, other)]
    assert roc_auc(parts[1].labels, stacked) > sum(alone) / 2


class _Stop(Exception):
    """Raised in the middle of a training."""


class _StopAfter:
    """Stops a training at its n-th report of an epoch's steps."""

    def __init__(self, reports: int) -> None:
        self.left = reports
        self.phases: list[tuple[str, int]] = []

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        if phase.startswith("epoch"):
            self.phases.append((phase, done))
            self.left -= 1
            if self.left == 0:
                raise _Stop


@pytest.mark.parametrize("loss", ["pointwise", "listmle"])
def test_a_stopped_training_ends_with_the_same_files(
    loss: Loss, tmp_path: Path, few: Parts, encoder_folder: Path
) -> None:
    options = replace(QUICK, loss=loss, batch_size=8, epochs=3)
    rarely = replace(options, save_every=13)  # how often a state is written decides nothing
    teach(encoder_folder, *few, tmp_path / "whole", rarely, _silent, "cpu")
    stops = 0
    while not (tmp_path / "stopped").exists():
        progress = _StopAfter(3)  # each attempt comes ten or twenty steps further
        try:
            teach(encoder_folder, *few, tmp_path / "stopped", options, progress, "cpu")
        except _Stop:
            stops += 1
            state = tmp_path / "stopped.partial" / "state.safetensors"
            assert state.exists()
        assert stops < 10
        assert progress.phases[0] != ("epoch 1 of 3", 0) or stops == 1
    assert stops > 1
    assert _digest(tmp_path / "stopped") == _digest(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped", "whole"]


_KILLED = """
import sys, pathlib, pickle, torch
from distill.teach import teach
torch.set_num_threads(1)
encoder, pairs, validation, out, options = pickle.load(open(sys.argv[1], "rb"))
teach(encoder, pairs, validation, out, options, lambda *_: None, "cpu")
"""


def test_a_killed_training_ends_with_the_same_files(
    tmp_path: Path, few: Parts, encoder_folder: Path
) -> None:
    options = replace(QUICK, epochs=4, batch_size=4)
    teach(encoder_folder, *few, tmp_path / "whole", options, _silent, "cpu")
    told = tmp_path / "arguments"
    told.write_bytes(pickle.dumps((encoder_folder, *few, tmp_path / "killed", options)))
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(told)], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    state = tmp_path / "killed.partial" / "state.safetensors"
    while not state.exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert state.exists()
    teach(encoder_folder, *few, tmp_path / "killed", options, _silent, "cpu")
    assert _digest(tmp_path / "killed") == _digest(tmp_path / "whole")


def test_another_training_does_not_go_on_from_it(
    tmp_path: Path, few: Parts, encoder_folder: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(_Stop):
        teach(encoder_folder, *few, out, replace(QUICK, batch_size=8), _StopAfter(3), "cpu")
    with pytest.raises(TrainingRefused, match=r"other options or data \(seed 0, now 1\)"):
        teach(encoder_folder, *few, out, replace(QUICK, batch_size=8, seed=1), _silent, "cpu")
    swapped = (few[1], few[0])
    with pytest.raises(TrainingRefused, match=r"pairs '.*', now '.*', validation '"):
        teach(encoder_folder, *swapped, out, replace(QUICK, batch_size=8), _silent, "cpu")
    state = tmp_path / "out.partial" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-50])
    with pytest.raises(TrainingRefused, match=r"damaged .* to start again"):
        teach(encoder_folder, *few, out, replace(QUICK, batch_size=8), _silent, "cpu")


def test_the_temperature_of_ranks_decides_what_approxndcg_learns(
    few: Parts, encoder_folder: Path, tmp_path: Path
) -> None:
    """And nothing else: another loss has none, and its default is what teachers had before."""
    options = replace(QUICK, epochs=1, loss="approxndcg", relevant_from=0.4)
    losses = [
        teach(encoder_folder, *few, tmp_path / str(degrees), each, _silent, "cpu").epochs[0].loss
        for degrees in (0.1, 5.0)
        for each in [replace(options, rank_temperature=degrees)]
    ]
    assert losses[0] != losses[1]
    assert "rank_temperature" in replace(options, rank_temperature=5.0).deciding
    for silent in (options, replace(options, loss="listnet", rank_temperature=5.0)):
        assert "rank_temperature" not in silent.deciding


@pytest.mark.parametrize("loss", ["ranknet", "listnet", "listmle", "approxndcg"])
def test_a_listwise_teacher_learns_and_speaks_in_log_odds(
    loss: Loss, tmp_path: Path, parts: Parts, encoder_folder: Path
) -> None:
    options = replace(QUICK, loss=loss, epochs=4, learning_rate=2e-3, keep_best_by="ndcg_at_10")
    result = teach(encoder_folder, *parts, tmp_path / "teacher", options, _silent, "cpu")
    teacher = load_teacher(tmp_path / "teacher", "cpu")
    logits = teacher.logits(parts[1].queries, parts[1].titles).astype(np.float64)
    assert ndcg(parts[1].queries, parts[1].targets, logits).value == result.best.value
    assert result.best.value == max(epoch.value for epoch in result.epochs)
    assert roc_auc(parts[1].labels, logits) > 0.65
    assert teacher.description.scale.intercept != 0.0
    # Of log odds from a fit with an intercept, the mean probability is the share of the relevant.
    probability = 1 / (1 + np.exp(-logits))
    assert probability.mean() == pytest.approx(parts[1].labels.mean(), abs=0.01)
    fitted = _platt_loss(parts[1].labels, logits)
    for slope, shift in ((0.9, 0), (1.1, 0), (1, 0.1), (1, -0.1)):
        assert fitted < _platt_loss(parts[1].labels, logits * slope + shift)


def _platt_loss(labels: NDArray[np.bool_], logits: NDArray[np.float64]) -> float:
    """Log loss with Platt's smoothed targets."""
    good, bad = labels.sum(), (~labels).sum()
    targets = np.where(labels, (good + 1) / (good + 2), 1 / (bad + 2))
    return float((np.logaddexp(0, logits) - targets * logits).mean())


def test_binary_labels_are_learned_in_place_of_grades(
    tmp_path: Path, few: Parts, encoder_folder: Path
) -> None:
    labels = replace(few[0], targets=(few[0].targets >= 0.3).astype(np.float32))
    told = replace(QUICK, epochs=1, relevant_from=0.3)
    teach(encoder_folder, labels, few[1], tmp_path / "labels", told, _silent, "cpu")
    teach(encoder_folder, *few, tmp_path / "graded", told, _silent, "cpu")
    teach(encoder_folder, *few, tmp_path / "binary", replace(told, binary=True), _silent, "cpu")
    weights = {
        name: (tmp_path / name / "model.safetensors").read_bytes()
        for name in ("labels", "graded", "binary")
    }
    assert weights["binary"] == weights["labels"] != weights["graded"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_teach(family: str, tmp_path: Path, few: Parts) -> None:
    encoder = write_encoder(family, tmp_path / "encoder", [*few[0].queries, *few[0].titles])
    options = replace(QUICK, epochs=1, layer_decay=0.9, pooling="mean", head_layers=1)
    result = teach(encoder, *few, tmp_path / "teacher", options, _silent, "cpu")
    logits = load_teacher(tmp_path / "teacher", "cpu").logits(few[1].queries, few[1].titles)
    assert roc_auc(few[1].labels, logits) == result.best.figures["roc_auc"]


def test_rates_fall_with_depth_and_only_matrices_decay(tmp_path: Path, few: Parts) -> None:
    encoder = load_encoder(write_encoder("bert", tmp_path / "encoder", few[0].titles))
    model = CrossEncoder(encoder, encoder.config, HeadConfig())
    descent = replace(QUICK, layer_decay=0.5, learning_rate=8e-4, head_learning_rate=3e-3).descent
    rate_of = {}
    for group in parameter_groups(model, descent):
        members = {id(parameter) for parameter in group["params"]}
        for name, parameter in model.named_parameters():
            if id(parameter) in members:
                rate_of[name] = group["peak"]
                assert group["weight_decay"] == (0.01 if parameter.ndim > 1 else 0.0)
    assert len(rate_of) == len(list(model.named_parameters()))
    assert rate_of["head.1.weight"] == 3e-3
    assert rate_of["encoder.encoder.layer.1.output.dense.weight"] == 8e-4
    assert rate_of["encoder.encoder.layer.0.output.LayerNorm.bias"] == 4e-4
    assert rate_of["encoder.embeddings.word_embeddings.weight"] == 2e-4


def test_the_rate_rises_and_falls() -> None:
    descent: Descent = replace(QUICK, warm_up=0.2).descent
    assert [descent.factor(done) for done in (0.1, 0.2, 0.6, 1.0)] == pytest.approx(
        [0.5, 1.0, 0.5, 0.0]
    )
    assert replace(QUICK, warm_up=0.0).descent.factor(0.0) == 1.0


def test_only_the_latest_best_epoch_is_kept_on_disk(
    tmp_path: Path, few: Parts, encoder_folder: Path
) -> None:
    seen: list[list[str]] = []

    def watch(phase: str, done: int, total: int | None) -> None:
        if phase.startswith("epoch") and done == 0 and "epoch 1" not in phase:
            seen.append(sorted(path.name for path in (tmp_path / "out.partial").glob("best-*")))

    options = replace(QUICK, epochs=4, learning_rate=2e-3)
    result = teach(encoder_folder, *few, tmp_path / "out", options, watch, "cpu")
    best: list[Epoch] = []
    for found, epoch in zip(seen, result.epochs, strict=False):
        best += [epoch] if epoch.best else []
        assert found == [f"best-{best[-1].number}.safetensors"]


def test_torchs_random_state_is_left_alone(
    tmp_path: Path, few: Parts, encoder_folder: Path
) -> None:
    before = torch.random.get_rng_state()
    teach(encoder_folder, *few, tmp_path / "out", replace(QUICK, epochs=1), _silent, "cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"loss": "hinge"}, "loss: expected one of pointwise, .*, got 'hinge'"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"list_size": 1}, "list_size: expected at least 2"),
        ({"learning_rate": float("nan")}, "learning_rate: expected above 0"),
        ({"warm_up": 1.0}, "warm_up: expected 0 to below 1"),
        ({"layer_decay": 0.0}, "layer_decay: expected above 0"),
        ({"clip": 0.0}, "clip: expected above 0"),
        ({"top_grade": 11.0}, "top_grade: expected above 0 to 10"),
        ({"rank_temperature": 0.0}, "rank_temperature: expected above 0"),
        ({"pair_tokens": 4}, "pair_tokens: expected at least 8"),
    ],
)
def test_options_out_of_range_are_named(wrong: dict[str, float], expected: str) -> None:
    with pytest.raises(TrainingRefused, match=expected):
        TeachOptions(**wrong)  # type: ignore[arg-type]


def test_it_says_why_it_will_not_start(tmp_path: Path, few: Parts, encoder_folder: Path) -> None:
    def refused(expected: str, options: TeachOptions, parts: Parts, out: Path) -> None:
        with pytest.raises(TrainingRefused, match=expected):
            teach(encoder_folder, *parts, out, options, _silent, "cpu")

    out = tmp_path / "out"
    refused("exists already", QUICK, few, tmp_path)
    good = few[1].take(np.flatnonzero(few[1].labels))
    refused("expected relevant and irrelevant validation pairs", QUICK, (few[0], good), out)
    refused("pair_tokens: expected at most 40", replace(QUICK, pair_tokens=41), few, out)
    apart = replace(few[0], queries=[f"{i}" for i in range(len(few[0]))])
    refused("nothing to put in order", replace(QUICK, loss="ranknet"), (apart, few[1]), out)
    assert list(tmp_path.iterdir()) == []


def test_a_diverging_loss_stops_it(tmp_path: Path, few: Parts, encoder_folder: Path) -> None:
    huge = shutil.copytree(encoder_folder, tmp_path / "encoder")
    weights = load_file(huge / "model.safetensors")
    weights["bert.encoder.layer.0.intermediate.dense.weight"].fill_(3e38)
    save_file(weights, huge / "model.safetensors")
    with pytest.raises(TrainingRefused, match="epoch 1, step 1: the loss is nan: training"):
        teach(huge, *few, tmp_path / "out", QUICK, _silent, "cpu")


def test_after_a_diverging_loss_a_smaller_rate_begins_anew(
    tmp_path: Path, few: Parts, encoder_folder: Path
) -> None:
    huge = shutil.copytree(encoder_folder, tmp_path / "encoder")
    weights = load_file(huge / "model.safetensors")
    weights["bert.embeddings.position_embeddings.weight"][16:] = 3e38  # of long pairs alone
    save_file(weights, huge / "model.safetensors")
    for rate in (1e-3, 1e-4):  # each ends at a later step than the first, which has left a state
        options = replace(QUICK, save_every=1, learning_rate=rate)
        with pytest.raises(TrainingRefused, match=r"epoch 1, step [2-5]: the loss is nan"):
            teach(huge, *few, tmp_path / "out", options, _silent, "cpu")
        assert list(tmp_path.iterdir()) == [huge]
