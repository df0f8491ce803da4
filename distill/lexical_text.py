"""A text as the lexical teacher reads it: words, their adjacent pairs, the noun a title is about.

Units are CWUB's (model_store/cwub.py): one Chinese character, one lower-case word, one number, so a
text without spaces has words too. On top stand a few rules of English, each a table or a function
below; words of other languages pass through them unchanged but for their endings in Latin letters.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

from model_store.cwub import is_character, units

# English: the marks and abbreviations of measures, by the word that stands for all of them. Those
# of the second table are words or letters of their own unless a number stands before them.
_MARKS = (
    (re.compile(r"(?<=\d)\s*(?:''|\"|″|”)"), " inch "),
    (re.compile(r"(?<=\d)\s*['′’]"), " foot "),
)
_MEASURES = {
    "feet": "foot",
    "ft": "foot",
    "cu": "cubic",
    "sq": "square",
    "gal": "gallon",
    "lb": "pound",
    "lbs": "pound",
    "oz": "ounce",
}
_MEASURES_OF_NUMBERS = {"in": "inch", "w": "watt", "v": "volt"}

# English: what a title is about stands before the first of these ("Drill with Case").
_AFTER_THE_NOUN = frozenset({"with", "in", "for"})

# English endings, the longest first; what is left of a word keeps at least so many letters.
_ENDINGS = ("ing", "ies", "es", "ed", "s")
_SHORTEST_STEM = 3


@dataclass(frozen=True)
class Text:
    """A query or a title, prepared once, however many pairs it stands in.

    words: in order, with English endings and measures folded
    spelt: the words apart by spaces, Chinese characters that follow each other run together
    fused: the words without spaces
    known: the distinct words
    adjacent: the distinct pairs of words side by side
    head: the words before the first "with", "in" or "for"; all where there is none or it is first
    """

    words: tuple[str, ...]
    spelt: str
    fused: str
    known: frozenset[str]
    adjacent: frozenset[tuple[str, str]]
    head: tuple[str, ...]


def prepared(text: str) -> Text:
    """What is asked of a text; an empty one has no words, and that is all that is said of it."""
    return text_of(words_of(text))


def text_of(words: tuple[str, ...]) -> Text:
    """The same of words as `words_of` cuts them."""
    return Text(
        words=words,
        spelt=_spelt(words),
        fused="".join(words),
        known=frozenset(words),
        adjacent=frozenset(pairwise(words)),
        head=_head(words),
    )


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text: 'Hinges, 3-1/2"' -> hing, 3, 1, 2, inch."""
    for mark, word in _MARKS:
        text = mark.sub(word, text)
    found: list[str] = []
    for unit in units(text):
        measure = _MEASURES.get(unit)
        if measure is None and found and is_number(found[-1]):
            measure = _MEASURES_OF_NUMBERS.get(unit)
        found.append(measure or stem(unit))
    return tuple(found)


def is_number(word: str) -> bool:
    """Whether a word is a number: a unit of digits has digits alone."""
    return word[0].isdigit()


def stem(word: str) -> str:
    """A word without its English ending: hinges, hinge -> hing; glasses, glass -> glass.

    What comes of it need not be a word, as long as it is the same for all of a word's forms;
    irregular ones are left to the likeness of their letters.
    """
    if not word.isascii() or is_number(word):
        return word
    for ending in _ENDINGS:
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= _SHORTEST_STEM and not word.endswith("ss"):
            word = rest + "y" if ending == "ies" else rest
            break
    return word[:-1] if word.endswith("e") and len(word) > _SHORTEST_STEM else word


def _spelt(words: tuple[str, ...]) -> str:
    parts: list[str] = []
    run = False  # whether the word before is a character that the next one may join
    for word in words:
        character = is_character(word)
        if parts and not (run and character):
            parts.append(" ")
        parts.append(word)
        run = character
    return "".join(parts)


def _head(words: tuple[str, ...]) -> tuple[str, ...]:
    end = next((at for at, word in enumerate(words) if word in _AFTER_THE_NOUN), len(words))
    return words[:end] or words
