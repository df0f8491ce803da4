"""Checkpoints: what is saved comes back; what is not whole is refused, naming the part."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from export.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from export.errors import CheckpointRefused
from tests.export.small import KINDS


@pytest.fixture
def copy(tmp_path: Path, trained: dict[str, Checkpoint]) -> Path:
    """A BERT2DNN checkpoint that a test may damage."""
    return Path(shutil.copytree(trained["bert2dnn"].folder, tmp_path / "checkpoint"))


@pytest.mark.parametrize("kind", KINDS)
def test_saving_what_was_loaded_gives_the_same_files(
    kind: str, tmp_path: Path, trained: dict[str, Checkpoint]
) -> None:
    checkpoint = trained[kind]
    save_checkpoint(checkpoint.student, checkpoint.spec, checkpoint.training, tmp_path)
    for name in ("student.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (checkpoint.folder / name).read_bytes()


def test_a_checkpoint_needs_no_encoder_folder(trained: dict[str, Checkpoint]) -> None:
    names = {path.name for path in trained["reprbert"].folder.iterdir()}
    assert names == {"student.json", "model.safetensors", "tokenizer.json"}
    tensors = load_file(trained["reprbert"].folder / "model.safetensors")
    assert "encoder.encoder.layer.1.output.dense.weight" in tensors
    assert not any(name.startswith("encoder.encoder.layer.2") for name in tensors)


@pytest.mark.parametrize("name", ["student.json", "model.safetensors", "vocabulary.u64"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(CheckpointRefused, match=name):
        load_checkpoint(copy)


@pytest.mark.parametrize("name", ["student.json", "model.safetensors", "vocabulary.u64"])
def test_a_truncated_file_is_named(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2 - 1])
    with pytest.raises(CheckpointRefused, match=name):
        load_checkpoint(copy)


def _edit(folder: Path, **changes: object) -> None:
    path = folder / "student.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"student": "gpt"}, "unknown student 'gpt': expected one of bert2dnn, deepdot, reprbert"),
        ({"config": {"vocabulary": -1}}, "not a configuration of student bert2dnn"),
        ({"config": {"vocabulary": 9, "depth": 3}}, "not a configuration of student bert2dnn"),
        (
            {"student": "deepdot", "config": {"vocabulary": 9}},
            "Missing: b, tower_p.*Unexpected: W1",
        ),
        ({"format_version": 2}, "not a student.json"),
        ({"surprise": 1}, "not a student.json"),
    ],
)
def test_a_foreign_student_json_is_refused(
    copy: Path, changes: dict[str, object], expected: str
) -> None:
    _edit(copy, **changes)
    with pytest.raises(CheckpointRefused, match=expected):
        load_checkpoint(copy)


def test_missing_and_unexpected_tensors_are_both_listed(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["extra.weight"] = tensors.pop("out.bias")
    save_file(tensors, copy / "model.safetensors")
    expected = r"Missing: out\.bias\. Unexpected: extra\.weight\."
    with pytest.raises(CheckpointRefused, match=expected):
        load_checkpoint(copy)


def test_a_tensor_of_another_shape_is_named(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["out.weight"] = torch.zeros(1, 63)
    save_file(tensors, copy / "model.safetensors")
    expected = r"out\.weight: expected torch\.float32 \[1, 64\], got torch\.float32 \[1, 63\]"
    with pytest.raises(CheckpointRefused, match=expected):
        load_checkpoint(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_that_is_not_finite_is_named(copy: Path, value: float) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["layers.1.weight"][3, 5] = value
    save_file(tensors, copy / "model.safetensors")
    expected = r"layers\.1\.weight: 1 of \d+ values are NaN or infinite"
    with pytest.raises(CheckpointRefused, match=expected):
        load_checkpoint(copy)


def test_another_vocabulary_is_refused(copy: Path) -> None:
    content = (copy / "vocabulary.u64").read_bytes()
    (copy / "vocabulary.u64").write_bytes(content[:-8])
    with pytest.raises(
        CheckpointRefused, match=r"vocabulary\.u64: expected \d+ entries, .* got \d+"
    ):
        load_checkpoint(copy)
