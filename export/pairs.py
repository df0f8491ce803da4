"""(query, title, target) pairs: reading them from a file, and splitting them by query."""

from array import array
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import InputFileError
from evaluation.judgments import query_key, split_of
from evaluation.tables import ENCODING, Row, rows
from export.errors import PairsRefused
from model_store.digest import file_sha256


@dataclass(frozen=True)
class PairColumns:
    """What the three columns (CSV, TSV) or keys (JSONL) are called."""

    query: str = "query"
    title: str = "title"
    target: str = "target"


@dataclass(frozen=True)
class Pairs:
    """n aligned queries, titles and targets, in the order of their file.

    targets: float32 [n], each in [0, 1]: probability that the product is relevant
    hard: where the targets are a teacher's, what people say of the same pairs, float32 [n] in
        [0, 1], NaN where nobody has judged one; None where all there is stands in targets
    facts: what else a checkpoint should say of them, such as whose the targets are
    """

    source: str
    sha256: str
    queries: list[str]
    titles: list[str]
    targets: NDArray[np.float32]
    hard: NDArray[np.float32] | None = None
    facts: dict[str, str | int | float | bool | None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def labels(self) -> NDArray[np.bool_]:
        """Relevant or not, bool [n]: target >= 0.5."""
        return self.targets >= 0.5

    def take(self, rows: NDArray[np.int64]) -> "Pairs":
        """The pairs of those rows, in that order."""
        return Pairs(
            source=self.source,
            sha256=self.sha256,
            queries=[self.queries[row] for row in rows],
            titles=[self.titles[row] for row in rows],
            targets=self.targets[rows],
            hard=None if self.hard is None else self.hard[rows],
            facts=self.facts,
        )


def target_of(row: Row, column: str) -> float:
    """The target of a row.

    Raises:
        InputFileError: no number there.
        PairsRefused: not in [0, 1].
    """
    target = row.number(column)
    if not 0.0 <= target <= 1.0:
        raise PairsRefused(
            f"{row.place}: expected {column!r} from 0 to 1 (probability that the product is "
            f"relevant), got {target:g}: rescale the column"
        )
    return target


def read_pairs(
    path: Path,
    columns: PairColumns,
    encoding: str = ENCODING,
    target: Callable[[Row, str], float] = target_of,
) -> Pairs:
    """Reads a CSV, TSV or JSONL file, plain or gzipped (`evaluation.tables`).

    Args:
        path: of the file.
        columns: of query, title and target.
        encoding: of the file.
        target: what makes a target in [0, 1] of a row and the column of targets.

    Raises:
        PairsRefused: the file can't be read, or a row lacks a query, a title or a target in
            [0, 1]; the text names the line.
    """
    queries: list[str] = []
    titles: list[str] = []
    targets = array("f")
    once: dict[str, str] = {}  # millions of pairs are made of far fewer texts
    try:
        with closing(rows(path, encoding)) as lines:
            for row in lines:
                query, title = row.text(columns.query), row.text(columns.title)
                queries.append(once.setdefault(query, query))
                titles.append(once.setdefault(title, title))
                targets.append(target(row, columns.target))
    except InputFileError as error:
        raise PairsRefused(str(error)) from error
    if not queries:
        raise PairsRefused(f"{path.name}: expected at least one pair, found none")
    targets_n = np.array(targets, dtype=np.float32)
    return Pairs(path.name, file_sha256(path), queries, titles, targets_n)


def split_by_query(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """Training and validation pairs by the split rule of `evaluation.judgments`.

    The rule's test queries are in neither, so that evaluating on them later is honest.
    """
    split_of_query = {query: split_of(query) for query in dict.fromkeys(pairs.queries)}
    split = np.array([split_of_query[query] for query in pairs.queries])
    train, valid = (pairs.take(np.flatnonzero(split == part)) for part in ("train", "valid"))
    return train, valid


def check_apart(pairs: Pairs, validation: Pairs) -> None:
    """Refuses validation pairs of queries that are learned from: what they measured would be luck.

    Raises:
        PairsRefused: a query, in any spelling that `query_key` takes for the same, stands in both.
    """
    learned = {query_key(query) for query in dict.fromkeys(pairs.queries)}
    for query in dict.fromkeys(validation.queries):
        if query_key(query) in learned:
            raise PairsRefused(
                f"{validation.source}: expected queries that {pairs.source} lacks, got {query!r}, "
                "which stands in both: split by query, or leave the validation pairs out"
            )
