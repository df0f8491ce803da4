"""Titles near a text, by BM25: the lexical retrieval of a transfer set, and the words it knows.

BM25 with Lucene's idf, k1 = 1.5 and b = 0.75, over the units of CWUB (so that Chinese needs no
segmenter) with English plurals folded; scores are precomputed per word and title by `bm25s`.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from distill.best_scores import best_of
from evaluation.baselines import bm25_library
from model_store.cwub import units

_SHORTEST_PLURAL = 4  # "gas" and "bus" are none


def terms(text: str) -> list[str]:
    """The words BM25 counts: lower-case units, "brackets" as "bracket"."""
    return [_singular(unit) for unit in units(text)]


class TitleIndex:
    """BM25 over n titles, held in memory: about 8 bytes per word of a title beside the titles."""

    def __init__(self, titles: Sequence[str]) -> None:
        """Indexes the titles; their positions are what `best` gives."""
        self._size = len(titles)
        self._words: dict[str, int] = {}
        numbered = self._words
        rows = [[numbered.setdefault(term, len(numbered)) for term in terms(t)] for t in titles]
        self._index = bm25_library().BM25(method="lucene", k1=1.5, b=0.75)
        if numbered:
            self._index.index((rows, numbered), create_empty_token=False, show_progress=False)

    def __len__(self) -> int:
        return self._size

    def best(self, text: str, depth: int) -> NDArray[np.int64]:
        """Positions of the `depth` best titles, best first; fewer where fewer share a word.

        Equal scores are ordered by position, so that every machine gives the same list.
        """
        known = [self._words[term] for term in dict.fromkeys(terms(text)) if term in self._words]
        if not known or depth < 1:
            return np.empty(0, dtype=np.int64)
        scores = self._index.get_scores_from_ids(known)
        return best_of(scores, depth)


def spread(count: int, wanted: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """`wanted` ranks out of 0..count-1, ascending: dense at the top, thin at the bottom.

    The ranks are cut into `wanted` strata whose borders grow geometrically, and one rank is drawn
    from each: about as many come from the first 10 ranks as from the next 90, so that pairs are of
    all degrees of difficulty. All ranks where count <= wanted.
    """
    if wanted >= count:
        return np.arange(count)
    if wanted <= 0:
        return np.empty(0, dtype=np.int64)
    steps = np.arange(wanted + 1)
    # Borders of the strata from 1 to count + 1; at least one rank apart, which stays in range
    # because a convex curve lies below the straight line between its ends.
    borders = np.floor((count + 1.0) ** (steps / wanted) + 1e-9).astype(np.int64)
    borders = np.maximum.accumulate(borders - steps) + steps
    widths = np.diff(borders)
    return borders[:-1] - 1 + (draw.random(wanted) * widths).astype(np.int64)


class Neighbours:
    """Which titles are near which, both ways: the `depth` nearest of each of m titles.

    Kept as two flat arrays of m x depth positions, so a million judged titles cost 160 MB at a
    depth of 20.
    """

    def __init__(self, nearest: Iterable[tuple[int, NDArray[np.int64]]], size: int) -> None:
        """Takes (position, positions nearest to it, nearest first) of each of the m titles.

        size: of the index that all positions are of
        """
        positions: list[int] = []
        lists: list[NDArray[np.int32]] = []
        for position, near in nearest:
            positions.append(position)
            lists.append(near.astype(np.int32))
        owners = np.repeat(
            np.array(positions, dtype=np.int32), np.array([len(each) for each in lists], dtype=int)
        )
        flat = np.concatenate(lists) if lists else np.empty(0, dtype=np.int32)
        self._near = _Grouped(owners, flat, size)
        self._of = _Grouped(flat, owners, size)

    def near(self, position: int) -> NDArray[np.int32]:
        """The titles nearest to this one, nearest first; none for one that was not given."""
        return self._near[position]

    def nearing(self, position: int) -> NDArray[np.int32]:
        """The titles given that have this one among their nearest."""
        return self._of[position]


class _Grouped:
    """Values by key, in the order they came: key -> array."""

    def __init__(self, keys: NDArray[np.int32], values: NDArray[np.int32], size: int) -> None:
        self._values = values[np.argsort(keys, kind="stable")]
        self._starts = np.concatenate(([0], np.cumsum(np.bincount(keys, minlength=size))))

    def __getitem__(self, key: int) -> NDArray[np.int32]:
        return self._values[self._starts[key] : self._starts[key + 1]]


def _singular(word: str) -> str:
    if len(word) < _SHORTEST_PLURAL or not word.endswith("s") or word.endswith("ss"):
        return word
    return word[:-1]
