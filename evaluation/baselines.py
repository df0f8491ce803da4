"""Scorers without a model, to hold students against: shared words, TF-IDF cosine, BM25.

Words are CWUB's units (one Chinese character, one lower-case word, one number), so that Chinese
needs no segmenter, with English plurals folded. What all three share is what they lack: a word
that isn't there counts for nothing, however near in meaning.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import LibraryMissing
from model_store.cwub import units

Baseline = Literal["overlap", "tfidf", "bm25"]

_SHORTEST_PLURAL = 4  # "gas" and "bus" are none
_K1, _B = 1.5, 0.75  # bm25s's own; on short titles k1 hardly matters, since words rarely repeat


def baseline_scores(
    name: Baseline, queries: Sequence[str], titles: Sequence[str], catalogue: Iterable[str]
) -> NDArray[np.float32]:
    """Scores float32 [n] of n aligned queries and titles; what a score means differs by name.

    Args:
        name: which baseline.
        queries: of the pairs.
        titles: of the pairs.
        catalogue: titles that words are counted in; judged ones that it lacks are added.

    Raises:
        LibraryMissing: bm25 without bm25s.
    """
    if name == "overlap":
        return word_overlap(queries, titles)
    if name == "tfidf":
        return tfidf_cosine(queries, titles, catalogue)
    return bm25(queries, titles, catalogue)


def words(text: str) -> list[str]:
    """The words of a text, in order: "Steel brackets" -> steel, bracket."""
    return [_singular(unit) for unit in units(text)]


def word_overlap(queries: Sequence[str], titles: Sequence[str]) -> NDArray[np.float32]:
    """Share of a query's distinct words that its title has, float32 [n]; 0 for a wordless query."""
    scores = np.zeros(len(queries), dtype=np.float32)
    for pair, (query, title) in enumerate(zip(queries, titles, strict=True)):
        wanted = set(words(query))
        if wanted:
            scores[pair] = len(wanted.intersection(words(title))) / len(wanted)
    return scores


def tfidf_cosine(
    queries: Sequence[str], titles: Sequence[str], catalogue: Iterable[str]
) -> NDArray[np.float32]:
    """Cosine of word counts times idf = ln((1 + N) / (1 + df)) + 1, float32 [n] in [0, 1].

    N and df count the distinct titles. A word of the query that no title has still lengthens the
    query, as if one title more had it; a text without words has cosine 0.
    """
    corpus = _corpus(titles, catalogue)
    found = Counter(word for title in corpus for word in set(words(title)))

    def vector(text: str) -> dict[str, float]:
        counts = Counter(words(text))
        raw = {
            word: times * (float(np.log((1 + len(corpus)) / (1 + found[word]))) + 1)
            for word, times in counts.items()
        }
        length = float(np.sqrt(sum(value * value for value in raw.values())))
        return {word: value / length for word, value in raw.items()}

    by_query = {query: vector(query) for query in dict.fromkeys(queries)}
    scores = np.zeros(len(queries), dtype=np.float32)
    for pair, (query, title) in enumerate(zip(queries, titles, strict=True)):
        other = vector(title)
        scores[pair] = sum(value * other.get(word, 0.0) for word, value in by_query[query].items())
    return scores


def bm25(
    queries: Sequence[str], titles: Sequence[str], catalogue: Iterable[str]
) -> NDArray[np.float32]:
    """BM25 (Lucene's idf, k1 = 1.5, b = 0.75) of each pair, float32 [n], from 0 up.

    The corpus is the distinct titles of catalogue and pairs. A word that a query repeats counts
    each time.

    Raises:
        LibraryMissing: bm25s is not installed.
    """
    library = bm25_library()
    position = {title: row for row, title in enumerate(_corpus(titles, catalogue))}
    numbers: dict[str, int] = {}
    rows = [[numbers.setdefault(word, len(numbers)) for word in words(t)] for t in position]
    scores = np.zeros(len(queries), dtype=np.float32)
    if not numbers:
        return scores
    index = library.BM25(method="lucene", k1=_K1, b=_B)
    index.index((rows, numbers), create_empty_token=False, show_progress=False)
    pairs_of: dict[str, list[int]] = {}
    for pair, query in enumerate(queries):
        pairs_of.setdefault(query, []).append(pair)
    for query, pairs in pairs_of.items():
        known = [numbers[word] for word in words(query) if word in numbers]
        if known:
            of_all = index.get_scores_from_ids(known)
            scores[pairs] = of_all[[position[titles[pair]] for pair in pairs]]
    return scores


def _corpus(titles: Sequence[str], catalogue: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*catalogue, *titles]))


def _singular(word: str) -> str:
    if len(word) < _SHORTEST_PLURAL or not word.endswith("s") or word.endswith("ss"):
        return word
    return word[:-1]


def bm25_library() -> ModuleType:
    """bm25s, whose log tells of every index it builds, unless it is told not to.

    Raises:
        LibraryMissing: it is not installed.
    """
    try:
        library = import_module("bm25s")
    except ModuleNotFoundError as error:
        raise LibraryMissing("BM25 needs bm25s: pip install 'winnow-relevance[train]'") from error
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    return library
