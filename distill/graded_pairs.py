"""Judged pairs with grades of any scale, as soft targets: a grade's place on its scale."""

import math
from dataclasses import dataclass
from pathlib import Path

from distill.errors import TrainingRefused
from evaluation.tables import ENCODING, Row
from export.errors import PairsRefused
from export.pairs import PairColumns, Pairs, read_pairs


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

    def relevant_from(self, told: float | None) -> float:
        """The target from which a pair counts as relevant: of the grade told, else the middle."""
        return self.target((self.lowest + self.highest) / 2 if told is None else told)


def parse_grades(text: str | None) -> Grades:
    """The scale that "1:3" means; that of targets, 0 to 1, where none is named.

    Raises:
        TrainingRefused: anything else.
    """
    if text is None:
        return Grades(0.0, 1.0)
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

    def target(row: Row, column: str) -> float:
        grade = row.number(column)
        if not grades.lowest <= grade <= grades.highest:
            raise PairsRefused(
                f"{row.place}: expected {column!r} from {grades.lowest:g} to "
                f"{grades.highest:g}, got {grade:g}: name the whole scale of the grades"
            )
        return grades.target(grade)

    return read_pairs(path, columns, encoding, target)
