"""Query and title -> what the trees of a lexical teacher see. No torch, nothing trained on labels.

word_cosine, character_cosine     cosine of the TF-IDF vectors, of words and of character terms
word_latent, character_latent     cosine in the axes (LSA): words that stand in like titles
...                               the numbers of lexical_match.Match, in its order
query_axis_0 ... 19, title_axis_0 ... 19
                                  where the text stands on the first axes of its words: what
                                  kind of query or product it is
...                               those of lexical_meaning.py, where there is an encoder
...                               those of lexical_retrieval.py and lexical_judged.py, where the
                                  teacher looks up its catalogue and its judged pairs
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.lexical_judged import NEIGHBOURS, JudgedPairs
from distill.lexical_match import Match, match
from distill.lexical_meaning import MEANING, Meaning
from distill.lexical_retrieval import RETRIEVAL, Retrieval
from distill.lexical_text import Text, prepared
from distill.lexical_vectors import SPACES, TermSpace, Vector, learn_spaces, terms_of
from distill.recent_texts import RecentTexts

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
_MOST_KEPT = 100_000  # texts, of some 6 kB each, kept for the pairs to come


def features_of(*, has_encoder: bool, looks_up: bool = False) -> tuple[str, ...]:
    """Names of a teacher's features, by column."""
    meaning = MEANING if has_encoder else ()
    return (*FEATURES, *meaning, *((*RETRIEVAL, *NEIGHBOURS) if looks_up else ()))


class _Known(NamedTuple):
    """A text, kept for every pair it stands in, with its vector in each of SPACES."""

    text: Text
    words: Vector
    characters: Vector


class LookUp(NamedTuple):
    """What a teacher looks up: its catalogue (of many titles, evenly spaced ones), its pairs."""

    retrieval: Retrieval
    judged: JudgedPairs


class LexicalFeatures:
    """Features of pairs, in the terms of one catalogue."""

    def __init__(
        self,
        spaces: Mapping[str, TermSpace],
        meaning: Meaning | None = None,
        look_up: LookUp | None = None,
    ) -> None:
        """Takes the spaces of `learn_spaces` or `read_spaces`, what an encoder says, and what is
        looked up.
        """
        self.spaces = spaces
        self.meaning = meaning
        self.look_up = look_up
        self.names = features_of(has_encoder=meaning is not None, looks_up=look_up is not None)
        self._texts = RecentTexts(self._known, _MOST_KEPT)
        # A word of no title says the most: whatever the query wants of it is missing.
        self._unknown_weight = float(spaces["words"].weights.max())

    @classmethod
    def learn(cls, titles: Iterable[str]) -> "LexicalFeatures":
        """Features of words in the terms of these titles; order and repetitions decide nothing.

        Raises:
            TrainingRefused: no title has a word.
        """
        return cls(learn_spaces([prepared(title) for title in evenly(titles)]))

    def matrix(self, queries: Sequence[str], titles: Sequence[str]) -> NDArray[np.float32]:
        """Features of n aligned pairs, float32 [n, len(names)]; NaN: there is no such number.

        Texts of the calls before are kept, up to a limit; a pair's row depends on the pair alone.
        """
        matrix = np.empty((len(queries), len(self.names)), dtype=np.float32)
        if not len(matrix):
            return matrix
        beside = len(FEATURES)
        if self.meaning is not None:
            beside += len(MEANING)
            matrix[:, len(FEATURES) : beside] = self.meaning.matrix(queries, titles)
        known = self._texts.of([*queries, *titles])
        asked, offered = ([known[text] for text in texts] for texts in (queries, titles))
        for column, space in enumerate(SPACES):
            one, other = ([getattr(each, space) for each in texts] for texts in (asked, offered))
            shared, latent = self.spaces[space].cosines(one, other)
            matrix[:, column] = shared
            matrix[:, len(SPACES) + column] = latent
        middle = _FIRST_COORDINATE + _COORDINATES
        matrix[:, _FIRST_COORDINATE:middle] = _coordinates(asked)
        matrix[:, middle : len(FEATURES)] = _coordinates(offered)
        weights = {query: self._weights(known[query].text) for query in dict.fromkeys(queries)}
        matches = slice(len(_COSINES), _FIRST_COORDINATE)
        for row, (query, title) in enumerate(zip(queries, titles, strict=True)):
            matrix[row, matches] = match(known[query].text, known[title].text, weights[query])
        if self.look_up is not None:
            texts = ([each.text for each in pair] for pair in (asked, offered))
            middle = beside + len(RETRIEVAL)
            matrix[:, beside:middle] = self.look_up.retrieval.matrix(*texts)
            vectors = self.vectors([*queries, *titles])
            pairs = ([vectors[text] for text in each] for each in (queries, titles))
            matrix[:, middle:] = self.look_up.judged.matrix(*pairs)
        return matrix

    def vectors(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Of each text, float32 [D] of length 1: by the encoder, or its words in their axes."""
        if self.meaning is not None:
            return self.meaning.scaled(texts)
        return {text: each.words.latent for text, each in self._texts.of(texts).items()}

    def _known(self, texts: Sequence[str]) -> Iterator[_Known]:
        cut = [prepared(text) for text in texts]
        found = [
            self.spaces[space].vectors([terms_of(text, space) for text in cut]) for space in SPACES
        ]
        return map(_Known, cut, *found)

    def _weights(self, query: Text) -> list[float]:
        known = self.spaces["words"].weight_of
        return [known.get(word, self._unknown_weight) for word in query.words]


def evenly(titles: Iterable[str]) -> list[str]:
    """The distinct titles, in order, or so many of them as a catalogue is learned from."""
    distinct = sorted(set(titles))
    return distinct[:: -(-len(distinct) // _MOST_TITLES) or 1]


def _coordinates(texts: Sequence[_Known]) -> NDArray[np.float32]:
    """On the first axes, float32 [n, 20]; a small catalogue has fewer, and zeros in their place."""
    found = np.stack([each.words.latent[:_COORDINATES] for each in texts])
    return np.pad(found, ((0, 0), (0, _COORDINATES - found.shape[1])))
