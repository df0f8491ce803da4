"""A student that goes on from a checkpoint: fine-tuning on judgements, or a second objective."""

import hashlib
import shutil
from dataclasses import fields
from pathlib import Path

from distill.errors import TrainingRefused
from distill.options import TrainOptions
from distill.start import Start
from export.checkpoint import STUDENT_FILE, WEIGHTS_FILE, Facts, load_checkpoint
from model_store.digest import file_sha256

# How a student is made anew: a checkpoint has been made already.
_OF_A_NEW_STUDENT = (
    "query_tokens",
    "product_tokens",
    "tokenizer",
    "minimum_frequency",
    "maximum_vocabulary",
    "encoder",
    "layers",
    "from_scratch",
    "late",
    "intermediate",
    "attention",
    "pooling",
    "codes",
)


def continue_student(kind: str, options: TrainOptions, folder: Path) -> Start:
    """The student of `options.start` with its weights; copies its tokenizer's files into `folder`.

    Raises:
        TrainingRefused: it is of another kind, or an option is about students made anew.
        CheckpointRefused: the checkpoint is not whole.
    """
    if options.start is None:
        raise TrainingRefused("start: expected the folder of a checkpoint, got none")
    defaults = {option.name: option.default for option in fields(options)}
    for name in _OF_A_NEW_STUDENT:
        if getattr(options, name) != defaults[name]:
            raise TrainingRefused(
                f"{name}: a student that starts from {options.start} has it already: leave it out"
            )
    checkpoint = load_checkpoint(options.start)
    if checkpoint.student.kind != kind:
        raise TrainingRefused(
            f"{options.start}: expected a checkpoint of student {kind}, got one of "
            f"{checkpoint.student.kind}"
        )
    for path in options.start.iterdir():
        if path.is_file() and path.name not in (STUDENT_FILE, WEIGHTS_FILE):
            shutil.copyfile(path, folder / path.name)
    facts: Facts = {
        "start": options.start.name,
        "start_sha256": file_sha256(options.start / WEIGHTS_FILE),
        **{f"start.{name}": fact for name, fact in checkpoint.training.items()},
    }
    return Start(checkpoint.student, checkpoint.tokenizer, checkpoint.spec, facts)


def kind_of(folder: Path) -> str:
    """The kind of a checkpoint's student.

    Raises:
        CheckpointRefused: the checkpoint is not whole.
    """
    return load_checkpoint(folder).student.kind


def checkpoint_sha256(folder: Path) -> str:
    """sha256 over the names and bytes of a checkpoint's files, whole or not."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.glob("*") if path.is_file()):
        digest.update(f"{path.name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()
