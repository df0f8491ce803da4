"""[data] of a recipe: which files the judgements are in, and what targets their grades become."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from distill.table import Share, Table
from evaluation.tables import ENCODING


class Data(Table):
    """Judged pairs, whole or one file per split, and the products that give them their titles.

    Without a product file the titles stand beside the judgements, and the judged products are the
    catalogue. Targets in [0, 1] come from the grades: by a table, by a straight line from
    least_grade (0) to most_grade (1), else 1 from relevant_from on and 0 below.
    """

    judgments: Path | None = None  # one file, split by query
    train: Path | None = None  # in place of `judgments`: a file for each split
    valid: Path | None = None  # stops trainings, gates the export, fits the score scale
    test: Path | None = None  # is looked at for figures only
    products: Path | None = None  # the catalogue
    encoding: str = ENCODING  # of all of these files
    query_column: str = "query"  # in judgements
    id_column: str = "product_id"  # in judgements and products
    title_column: str = "title"  # in products, else in judgements
    relevance_column: str = "relevance"  # in judgements: the grade, a number
    relevant_from: float  # lowest grade that counts as relevant
    targets: dict[float, Share] = Field(default_factory=dict)  # by grade: what teachers learn
    least_grade: float | None = None  # grade of target 0, where there are no `targets`
    most_grade: float | None = None  # grade of target 1

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        per_split = [self.train, self.valid, self.test]
        if (self.judgments is None) != all(per_split) or (self.judgments and any(per_split)):
            raise ValueError(
                "expected either judgments (one file, split by the rule), or train, valid and test"
            )
        line = (self.least_grade, self.most_grade)
        if (line[0] is None) != (line[1] is None) or (self.targets and line[0] is not None):
            raise ValueError("expected either targets, or least_grade and most_grade, or neither")
        if line[0] is not None and line[1] is not None and not line[0] < line[1]:
            raise ValueError(f"least_grade: expected below most_grade, {line[1]}, got {line[0]}")
        if not math.isfinite(self.relevant_from):
            raise ValueError(f"relevant_from: expected a grade, got {self.relevant_from}")
        grades = sorted(self.targets)
        if any(self.targets[low] > self.targets[high] for low, high in pairwise(grades)):
            raise ValueError("targets: expected targets that rise with their grades")
        return self

    def target_of(self, grade: float) -> float:
        """The target of a grade.

        Raises:
            ValueError: a grade that the table lacks or the line doesn't reach.
        """
        if self.targets:
            if grade not in self.targets:
                known = ", ".join(f"{each:g}" for each in sorted(self.targets))
                raise ValueError(f"expected one of the grades in targets ({known}), got {grade:g}")
            return self.targets[grade]
        if self.least_grade is None or self.most_grade is None:
            return float(grade >= self.relevant_from)
        if not self.least_grade <= grade <= self.most_grade:
            raise ValueError(
                f"expected a grade from least_grade, {self.least_grade:g}, to most_grade, "
                f"{self.most_grade:g}, got {grade:g}"
            )
        return (grade - self.least_grade) / (self.most_grade - self.least_grade)
