"""Judged pairs with grades of any scale, as soft targets: a grade's place on its scale."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distill.errors import TrainingRefused
from evaluation.errors import InputFileError
from evaluation.tables import ENCODING, rows
from export.errors import PairsRefused
from export.pairs import PairColumns, Pairs


@dataclass(frozen=True)
class Grades:
    """The ends of a scale of grades.

    Raises:
        TrainingRefused: the ends are not in order, or not finite.
    """

    lowest: float
    highest: float

    def __post_init__(self) -> None:
        """Checks the order."""
        if not (math.isfinite(self.highest) and -math.inf < self.lowest < self.highest):
            raise TrainingRefused(
                f"grades: expected LOWEST:HIGHEST, such as 1:3, got {self.lowest:g}:"
                f"{self.highest:g}"
            )

    def target(self, grade: float) -> float:
        """The grade's place on the scale: 0 at its lower end, 1 at its upper."""
        return (grade - self.lowest) / (self.highest - self.lowest)


def parse_grades(text: str) -> Grades:
    """The scale that "1:3" means.

    Raises:
        TrainingRefused: anything else.
    """
    lowest, colon, highest = text.partition(":")
    try:
        return Grades(float(lowest), float(highest if colon else "nan"))
    except ValueError:
        raise TrainingRefused(
            f"grades: expected LOWEST:HIGHEST, such as 1:3, got {text!r}"
        ) from None


def read_graded_pairs(
    path: Path, columns: PairColumns, grades: Grades, encoding: str = ENCODING
) -> Pairs:
    """Reads a CSV, TSV or JSONL file whose target column holds grades; targets are in [0, 1].

    Raises:
        PairsRefused: the file can't be read, or a row lacks a query, a title or a grade on the
            scale; the text names the line.
    """
    queries: list[str] = []
    titles: list[str] = []
    targets: list[float] = []
    try:
        for row in rows(path, encoding):
            queries.append(row.text(columns.query))
            titles.append(row.text(columns.title))
            grade = row.number(columns.target)
            if not grades.lowest <= grade <= grades.highest:
                raise PairsRefused(
                    f"{row.place}: expected {columns.target!r} from {grades.lowest:g} to "
                    f"{grades.highest:g}, got {grade:g}: name the whole scale of the grades"
                )
            targets.append(grades.target(grade))
    except InputFileError as error:
        raise PairsRefused(str(error)) from error
    if not queries:
        raise PairsRefused(f"{path.name}: expected at least one pair, found none")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Pairs(path.name, sha256, queries, titles, np.array(targets, dtype=np.float32))
