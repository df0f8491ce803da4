"""Pairs to train on: from a table with targets, or from one with the labels of teachers."""

from array import array
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distill.errors import TrainingRefused
from distill.labels import PairsFile, read_labels_file, read_soft_pairs
from distill.teacher_file import Facts
from evaluation.tables import ENCODING, rows
from export.pairs import PairColumns, Pairs, read_pairs, target_of


@dataclass(frozen=True, kw_only=True)
class PairSource:
    """Where pairs come from.

    path: a table of queries, titles and, without labels, targets
    labels: folders of `winnow label`; the target is then their mean, softened. The table's encoding
        is the one that it was labelled in
    temperature: divides the logits of every teacher
    behaviour: with labels: a pair that somebody clicked or ordered has target 1
    hard_column: what people say beside the targets, a number in [0, 1] or nothing; with labels it
        may be the column of targets, which the labels then stand in for
    max_pairs: so many from the start of the file. A transfer set comes in random order, the pairs
        of a query together, so that its first pairs are a smaller set of the same kind

    Raises:
        TrainingRefused: what only labels make sense of, without labels; a value out of range.
    """

    path: Path
    columns: PairColumns = PairColumns()  # noqa: RUF009 - frozen
    labels: tuple[Path, ...] = ()
    temperature: float = 1.0
    behaviour: bool = False
    hard_column: str | None = None
    max_pairs: int | None = None

    def __post_init__(self) -> None:
        """Checks the combination."""
        if self.max_pairs is not None and self.max_pairs < 1:
            raise TrainingRefused(f"max_pairs: expected at least 1, got {self.max_pairs}")
        only_with_labels = {
            "temperature": (self.temperature != 1.0, "softens the labels of teachers"),
            "behaviour": (self.behaviour, "puts a 1 in place of a teacher's label"),
            "hard_column": (
                self.hard_column == self.columns.target,
                f"{self.hard_column!r} holds the targets, which labels would stand in for",
            ),
        }
        for name, (given, does) in only_with_labels.items():
            if given and not self.labels:
                raise TrainingRefused(
                    f"{name}: {does}, and there are none: give folders of labels of "
                    f"{self.path.name}, or leave it out"
                )


def read_training_pairs(source: PairSource) -> Pairs:
    """The pairs of a file, with targets from it or from labels.

    Raises:
        PairsRefused: the file can't be read, or a row lacks what it should have.
        LabelsRefused: labels of other pairs, missing or damaged ones.
        InputFileError: a row of a labelled file lacks what it should have.
    """
    pairs = _labelled(source) if source.labels else read_pairs(source.path, source.columns)
    if source.max_pairs is not None and len(pairs) > source.max_pairs:
        pairs = pairs.take(np.arange(source.max_pairs))
    if source.hard_column is not None:
        pairs = replace(pairs, hard=_hard(source, source.hard_column, len(pairs)))
    return pairs


def judged_by_people(pairs: Pairs) -> Pairs:
    """Pairs to validate on: those with a human label, which is their target then.

    Without human labels beside the targets, all of them as they are.
    """
    if pairs.hard is None:
        return pairs
    judged = np.flatnonzero(~np.isnan(pairs.hard))
    return replace(pairs.take(judged), targets=pairs.hard[judged], hard=None)


def check_classes(
    pairs: Pairs,
    what: Literal["training", "validation"],
    relevant_from: float = 0.5,
    *,
    instead: str = "",
) -> None:
    """Refuses pairs that nothing can be learned from, or validated on.

    `instead` says what else can be done about them.

    Raises:
        TrainingRefused: the targets all lie on one side of `relevant_from`.
    """
    relevant = int((pairs.targets >= relevant_from).sum())
    if not 0 < relevant < len(pairs):
        raise TrainingRefused(
            f"{pairs.source}: expected relevant and irrelevant {what} pairs (target >= "
            f"{relevant_from:g} and below), got {relevant} relevant of {len(pairs)}: give "
            f"pairs of both kinds{instead}"
        )


def pairs_facts(pairs: Pairs, validation: Pairs) -> Facts:
    """What a checkpoint says of the pairs it was trained and validated on."""
    hard = {} if pairs.hard is None else {"hard_pairs": int((~np.isnan(pairs.hard)).sum())}
    return {
        "pairs_file": pairs.source,
        "pairs_sha256": pairs.sha256,
        "pairs": len(pairs),
        **hard,
        "validation_file": validation.source,
        "validation_sha256": validation.sha256,
        "validation_pairs": len(validation),
    }


def _labelled(source: PairSource) -> Pairs:
    """The pairs with the soft targets of their labels, and whose these are."""
    files = [read_labels_file(folder) for folder in source.labels]
    pairs = read_soft_pairs(
        PairsFile(
            source.path, source.columns.query, source.columns.title, encoding=files[0].encoding
        ),
        source.labels,
        temperature=source.temperature,
        behaviour=source.behaviour,
        most=source.max_pairs,
    )
    facts: Facts = {
        "teachers": ", ".join(file.teacher for file in files),
        "teachers_sha256": ", ".join(file.teacher_sha256 for file in files),
        "temperature": source.temperature,
        "behaviour": source.behaviour,
    }
    return replace(pairs, facts=facts)


def _hard(source: PairSource, column: str, count: int) -> NDArray[np.float32]:
    """What people say of the first `count` pairs, float32 [count]; NaN where a cell is empty."""
    hard = array("f")
    encoding = read_labels_file(source.labels[0]).encoding if source.labels else ENCODING
    with closing(rows(source.path, encoding)) as lines:
        for row in islice(lines, count):
            empty = row.has(column) and row.fields[column] in ("", None)
            hard.append(float("nan") if empty else target_of(row, column))
    labels = np.array(hard, dtype=np.float32)
    if np.isnan(labels).all():
        raise TrainingRefused(
            f"{source.path.name}: expected human labels in {column!r} of some pairs, found none: "
            "leave hard_weight out"
        )
    return labels
