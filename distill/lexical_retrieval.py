"""What a catalogue has for a query, and where a title stands in it: BM25 over all of its titles.

A grade depends on what else there is. A title with half of the query's words is a poor answer where
a hundred titles have all of them, and the best there is where none has.

catalogue.json    the titles, a list of strings
"""

import json
from collections.abc import Iterable, Sequence
from math import log1p, nan
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from distill.best_scores import best_of
from distill.errors import TeacherRefused
from distill.lexical_match import Match, match
from distill.lexical_spelling import Spelling
from distill.lexical_text import Text, prepared, text_of
from distill.lexical_vectors import TermSpace

CATALOGUE_FILE = "catalogue.json"

_K1, _B = 1.5, 0.75  # of BM25
_BEST = 20  # titles that say what a query's products are like
_FEW = 10

Words = TypeVar("Words", float, NDArray[np.float64])  # a number of words, or one of each title
_SAME = 1e-6  # shares of IDF that differ by less are one


class Offer(NamedTuple):
    """What the catalogue has for a query, which is in its spelling (lexical_spelling.py).

    A title covers the share of the query's IDF that its words have. Counts are log(1 + n).
    """

    best_covered: float  # what the title that covers most covers
    best_titles: float  # count of titles that cover as much
    half_titles: float  # count of those that cover half or more
    best_bm25: float
    tenth_bm25: float  # of the tenth best title, or the last that has a word of the query
    ten_covered: float  # mean of what the ten best by BM25 cover
    known_words: float  # share of the query's words that some title has
    corrected: float  # whether it is spelt otherwise than the query


class Standing(NamedTuple):
    """Where a title stands among all. Ranks are log(1 + n)."""

    title_covers: float
    behind: float  # best_covered - title_covers
    covered_rank: float  # titles that cover more
    title_bm25: float
    bm25_share: float  # title_bm25 / best_bm25
    bm25_rank: float  # titles with more

    # How like it is to the twenty best by BM25 (pseudo-relevance feedback).
    feedback: float  # cosine to the mean of their TF-IDF, a word counted once a title
    noun_share: float  # share of them with this title's noun, the last word of its head
    head_share: float  # share of them whose head has a word of this title's head, mean over words


_MATCH = tuple(f"corrected_{name}" for name in Match._fields)  # of the query in that spelling
RETRIEVAL = (*Offer._fields, *Standing._fields, *_MATCH)
_NOTHING = [nan] * len(RETRIEVAL)


class _Asked(NamedTuple):
    """What is the same for every title of a query.

    text: of k words, in the catalogue's spelling
    weights: their IDF
    weight_of: IDF of each distinct word; whole: their sum
    covered, bm25: of each title, float64 [N]
    offer: its own numbers
    feedback: mean TF-IDF of the twenty best titles, of length 1, float64 [V]
    nouns, heads: share of these with a word as their noun, or in their head
    """

    text: Text
    weights: list[float]
    weight_of: dict[str, float]
    whole: float
    covered: NDArray[np.float64]
    bm25: NDArray[np.float64]
    offer: Offer
    feedback: NDArray[np.float64]
    nouns: dict[str, float]
    heads: dict[str, float]


class Retrieval:
    """Features of pairs in the words of one catalogue."""

    def __init__(self, titles: Sequence[str], words: TermSpace) -> None:
        """Takes the catalogue's titles, and the space that `learn_spaces` made of them."""
        self.titles = titles
        self._weight_of = words.weight_of
        self._unknown_weight = float(words.weights.max())
        self._column = {term: column for column, term in enumerate(words.terms)}
        self._idf = words.weights.astype(np.float64)
        texts = [prepared(title) for title in titles]
        self._heads = [text.head for text in texts]
        lengths = np.array([len(text.words) for text in texts], dtype=np.float64)
        self._mean_length = max(1.0, float(lengths.mean()))
        self._per_length = _per_length(lengths, self._mean_length)
        rows = [self._columns(text.known) for text in texts]
        self._rows, self._ends = np.concatenate(rows), np.cumsum([0, *map(len, rows)])
        # The same by word: which titles have it.
        of_title = np.repeat(np.arange(len(rows)), np.diff(self._ends))
        order = np.argsort(self._rows, kind="stable")
        counts = np.bincount(self._rows, minlength=len(words.terms))
        self._postings = np.split(of_title[order], np.cumsum(counts)[:-1])
        squares = np.bincount(of_title, self._idf[self._rows] ** 2, len(rows))
        self._title_lengths = np.sqrt(np.maximum(squares, 1e-12))
        self._spelling = Spelling(dict(zip(words.terms, counts.tolist(), strict=True)))

    def matrix(self, queries: Sequence[Text], titles: Sequence[Text]) -> NDArray[np.float32]:
        """Features of n aligned pairs, float32 [n, len(RETRIEVAL)]; NaN: there is no such number.

        A pair's row depends on the pair alone. A query costs a pass over its words' titles.
        """
        matrix = np.empty((len(queries), len(RETRIEVAL)), dtype=np.float32)
        rows_of: dict[tuple[str, ...], list[int]] = {}
        for row, query in enumerate(queries):
            rows_of.setdefault(query.words, []).append(row)
        for words, rows in rows_of.items():
            if not words:
                matrix[rows] = _NOTHING
                continue
            asked = self._asked(words)
            for row in rows:
                matrix[row] = self._row(asked, titles[row])
        return matrix

    def _asked(self, typed: tuple[str, ...]) -> _Asked:
        words = self._spelling.corrected(typed)
        weights = [self._weight_of.get(word, self._unknown_weight) for word in words]
        weight_of = dict(zip(words, weights, strict=True))
        known = [word for word in weight_of if word in self._column]
        postings = [self._postings[self._column[word]] for word in known]
        covered, bm25 = np.zeros(len(self._heads)), np.zeros(len(self._heads))
        for word, holding in zip(known, postings, strict=True):
            covered[holding] += weight_of[word]
            bm25[holding] += weight_of[word] * self._per_length[holding]
        whole = sum(weight_of.values())
        covered /= whole
        best = best_of(bm25, _BEST)
        most = float(covered.max())
        heads = [self._heads[place] for place in best]
        few = best[:_FEW]
        offer = Offer(
            best_covered=most,
            best_titles=log1p(int((covered >= most - _SAME).sum())) if most > 0 else 0.0,
            half_titles=log1p(int((covered >= 0.5).sum())),
            best_bm25=float(bm25.max()),
            tenth_bm25=float(bm25[few[-1]]) if len(few) else 0.0,
            ten_covered=float(covered[few].mean()) if len(few) else 0.0,
            known_words=len(known) / len(weight_of),
            corrected=words != typed,
        )
        return _Asked(
            text=text_of(words),
            weights=weights,
            weight_of=weight_of,
            whole=whole,
            covered=covered,
            bm25=bm25,
            offer=offer,
            feedback=self._mean_of(best),
            nouns=_shares([head[-1] for head in heads if head], len(best)),
            heads=_shares([word for head in heads for word in {*head}], len(best)),
        )

    def _row(self, asked: _Asked, title: Text) -> list[float]:
        weights = [weight for word, weight in asked.weight_of.items() if word in title.known]
        covers = sum(weights) / asked.whole
        per_length = _per_length(float(len(title.words)), self._mean_length)
        bm25 = sum(weight * per_length for weight in weights)
        best, head = asked.offer.best_bm25, title.head
        standing = Standing(
            title_covers=covers,
            behind=asked.offer.best_covered - covers,
            covered_rank=log1p(int((asked.covered > covers + _SAME).sum())),
            title_bm25=bm25,
            bm25_share=bm25 / best if best > 0 else nan,
            bm25_rank=log1p(int((asked.bm25 > bm25 + _SAME).sum())),
            feedback=self._cosine(title, asked.feedback),
            noun_share=asked.nouns.get(head[-1], 0.0) if head else nan,
            head_share=_mean([asked.heads.get(word, 0.0) for word in head]),
        )
        return [*asked.offer, *standing, *match(asked.text, title, asked.weights)]

    def _mean_of(self, titles: NDArray[np.int64]) -> NDArray[np.float64]:
        mean = np.zeros(len(self._idf))
        for title in titles:
            columns = self._rows[self._ends[title] : self._ends[title + 1]]
            mean[columns] += self._idf[columns] / self._title_lengths[title]
        return mean / max(1e-12, float(np.sqrt(mean @ mean)))

    def _cosine(self, title: Text, feedback: NDArray[np.float64]) -> float:
        columns = self._columns(title.known)
        idf = self._idf[columns]
        return float(idf @ feedback[columns]) / max(1e-12, float(np.sqrt(idf @ idf)))

    def _columns(self, words: Iterable[str]) -> NDArray[np.int64]:
        """Columns of the words that the catalogue knows, ascending."""
        known = sorted(self._column[word] for word in words if word in self._column)
        return np.array(known, dtype=np.int64)


def _per_length(words: Words, mean: float) -> Words:
    """BM25 of a word of weight 1, in a title of so many words that has it once."""
    return (_K1 + 1) / (1 + _K1 * (1 - _B + _B * words / mean))


def _shares(words: Sequence[str], titles: int) -> dict[str, float]:
    return {word: words.count(word) / titles for word in {*words}}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else nan


def write_titles(titles: Sequence[str], folder: Path) -> None:
    """Writes catalogue.json into an existing folder."""
    text = json.dumps(list(titles), ensure_ascii=False, indent=0) + "\n"
    (folder / CATALOGUE_FILE).write_text(text, encoding="utf-8")


def read_titles(folder: Path) -> list[str]:
    """What `write_titles` wrote.

    Raises:
        TeacherRefused: no list of strings.
    """
    path = folder / CATALOGUE_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TeacherRefused(f"{path}: can't be read as JSON: {error}") from error
    if not isinstance(found, list) or not found or not all(isinstance(t, str) for t in found):
        raise TeacherRefused(f"{path}: expected a list of titles")
    return found
