"""(query, title, target) pairs: reading them from a file, and splitting them by query."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import InputFileError
from evaluation.judgments import split_of
from evaluation.tables import ENCODING, rows
from export.errors import PairsRefused


@dataclass(frozen=True)
class PairColumns:
    """What the three columns (CSV, TSV) or keys (JSONL) are called."""

    query: str = "query"
    title: str = "title"
    target: str = "target"


@dataclass(frozen=True)
class Pairs:
    """n aligned queries, titles and targets, in the order of their file."""

    source: str
    sha256: str
    queries: list[str]
    titles: list[str]
    targets: NDArray[np.float32]  # [n], each in [0, 1]: probability that the product is relevant

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
        )


def read_pairs(path: Path, columns: PairColumns, encoding: str = ENCODING) -> Pairs:
    """Reads a CSV, TSV or JSONL file, plain or gzipped (`evaluation.tables`).

    Raises:
        PairsRefused: the file can't be read, or a row lacks a query, a title or a target in
            [0, 1]; the text names the line.
    """
    queries: list[str] = []
    titles: list[str] = []
    targets: list[float] = []
    try:
        for row in rows(path, encoding):
            queries.append(row.text(columns.query))
            titles.append(row.text(columns.title))
            targets.append(row.number(columns.target))
            if not 0.0 <= targets[-1] <= 1.0:
                raise PairsRefused(
                    f"{row.place}: expected {columns.target!r} from 0 to 1 (probability that the "
                    f"product is relevant), got {targets[-1]:g}: rescale the column"
                )
    except InputFileError as error:
        raise PairsRefused(str(error)) from error
    if not queries:
        raise PairsRefused(f"{path.name}: expected at least one pair, found none")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Pairs(path.name, sha256, queries, titles, np.array(targets, dtype=np.float32))


def split_by_query(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """Training and validation pairs by the split rule of `evaluation.judgments`.

    The rule's test queries are in neither, so that evaluating on them later is honest.
    """
    split = np.array([split_of(query) for query in pairs.queries])
    train, valid = (pairs.take(np.flatnonzero(split == part)) for part in ("train", "valid"))
    return train, valid
