"""Query and title -> what the trees of a lexical teacher see. No torch, nothing trained on labels.

word_cosine, character_cosine     cosine of the TF-IDF vectors, of words and of character terms
word_latent, character_latent     cosine in the axes (LSA): words that stand in like titles
...                               the numbers of lexical_match.Match, in its order
query_axis_0 ... 19, title_axis_0 ... 19
                                  where the text stands on the first axes of its words: what
                                  kind of query or product it is
...                               those of lexical_meaning.py, where there is an encoder
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from distill.lexical_match import Match, match
from distill.lexical_meaning import MEANING, Meaning
from distill.lexical_text import Text, prepared
from distill.lexical_vectors import SPACES, TermSpace, Vectors, learn_spaces, terms_of

_COSINES = ("word_cosine", "character_cosine", "word_latent", "character_latent")
_COORDINATES = 20  # of the axes, which are sorted by how much of the catalogue they hold
_FIRST_COORDINATE = len(_COSINES) + len(Match._fields)

FEATURES = (
    *_COSINES,
    *Match._fields,
    *(f"query_axis_{axis}" for axis in range(_COORDINATES)),
    *(f"title_axis_{axis}" for axis in range(_COORDINATES)),
)

_MOST_TITLES = 200_000  # that spaces are learned from: more tell hardly more of a word's weight


def features_of(*, has_encoder: bool) -> tuple[str, ...]:
    """Names of a teacher's features, by column."""
    return (*FEATURES, *MEANING) if has_encoder else FEATURES


class LexicalFeatures:
    """Features of pairs, in the terms of one catalogue."""

    def __init__(self, spaces: Mapping[str, TermSpace], meaning: Meaning | None = None) -> None:
        """Takes the spaces of `learn_spaces` or `read_spaces`, and what an encoder says."""
        self.spaces = spaces
        self.meaning = meaning
        self.names = features_of(has_encoder=meaning is not None)
        # A word of no title says the most: whatever the query wants of it is missing.
        self._unknown_weight = float(spaces["words"].weights.max())

    @classmethod
    def learn(cls, titles: Iterable[str]) -> "LexicalFeatures":
        """Features of words in the terms of these titles; order and repetitions decide nothing.

        Raises:
            TrainingRefused: no title has a word.
        """
        distinct = sorted(set(titles))
        every = -(-len(distinct) // _MOST_TITLES) or 1
        return cls(learn_spaces([prepared(title) for title in distinct[::every]]))

    def matrix(self, queries: Sequence[str], titles: Sequence[str]) -> NDArray[np.float32]:
        """Features of n aligned pairs, float32 [n, len(names)]; NaN: there is no such number.

        Each distinct text is prepared once. A pair's row does not depend on the other pairs.
        """
        query_texts, query_rows = _distinct(queries)
        title_texts, title_rows = _distinct(titles)
        matrix = np.empty((len(query_rows), len(self.names)), dtype=np.float32)
        if not len(matrix):
            return matrix
        if self.meaning is not None:
            matrix[:, len(FEATURES) :] = self.meaning.matrix(queries, titles)
        for column, space in enumerate(SPACES):
            asked, offered = (self._vectors(texts, space) for texts in (query_texts, title_texts))
            cosine = asked.terms[query_rows].multiply(offered.terms[title_rows]).sum(axis=1)
            matrix[:, column] = np.asarray(cosine).ravel()
            latent = asked.latent[query_rows] * offered.latent[title_rows]
            matrix[:, len(SPACES) + column] = latent.sum(axis=1)
            if space == "words":
                middle = _FIRST_COORDINATE + _COORDINATES
                matrix[:, _FIRST_COORDINATE:middle] = _coordinates(asked)[query_rows]
                matrix[:, middle : len(FEATURES)] = _coordinates(offered)[title_rows]
        weights = [self._weights(text) for text in query_texts]
        matches = slice(len(_COSINES), _FIRST_COORDINATE)
        for row, (query, title) in enumerate(zip(query_rows, title_rows, strict=True)):
            matrix[row, matches] = match(query_texts[query], title_texts[title], weights[query])
        return matrix

    def _vectors(self, texts: Sequence[Text], space: str) -> Vectors:
        return self.spaces[space].vectors([terms_of(text, space) for text in texts])

    def _weights(self, query: Text) -> list[float]:
        known = self.spaces["words"].weight_of
        return [known.get(word, self._unknown_weight) for word in query.words]


def _distinct(texts: Sequence[str]) -> tuple[list[Text], list[int]]:
    """The distinct texts, prepared, and which of them each text is."""
    place = {text: at for at, text in enumerate(dict.fromkeys(texts))}
    return [prepared(text) for text in place], [place[text] for text in texts]


def _coordinates(vectors: Vectors) -> NDArray[np.float32]:
    """The first axes, float32 [n, 20]; a small catalogue has fewer, and zeros in their place."""
    found = vectors.latent[:, :_COORDINATES]
    return np.pad(found, ((0, 0), (0, _COORDINATES - found.shape[1])))
