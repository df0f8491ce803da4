"""A checkpoint on disk: student.json, model.safetensors and the tokenizer's files. No pickle.

student.json        kind, sizes, tokenizer and its limits, facts of the training
model.safetensors   every weight, the encoder's too
vocabulary.u64      CWUB: what the tokenizer reads; vocabulary.txt is the same for people
tokenizer.json      WordPiece: of every student with an encoder, or of a bag of word pieces
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as WordPieces
from torch import Tensor

from export.errors import CheckpointRefused
from export.students import build_student
from export.students.student import Student
from model_store.cwub import VOCABULARY_FILE, Vocabulary
from model_store.errors import TokenizerError
from model_store.manifest import TokenizerSpec
from model_store.tokenizer import Tokenizer, open_tokenizer
from model_store.wordpiece import TOKENIZER_FILE

STUDENT_FILE = "student.json"
WEIGHTS_FILE = "model.safetensors"

Facts = dict[str, str | int | float | bool | None]


class StudentFile(BaseModel):
    """What student.json says; another format_version or an unknown field is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1]
    student: str
    config: dict[str, object]
    tokenizer: TokenizerSpec
    training: Facts


@dataclass(frozen=True)
class Checkpoint:
    """A student in eval mode, its tokenizer, and where they came from."""

    folder: Path
    student: Student
    tokenizer: Tokenizer
    spec: TokenizerSpec
    training: Facts


def save_weights(student: Student, folder: Path) -> None:
    """Writes every tensor of the student."""
    tensors = {name: tensor.contiguous() for name, tensor in student.state_dict().items()}
    save_file(tensors, folder / WEIGHTS_FILE)


def save_checkpoint(student: Student, spec: TokenizerSpec, training: Facts, folder: Path) -> None:
    """Writes weights and student.json beside the tokenizer's files, which are there already."""
    save_weights(student, folder)
    save_student_file(student, spec, training, folder)


def save_student_file(student: Student, spec: TokenizerSpec, training: Facts, folder: Path) -> None:
    """Writes student.json; it comes last, so a folder that has it has everything."""
    description = StudentFile(
        format_version=1,
        student=student.kind,
        config=student.config.model_dump(mode="json"),
        tokenizer=spec,
        training=training,
    )
    text = description.model_dump_json(indent=2) + "\n"
    (folder / STUDENT_FILE).write_text(text, encoding="utf-8")


def load_checkpoint(folder: Path) -> Checkpoint:
    """Opens a checkpoint after checking that every tensor is there, shaped right, and finite.

    Raises:
        CheckpointRefused: a file is missing or damaged, the kind is unknown, or the tensors are
            not that student's.
    """
    path = folder / STUDENT_FILE
    try:
        description = StudentFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CheckpointRefused(
            f"{path}: can't be read ({error.strerror}): expected the folder that training wrote"
        ) from error
    except ValidationError as error:
        raise CheckpointRefused(f"{path}: not a student.json: {error}") from error
    student = build_student(description.student, description.config)
    _load_weights(student, folder / WEIGHTS_FILE)
    tokenizer = _open_tokenizer(folder, description)
    student.eval()
    return Checkpoint(folder, student, tokenizer, description.tokenizer, description.training)


def _open_tokenizer(folder: Path, description: StudentFile) -> Tokenizer:
    try:
        tokenizer = open_tokenizer(folder, description.tokenizer)
        rows = description.config.get("vocabulary")  # of a bag's table; an encoder has none here
        if rows is not None or description.tokenizer.kind == "cwub":
            name, entries = _entries(folder, description.tokenizer)
            if entries != rows:
                raise CheckpointRefused(
                    f"{folder / name}: expected {rows} entries, as the table has rows, got "
                    f"{entries}: it is another student's"
                )
    except TokenizerError as error:
        raise CheckpointRefused(f"{folder}: {error}") from error
    return tokenizer


def _entries(folder: Path, spec: TokenizerSpec) -> tuple[str, int]:
    """The vocabulary's file, and how many tokens it knows."""
    if spec.kind == "cwub":
        return VOCABULARY_FILE, len(Vocabulary.open(folder / VOCABULARY_FILE))
    words = WordPieces.from_file(str(folder / TOKENIZER_FILE))
    return TOKENIZER_FILE, int(words.get_vocab_size())


def _load_weights(student: Student, path: Path) -> None:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointRefused(f"{path}: not a whole safetensors file: {error}") from error
    expected = student.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - expected.keys())
    if missing or unexpected:
        raise CheckpointRefused(
            f"{path}: not the tensors of student {student.kind}. "
            f"Missing: {', '.join(missing) or 'none'}. "
            f"Unexpected: {', '.join(unexpected) or 'none'}."
        )
    for name, tensor in tensors.items():
        _check_tensor(name, tensor, expected[name], path)
    student.load_state_dict(tensors)


def _check_tensor(name: str, tensor: Tensor, expected: Tensor, path: Path) -> None:
    if tensor.shape != expected.shape or tensor.dtype != expected.dtype:
        raise CheckpointRefused(
            f"{path}: {name}: expected {expected.dtype} {list(expected.shape)}, "
            f"got {tensor.dtype} {list(tensor.shape)}"
        )
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).sum())
        raise CheckpointRefused(
            f"{path}: {name}: {bad} of {tensor.numel()} values are NaN or infinite: "
            "the training diverged; train again with a smaller learning rate"
        )
