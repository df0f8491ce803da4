"""Words of a query in the catalogue's spelling: by edits, or by a space that was lost.

Only a word that no title has is touched, and the word beside it where the two are one, so what
sellers write stands, misspelt or not. Of a large catalogue, of which titles are taken evenly, only
those taken count.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from math import log10

from rapidfuzz.distance import OSA
from rapidfuzz.process import extract

from distill.lexical_text import words_of

_LEAST_LETTERS = 4  # of a word that is corrected: of three letters, everything is near
_MOST_LETTERS = 40  # beyond them it is no word, and costs the square of its letters
_LONG = 6  # letters from which on two edits are allowed, else one
_LEAST_TITLES = 3  # that have a word, before another is taken for it
_LEAST_TITLES_OF_PART = 5  # that have each of two words written as one
_SURE_OF_PARTS = 20  # titles from which on two words go before one that is near
_LEAST_LETTERS_OF_PART = 3
_FIRST_LETTER = 0.7  # edits that another first letter counts for besides: it is seldom wrong
_FREQUENT = 0.25  # edits that ten times as many titles outweigh
_MOST_KEPT = 100_000  # words


class Spelling:
    """Corrects words by how many titles have each."""

    def __init__(self, titles_of: Mapping[str, int]) -> None:
        """Takes the number of titles that have a word, of every word of the catalogue."""
        self._titles_of = titles_of
        self._by_length: dict[int, list[str]] = defaultdict(list)
        for word, titles in titles_of.items():
            if titles >= _LEAST_TITLES and word.isalpha():
                self._by_length[len(word)].append(word)
        self._word = lru_cache(_MOST_KEPT)(self._corrected)

    def corrected(self, words: Sequence[str]) -> tuple[str, ...]:
        """The words in the catalogue's spelling; one may become two, and two one."""
        known = self._titles_of
        found: list[str] = []
        place = 0
        while place < len(words):
            pair = words[place : place + 2]
            joined = "".join(pair)
            lost = joined.isalpha() and not all(word in known for word in pair)
            if lost and known.get(joined, 0) >= _LEAST_TITLES:
                found.append(joined)
                place += len(pair)
                continue
            found += self._word(words[place])
            place += 1
        return tuple(found)

    def _corrected(self, word: str) -> tuple[str, ...]:
        letters = len(word) if word.isalpha() else 0
        if word in self._titles_of or not _LEAST_LETTERS <= letters <= _MOST_LETTERS:
            return (word,)
        parts, titles = self._parts(word)
        near = self._nearest(word)
        if near is None or titles >= _SURE_OF_PARTS:
            return parts or (word,)
        return (near,)

    def _parts(self, word: str) -> tuple[tuple[str, ...], int]:
        """The two words that it is made of, and how many titles have the rarer one; else ()."""
        best: tuple[str, ...] = ()
        most = 0
        for cut in range(1, len(word)):
            parts = (*words_of(word[:cut]), *words_of(word[cut:]))
            titles = min(self._titles_of.get(part, 0) for part in parts)
            short = min(map(len, parts)) < _LEAST_LETTERS_OF_PART
            if not short and len(parts) == 2 and titles >= _LEAST_TITLES_OF_PART and titles > most:
                best, most = parts, titles
        return best, most

    def _nearest(self, word: str) -> str | None:
        """The word that the fewest edits lead to (swapped neighbours are one edit), or none."""
        edits = 1 if len(word) < _LONG else 2
        lengths = range(len(word) - edits, len(word) + edits + 1)
        choices = list(chain.from_iterable(self._by_length.get(length, ()) for length in lengths))
        near = extract(word, choices, scorer=OSA.distance, score_cutoff=edits, limit=None)
        return min(
            (other for other, _, _ in near),
            key=lambda other: (
                OSA.distance(word, other)
                + _FIRST_LETTER * (other[0] != word[0])
                - _FREQUENT * log10(self._titles_of[other]),
                other,
            ),
            default=None,
        )
