"""teacher.json, of a teacher of any kind. No torch and no network here."""

import json
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from distill.errors import TeacherRefused

TEACHER_FILE = "teacher.json"
_STUDENT_FILE = "student.json"  # export.checkpoint's name for it, which comes with torch

Precision = Literal["int8", "float32"]
Facts = dict[str, str | int | float | bool | None]  # as in a student's checkpoint


class HeadConfig(BaseModel):
    """What stands on the encoder; stored in teacher.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pooling: Literal["cls", "mean"] = "cls"
    layers: Literal[1, 2] = 2
    dropout: float = 0.1


class Scale(BaseModel):
    """log odds = slope * raw logit + intercept; fitted after a listwise loss, else (1, 0)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slope: PositiveFloat = 1.0
    intercept: float = 0.0


class TeacherFile(BaseModel):
    """What teacher.json says; another format_version or an unknown field is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    kind: Literal["cross-encoder"] = "cross-encoder"
    pair_tokens: PositiveInt
    head: HeadConfig
    scale: Scale
    training: Facts


class OnnxTeacherFile(BaseModel):
    """What teacher.json says; another format_version or an unknown field is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    kind: Literal["cross-encoder-onnx"] = "cross-encoder-onnx"
    precision: Precision
    pair_tokens: PositiveInt
    pad: int
    scale: Scale
    teacher_sha256: str
    conversion: Facts  # what the comparison with PyTorch found


class LexicalTeacherFile(BaseModel):
    """What teacher.json says; another format_version or an unknown field is refused.

    features: names of what the trees see, by column
    models: files of trees, whose mean is the logit
    files: sha256 of each file that decides a logit, by name
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    kind: Literal["lexical"] = "lexical"
    features: tuple[str, ...]
    models: tuple[str, ...] = Field(min_length=1)
    files: dict[str, str]
    training: Facts


Described = TypeVar("Described", TeacherFile, OnnxTeacherFile, LexicalTeacherFile)


def teacher_kind(folder: Path) -> str | None:
    """Which of the classes above describes the teacher in a folder; "student" for a student's
    checkpoint, which labels as an assistant; None where that can't be told.

    Whoever opens it as one of them says what is wrong.
    """
    if (folder / _STUDENT_FILE).is_file():
        return "student"
    try:
        found = json.loads((folder / TEACHER_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    kind = found.get("kind") if isinstance(found, dict) else None
    return kind if isinstance(kind, str) else None


def read_teacher_file(path: Path, kind: type[Described]) -> Described:
    """What a teacher.json of that kind says.

    Raises:
        TeacherRefused: no such file, or not one of this kind and version.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise TeacherRefused(
            f"{path}: can't be read ({error.strerror}): expected the folder that `winnow teach` "
            "or `winnow teacher convert` wrote"
        ) from error
    except ValidationError as error:
        raise TeacherRefused(
            f"{path}: not the {TEACHER_FILE} of a {kind.model_fields['kind'].default}: {error}"
        ) from error


def relevant_probability(folder: Path) -> float:
    """The probability from which a teacher calls a pair relevant.

    Of a teacher of grades, the target that it was validated at, between those of irrelevant and of
    relevant grades; 0.5 of one that has learned relevant or not, or lists, whose scale is fitted to
    relevant or not.

    Raises:
        TeacherRefused: no teacher in that folder.
    """
    path = folder / TEACHER_FILE
    if teacher_kind(folder) == "lexical":
        facts = read_teacher_file(path, LexicalTeacherFile).training
    else:
        facts = read_teacher_file(path, TeacherFile).training
    if facts.get("binary") or facts.get("loss", "pointwise") != "pointwise":
        return 0.5
    return float(facts.get("relevant_from") or 0.5)


def write_teacher_file(
    description: TeacherFile | OnnxTeacherFile | LexicalTeacherFile, folder: Path
) -> None:
    """Writes teacher.json; it comes last, so a folder that has it has everything."""
    text = description.model_dump_json(indent=2) + "\n"
    (folder / TEACHER_FILE).write_text(text, encoding="utf-8")


def scaled(raw: NDArray[np.float32], scale: Scale) -> NDArray[np.float32]:
    """Log odds of raw logits, float32 [n]."""
    odds: NDArray[np.float32] = np.float32(scale.slope) * raw + np.float32(scale.intercept)
    return odds
