"""What each word of a query or title adds to a score: the score less that of the text without it.

Leave-one-out, on whole words: a CWUB unit goes with its bigrams, a word with all its pieces, and
its neighbours close up. So every contribution can be checked by scoring the shorter text. The
contributions of a text add up to nothing in particular: two words that say the same may both have
none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_store.calibration import log_odds
from model_store.student import OnnxStudent
from model_store.words import Word

TITLES_PER_RUN: Final = 16  # of the product graph; between two runs the deadline is looked at


@dataclass(frozen=True, slots=True)
class Contribution:
    """What leaving a word out takes from a pair's score.

    score: calibrated score less that without the word, -1 to 1; NaN where time ran out
    log_odds: the same of the raw score's log-odds: comparable where the score is near 0 or 1
    """

    word: Word
    score: float
    log_odds: float


def query_contributions(
    student: OnnxStudent,
    words: Sequence[Word],
    q: NDArray[np.float32],
    row: NDArray[np.float16],
    stop: Callable[[], bool],
) -> list[Contribution]:
    """Contributions of the words of a query whose row is q [1, d_q], to a product row [1, d_p].

    Every shorter query is encoded alone, as the service encodes it. `stop` is asked in between.
    """
    encoded = encodings(words)
    raw = np.full(len(encoded), np.nan, dtype=np.float32)
    for i, word in enumerate(encoded):
        if stop():
            break
        raw[i] = student.score(student.encode_query(word.without), row)[0]
    return _contributions(student, words, student.score(q, row), raw)


def title_contributions(
    student: OnnxStudent,
    words: Sequence[Word],
    q: NDArray[np.float32],
    row: NDArray[np.float16],
    stop: Callable[[], bool],
) -> list[Contribution]:
    """Contributions of the words of a title whose encoded row is `row` [1, d_p], to q [1, d_q]."""
    encoded = encodings(words)
    raw = np.full(len(encoded), np.nan, dtype=np.float32)
    for start in range(0, len(encoded), TITLES_PER_RUN):
        if stop():
            break
        shorter = [word.without for word in encoded[start : start + TITLES_PER_RUN]]
        raw[start : start + len(shorter)] = student.score(q, student.encode_products(shorter))
    return _contributions(student, words, student.score(q, row), raw)


def encodings(words: Sequence[Word]) -> list[Word]:
    """The words that cost an encoding: a word that is cut off has no say."""
    return [word for word in words if word.status != "cut"]


def _contributions(
    student: OnnxStudent,
    words: Sequence[Word],
    whole: NDArray[np.float32],
    without: NDArray[np.float32],
) -> list[Contribution]:
    """From the raw score of the whole text, float32 [1], and those without each word, [k]."""
    score = student.calibrate(whole)[0] - student.calibrate(without)
    odds = log_odds(whole)[0] - log_odds(without)
    of_encoded = iter(zip(score.tolist(), odds.tolist(), strict=True))
    return [
        Contribution(word, *((0.0, 0.0) if word.status == "cut" else next(of_encoded)))
        for word in words
    ]
