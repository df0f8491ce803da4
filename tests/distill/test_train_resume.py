"""A training that is stopped goes on as if it had not been, to the last bit on one thread."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.errors import TrainingRefused
from distill.objectives import Listwise, Objective, Pairwise, Pointwise
from distill.options import TrainOptions
from distill.train import Silence, Training, Validation, train
from export.pairs import Pairs

ROOT = Path(__file__).parents[2]
Parts = tuple[Pairs, Pairs]


class _Stopped(Exception):
    """What a power cut is to a test."""


class _StopsAt(Silence):
    """Stops a training once it has done so many steps in this run, wherever that is."""

    def __init__(self, validations: int) -> None:
        self._left = validations
        self.went_on_at: list[int] = []

    def resumed(self, step: int, steps: int) -> None:
        self.went_on_at.append(step)

    def validation(self, validation: Validation) -> None:
        self._left -= 1
        if self._left == 0:
            raise _Stopped


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def _options(kind: str, encoder: Path, objective: Objective) -> TrainOptions:
    return TrainOptions(
        epochs=2,
        patience=9,
        batch_size=64,
        validate_every=4,
        encoder=encoder if kind == "reprbert" else None,
        encoder_learning_rate=1e-3,
        objective=objective,
        save_minutes=0,  # after each step
    )


@pytest.mark.parametrize(
    ("kind", "objective"),
    [
        ("bert2dnn", Pointwise()),
        ("bert2dnn", Pointwise(pairs_per_title=3)),
        ("deepdot", Pairwise()),
        ("deepdot", Listwise(list_size=3)),
        ("reprbert", Pointwise()),  # has dropout, so torch's random state matters
    ],
)
def test_stopped_again_and_again_the_weights_are_the_same(
    kind: str, objective: Objective, tmp_path: Path, parts: Parts, encoder_folder: Path
) -> None:
    options = _options(kind, encoder_folder, objective)
    whole = train(kind, *parts, tmp_path / "whole", options, Silence())
    stopping = _StopsAt(2)
    ended: Training | None = None
    while ended is None:
        try:
            ended = train(kind, *parts, tmp_path / "parts", options, stopping)
        except _Stopped:
            assert (tmp_path / "parts.partial").is_dir()
            stopping = _StopsAt(2)
    assert stopping.went_on_at[0] > 0
    assert ended.validations == whole.validations
    assert _digests(tmp_path / "parts") == _digests(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]


class _StopsInside(Silence):
    """Stops between two validations, at a report of progress."""

    def __init__(self, reports: int) -> None:
        self._left = reports
        self.went_on_at = 0

    def resumed(self, step: int, steps: int) -> None:
        self.went_on_at = step

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        self._left -= 1
        if self._left == 0:
            raise _Stopped


@pytest.mark.parametrize("save_minutes", [0.0, 60.0])
def test_stopped_between_validations(tmp_path: Path, parts: Parts, save_minutes: float) -> None:
    few = parts[0].take(np.arange(400)), parts[1]
    options = TrainOptions(epochs=2, patience=9, batch_size=8, save_minutes=save_minutes)
    whole = train("bert2dnn", *few, tmp_path / "whole", options, Silence())
    with pytest.raises(_Stopped):
        train("bert2dnn", *few, tmp_path / "parts", options, _StopsInside(5))
    going_on = _StopsInside(0)
    ended = train("bert2dnn", *few, tmp_path / "parts", options, going_on)
    per_epoch = 50
    if save_minutes == 0:  # the step at whose report it stopped had not been saved yet
        assert going_on.went_on_at % per_epoch not in (0, 1)
    else:  # the last state is that of the last validation
        assert going_on.went_on_at == per_epoch
    assert ended.validations == whole.validations
    assert _digests(tmp_path / "parts") == _digests(tmp_path / "whole")


_SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from distill.options import TrainOptions
from distill.train import Silence, train
from export.pairs import PairColumns, read_pairs, split_by_query

class Aloud(Silence):
    def resumed(self, step, steps):
        print("resumed", step, flush=True)
    def step(self, epoch, step, steps, loss):
        print("step", flush=True)

pairs = read_pairs(Path(sys.argv[1]), PairColumns())
options = TrainOptions(epochs=2, patience=9, batch_size=4, save_minutes=0.0)
train("deepdot", *split_by_query(pairs), Path(sys.argv[2]), options, Aloud())
print("done", flush=True)
"""


def test_killed_it_goes_on(tmp_path: Path, pairs: Pairs) -> None:
    """With SIGKILL, at moments that the process doesn't choose."""
    path = tmp_path / "pairs.csv"
    few = pairs.take(np.arange(480))
    lines = zip(few.queries, few.titles, few.targets, strict=True)
    path.write_text("query,title,target\n" + "".join(f"{q},{t},{y:g}\n" for q, t, y in lines))

    def start(out: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, str(path), str(tmp_path / out)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )

    with start("whole") as whole:
        assert whole.wait() == 0
    went_on = 0
    for kill in range(9):
        with start("parts") as process:
            assert process.stdout is not None
            seen = 0
            for line in process.stdout:
                went_on += line.startswith("resumed")
                seen += line == "step\n"
                if seen == 3 and kill < 2:
                    time.sleep(0.004 * kill)
                    process.send_signal(signal.SIGKILL)
                    break
            if process.wait() == 0:
                break
    assert went_on == 2
    assert _digests(tmp_path / "parts") == _digests(tmp_path / "whole")


def test_another_training_is_not_gone_on_with(tmp_path: Path, parts: Parts) -> None:
    options = TrainOptions(epochs=2, batch_size=64)
    with pytest.raises(_Stopped):
        train("deepdot", *parts, tmp_path / "out", options, _StopsAt(1))
    kept = _digests(tmp_path / "out.partial" / "start")
    for kind, other, changed in (
        ("deepdot", replace(options, epochs=3), "epochs 2, now 3"),
        (
            "deepdot",
            replace(options, objective=Pairwise()),
            "objective 'pointwise', now 'pairwise'",
        ),
        ("bert2dnn", options, "student 'deepdot', now 'bert2dnn'"),
    ):
        with pytest.raises(TrainingRefused, match=f"unfinished training .*{changed}"):
            train(kind, *parts, tmp_path / "out", other, Silence())
    softer = replace(parts[0], targets=parts[0].targets * 0.9)
    with pytest.raises(TrainingRefused, match=r"unfinished training .*pairs '"):
        train("deepdot", softer, parts[1], tmp_path / "out", options, Silence())
    elsewhere_read = replace(parts[0], titles=parts[0].titles[::-1])  # as from another column
    with pytest.raises(TrainingRefused, match=r"unfinished training .*pairs '"):
        train("deepdot", elsewhere_read, parts[1], tmp_path / "out", options, Silence())
    # Neither has spoilt what is there; where and how often its state is saved may change.
    elsewhere = replace(options, device="cpu", save_minutes=1.0)
    train("deepdot", *parts, tmp_path / "out", elsewhere, Silence())
    whole = train("deepdot", *parts, tmp_path / "whole", options, Silence())
    assert _digests(tmp_path / "out") == _digests(whole.folder)
    assert kept.items() <= _digests(tmp_path / "out").items()


def test_a_damaged_state_is_refused(tmp_path: Path, parts: Parts) -> None:
    options = TrainOptions(epochs=2, batch_size=64)
    with pytest.raises(_Stopped):
        train("deepdot", *parts, tmp_path / "out", options, _StopsAt(1))
    state = tmp_path / "out.partial" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(TrainingRefused, match=r"damaged .*: remove .*out\.partial to start again"):
        train("deepdot", *parts, tmp_path / "out", options, Silence())


def test_stopped_before_its_first_state_it_leaves_nothing(tmp_path: Path, parts: Parts) -> None:
    with pytest.raises(_Stopped):
        train("deepdot", *parts, tmp_path / "out", TrainOptions(batch_size=8), _StopsInside(1))
    assert list(tmp_path.iterdir()) == []
