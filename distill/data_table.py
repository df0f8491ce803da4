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

    judgments: Path | None = None  # split by evaluation.judgments.split_of
    train: Path | None = None
    valid: Path | None = None
    test: Path | None = None
    products: Path | None = None
    encoding: str = ENCODING
    query_column: str = "query"
    id_column: str = "product_id"
    title_column: str = "title"
    relevance_column: str = "relevance"
    relevant_from: float
    targets: dict[float, Share] = Field(default_factory=dict)
    least_grade: float | None = None
    most_grade: float | None = None

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
