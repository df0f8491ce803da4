"""The words of a text, as people read them and as its tokenizer does."""

from dataclasses import dataclass
from typing import Literal

WordStatus = Literal["known", "unknown", "cut"]


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a text: where it occurs twice, one of two.

    pieces: the tokens it is part of that the student sees: unigrams and bigrams, or word pieces
    status: `unknown`: the vocabulary does not have the word; `cut`: all of it lies beyond the
        tokenizer's limit, and what stands before it is the same without it
    without: the text with this word left out
    """

    text: str
    pieces: tuple[str, ...]
    status: WordStatus
    without: str
