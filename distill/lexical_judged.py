"""What people said of pairs like this one: the judged pairs of the queries nearest to its query.

A query that says the same as this one is left out, in training and in use: what was said of a
query's own pairs is what a teacher learns, not what it may see.

judged.npz    the arrays of `JudgedPairs`, by name; never a pickle
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from math import nan
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from distill.best_scores import best_of
from distill.errors import TeacherRefused

JUDGED_FILE = "judged.npz"

_QUERIES = 20  # nearest ones, whose pairs are looked at
_SAME = 0.999  # cosine from which on two queries are one: float16 keeps three digits
_NEAREST = 10  # pairs, whose nearness is told


class Neighbours(NamedTuple):
    """One pair. A judged pair's nearness is the cosine of the queries + that of the titles."""

    neighbours_smooth: float  # mean target of the judged pairs, weighed by exp(6 * nearness)
    neighbours_sharp: float  # by exp(15 * nearness)
    neighbours_near: float  # mean nearness of the ten nearest


NEIGHBOURS = Neighbours._fields


@dataclass(frozen=True)
class JudgedPairs:
    """P pairs of Q queries and T titles; stored in judged.npz. Vectors have length 1, or 0.

    query_vectors: float16 [Q, D]
    title_vectors: float16 [T, D]
    ends: where the pairs of each query end, int64 [Q]
    titles: of each pair, int64 [P]
    targets: of each pair, float32 [P]
    """

    query_vectors: NDArray[np.float16]
    title_vectors: NDArray[np.float16]
    ends: NDArray[np.int64]
    titles: NDArray[np.int64]
    targets: NDArray[np.float32]

    @classmethod
    def learn(
        cls,
        queries: Sequence[str],
        titles: Sequence[str],
        targets: NDArray[np.float32],
        vectors: dict[str, NDArray[np.float32]],
    ) -> Self:
        """Of n judged pairs, and the vector of each text, float32 [D]."""
        asked, of_query = np.unique(np.array(queries, dtype=object), return_inverse=True)
        offered, of_title = np.unique(np.array(titles, dtype=object), return_inverse=True)
        order = np.argsort(of_query, kind="stable")
        return cls(
            np.stack([vectors[text] for text in asked]).astype(np.float16),
            np.stack([vectors[text] for text in offered]).astype(np.float16),
            np.cumsum(np.bincount(of_query)),
            of_title[order].astype(np.int64),
            targets[order].astype(np.float32),
        )

    @cached_property
    def _queries(self) -> NDArray[np.float32]:
        return self.query_vectors.astype(np.float32)

    def matrix(
        self, queries: Sequence[NDArray[np.float32]], titles: Sequence[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Features of n aligned pairs, given as vectors [D], float32 [n, 3]; NaN: there are none.

        A pair's row depends on the pair alone. A query costs a product with all Q.
        """
        matrix = np.empty((len(queries), len(NEIGHBOURS)), dtype=np.float32)
        rows_of: dict[bytes, list[int]] = {}
        for row, query in enumerate(queries):
            rows_of.setdefault(query.tobytes(), []).append(row)
        for rows in rows_of.values():
            near = self._near(queries[rows[0]])
            for row in rows:
                matrix[row] = self._row(*near, titles[row])
        return matrix

    def _near(self, query: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Pairs of the nearest other queries, and how near their query is, [m] each."""
        cosines = self._queries @ query
        nearest = best_of(np.where(cosines < _SAME, cosines, 0), _QUERIES)
        starts = np.where(nearest > 0, self.ends[nearest - 1], 0)
        counts = self.ends[nearest] - starts
        pairs = [np.arange(start, start + n) for start, n in zip(starts, counts, strict=True)]
        whole = np.concatenate(pairs) if pairs else np.empty(0, dtype=np.int64)
        return whole, np.repeat(cosines[nearest], counts)

    def _row(
        self, pairs: NDArray[np.int64], cosines: NDArray[np.float32], title: NDArray[np.float32]
    ) -> Neighbours:
        if not len(pairs):
            return Neighbours(nan, nan, nan)
        titles = self.title_vectors[self.titles[pairs]].astype(np.float32)
        near = cosines + titles @ title
        targets = self.targets[pairs]
        smooth, sharp = np.exp(6 * near), np.exp(15 * (near - near.max()))
        return Neighbours(
            float(smooth @ targets / smooth.sum()),
            float(sharp @ targets / sharp.sum()),
            float(np.sort(near)[-_NEAREST:].mean()),
        )


def write_judged(judged: JudgedPairs, folder: Path) -> None:
    """Writes judged.npz into an existing folder; the same pairs give the same bytes."""
    arrays = {each.name: getattr(judged, each.name) for each in fields(judged)}
    np.savez(folder / JUDGED_FILE, **arrays)


def read_judged(folder: Path) -> JudgedPairs:
    """What `write_judged` wrote.

    Raises:
        TeacherRefused: the file is damaged, or its arrays don't fit each other.
    """
    path = folder / JUDGED_FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            judged = JudgedPairs(**{each.name: file[each.name] for each in fields(JudgedPairs)})
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise TeacherRefused(f"{path}: not a whole .npz of arrays: {error}") from error
    pairs = judged.targets.size
    fits = (
        pairs > 0
        and judged.targets.dtype == np.float32
        and judged.query_vectors.dtype == judged.title_vectors.dtype == np.float16
        and judged.query_vectors.ndim == judged.title_vectors.ndim == 2
        and judged.query_vectors.shape[1] == judged.title_vectors.shape[1]
        and judged.ends.shape == (len(judged.query_vectors),)
        and judged.titles.shape == judged.targets.shape == (pairs,)
        and judged.ends.dtype == judged.titles.dtype == np.int64
        and bool(np.all(np.diff(judged.ends, prepend=0) > 0))
        and judged.ends[-1:].tolist() == [pairs]
        and 0 <= judged.titles.min() <= judged.titles.max() < len(judged.title_vectors)
    )
    vectors = (judged.query_vectors, judged.title_vectors, judged.targets)
    if not fits or not all(np.isfinite(array).all() for array in vectors):
        raise TeacherRefused(f"{path}: its arrays don't fit each other: train the teacher again")
    return judged
