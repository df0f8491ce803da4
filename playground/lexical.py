"""Candidates for a typed query by shared words (BM25): stands in for the shop's search engine."""

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.baselines import words

# Usual values; on short titles k1 hardly matters, since words rarely repeat.
_K1: Final = 1.5
_B: Final = 0.75


class Lexical:
    """An inverted index of titles: Chinese by character, English plurals folded."""

    def __init__(self, titles: Sequence[str]) -> None:
        """Reads the titles [n] once; they are not kept."""
        self._size = len(titles)
        positions: dict[str, array[int]] = {}
        counts: dict[str, array[int]] = {}
        lengths = np.zeros(len(titles), np.float32)
        for position, title in enumerate(titles):
            found = Counter(words(title))
            lengths[position] = found.total()
            for word, count in found.items():
                positions.setdefault(word, array("i")).append(position)
                counts.setdefault(word, array("H")).append(min(count, 65_535))
        norms = _K1 * (1 - _B + _B * lengths / max(1.0, float(lengths.mean())))
        self._postings = {
            word: self._posting(np.array(held, np.int32), np.array(counts[word]), norms)
            for word, held in positions.items()
        }

    def best(self, query: str, count: int) -> NDArray[np.intp]:
        """Positions of at most `count` titles that share a word with the query, best first.

        Equal ones keep the catalogue's order.
        """
        scores = np.zeros(self._size, np.float32)
        for word in dict.fromkeys(words(query)):
            if (posting := self._postings.get(word)) is not None:
                held, weights = posting
                scores[held] += weights
        found = np.flatnonzero(scores)
        return found[np.argsort(-scores[found], kind="stable")[:count]]

    def _posting(
        self, held: NDArray[np.int32], counts: NDArray[np.uint16], norms: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The titles that hold one word [m], and what it adds to the score of each [m]."""
        rarity = np.log(1 + (self._size - len(held) + 0.5) / (len(held) + 0.5))
        weights = rarity * counts * (_K1 + 1) / (counts + norms[held])
        return held, weights.astype(np.float32)
