"""What teachers say of the pairs of a transfer set: a folder of logits, and soft targets of them.

labels/<teacher>/
    labels.json   which pairs and which teacher; written first
    000000.npy    float32 [4096]: log odds of relevance of rows 0..4095, in the order of the pairs
    000001.npy    ... the last one may be shorter; a shard is there whole or not at all
"""

import hashlib
import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from distill.errors import LabelsRefused
from distill.stack import stacked_probability
from distill.transfer_file import BEHAVIOUR_COLUMN
from evaluation.tables import ENCODING, Row, rows
from export.pairs import Pairs
from model_store.digest import file_sha256

LABELS_FILE = "labels.json"
SHARD_SIZE = 4096


@dataclass(frozen=True)
class PairsFile:
    """A table with a query and a title in each row: a transfer set, or any other pairs."""

    path: Path
    query: str = "query"
    title: str = "title"
    encoding: str = ENCODING

    def rows(self) -> Generator[Row]:
        """The rows, as they are asked for; who may stop before the last takes them `closing`.

        Raises:
            InputFileError: the file can't be read.
        """
        return rows(self.path, self.encoding)

    def texts(self) -> Iterator[tuple[str, str]]:
        """(query, title) of each row, as they are asked for.

        Raises:
            InputFileError: the file can't be read, or a row lacks one of the two.
        """
        with closing(self.rows()) as lines:
            for row in lines:
                yield row.text(self.query), row.text(self.title)


class LabelsFile(BaseModel):
    """What labels.json says; another format_version or an unknown field is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    pairs: str  # name of the file, for people
    pairs_sha256: str
    rows: PositiveInt
    query_column: str
    title_column: str
    encoding: str
    teacher: str  # name, for people
    teacher_sha256: str
    shard_size: PositiveInt

    @property
    def shards(self) -> int:
        """How many shards hold all rows."""
        return -(-self.rows // self.shard_size)

    def shards_of(self, most: int | None) -> range:
        """The shards that the first `most` rows lie in; None: all."""
        wanted = self.rows if most is None else min(most, self.rows)
        return range(-(-wanted // self.shard_size))

    def shard_rows(self, shard: int) -> int:
        """Rows of a shard, counted from 0."""
        return min(self.shard_size, self.rows - shard * self.shard_size)


def read_labels_file(folder: Path) -> LabelsFile:
    """What a folder holds labels of.

    Raises:
        LabelsRefused: no labels.json, or not one of this version.
    """
    path = folder / LABELS_FILE
    try:
        return LabelsFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise LabelsRefused(
            f"{path}: can't be read: {error.strerror or error}: give a folder that `winnow label` "
            "wrote"
        ) from error
    except ValidationError as error:
        raise LabelsRefused(f"{path}: not labels of this version: {error}") from error


def shard_path(folder: Path, shard: int) -> Path:
    """Where a shard lies, counted from 0."""
    return folder / f"{shard:06}.npy"


def read_shard(folder: Path, shard: int, expected_rows: int) -> NDArray[np.float32]:
    """Logits of one shard, float32 [expected_rows].

    Raises:
        LabelsRefused: missing, or not what was written.
    """
    path = shard_path(folder, shard)
    try:
        logits = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise LabelsRefused(
            f"{path}: missing: the labelling was stopped; run it again, and it goes on there"
        ) from error
    except (OSError, ValueError) as error:
        raise LabelsRefused(f"{path}: damaged ({error}): remove it and label again") from error
    if logits.dtype != np.float32 or logits.shape != (expected_rows,):
        raise LabelsRefused(
            f"{path}: expected float32 [{expected_rows}], got {logits.dtype} "
            f"{list(logits.shape)}: remove it and label again"
        )
    whole: NDArray[np.float32] = logits
    return whole


def read_labels(folder: Path, most: int | None = None) -> NDArray[np.float32]:
    """Logits of all n rows in the order of their pairs, float32 [n]; or of the first `most`.

    Raises:
        LabelsRefused: the folder holds no labels, or a shard of these rows is missing or damaged.
    """
    file = read_labels_file(folder)
    parts = [read_shard(folder, shard, file.shard_rows(shard)) for shard in file.shards_of(most)]
    return np.concatenate([*parts, np.empty(0, np.float32)])[:most]


def read_soft_pairs(
    pairs: PairsFile,
    labels: Sequence[Path],
    *,
    temperature: float = 1.0,
    behaviour: bool = False,
    most: int | None = None,
) -> Pairs:
    """Training pairs: the texts of a file, with the soft targets of its labels.

    Args:
        pairs: the file that was labelled.
        labels: folders of one or more teachers.
        temperature: divides every logit.
        behaviour: the target of a pair that somebody clicked or ordered (column `behaviour`) is 1,
            whatever the teachers say.
        most: only so many rows from the start, of which labels are enough.

    Raises:
        LabelsRefused: labels of other pairs, missing or damaged ones, two folders of one teacher,
            or behaviour asked of a file that has none.
        InputFileError: the pairs can't be read.
    """
    files = [read_labels_file(folder) for folder in labels]
    _check_teachers_differ(labels, files)
    sha256 = pairs_sha256(pairs)
    for folder, file in zip(labels, files, strict=True):
        _check_same_pairs(folder, file, pairs, sha256)
    targets = stacked_probability([read_labels(folder, most) for folder in labels], temperature)
    queries: list[str] = []
    titles: list[str] = []
    known: dict[str, str] = {}  # one string per text: a query stands in many rows, a title too
    with closing(pairs.rows()) as lines:
        for number, row in enumerate(islice(lines, len(targets))):
            query, title = row.text(pairs.query), row.text(pairs.title)
            queries.append(known.setdefault(query, query))
            titles.append(known.setdefault(title, title))
            if behaviour and _wanted(row):
                targets[number] = 1.0
    facts = {
        "pairs": sha256,
        "teachers": [file.teacher_sha256 for file in files],
        "temperature": temperature,
        "behaviour": behaviour,
        "rows": len(queries),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Pairs(pairs.path.name, digest, queries, titles, targets)


def pairs_sha256(pairs: PairsFile) -> str:
    """sha256 of the file's bytes.

    Raises:
        LabelsRefused: it can't be read.
    """
    try:
        return file_sha256(pairs.path)
    except OSError as error:
        raise LabelsRefused(f"{pairs.path}: can't be read: {error.strerror or error}") from error


def _check_teachers_differ(folders: Sequence[Path], files: Sequence[LabelsFile]) -> None:
    """One teacher given twice would count twice in the mean."""
    seen: dict[str, Path] = {}
    for folder, file in zip(folders, files, strict=True):
        if file.teacher_sha256 in seen:
            raise LabelsRefused(
                f"{folder}: expected labels of another teacher than {seen[file.teacher_sha256]}, "
                f"got the same one's ({file.teacher}), which would count twice: leave one out"
            )
        seen[file.teacher_sha256] = folder


def _check_same_pairs(folder: Path, file: LabelsFile, pairs: PairsFile, sha256: str) -> None:
    expected = (sha256, pairs.query, pairs.title, pairs.encoding)
    got = (file.pairs_sha256, file.query_column, file.title_column, file.encoding)
    if got != expected:
        raise LabelsRefused(
            f"{folder}: expected labels of {pairs.path.name} (sha256 {sha256[:12]}, columns "
            f"{pairs.query!r} and {pairs.title!r}, {pairs.encoding}), got labels of {file.pairs} "
            f"(sha256 {file.pairs_sha256[:12]}, columns {file.query_column!r} and "
            f"{file.title_column!r}, {file.encoding}): label this file"
        )


def _wanted(row: Row) -> bool:
    if not row.has(BEHAVIOUR_COLUMN):
        raise LabelsRefused(
            f"{row.place}: no column {BEHAVIOUR_COLUMN!r}: behavioural positives come from a log "
            "(winnow transfer --logs ... --behaviour clicked)"
        )
    value = row.fields[BEHAVIOUR_COLUMN]
    if value not in ("", None, "1", 1):
        raise LabelsRefused(
            f"{row.place}: expected 1 or nothing in {BEHAVIOUR_COLUMN!r}, got {value!r}"
        )
    return value in ("1", 1)
