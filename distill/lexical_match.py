"""How the words of a query lie in a title: the numbers of one pair.

What does not exist is NaN, never 0: the share of found numbers where a query has none, and all of
it where query or title has no word. Trees learn a branch of its own for that.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import nan
from typing import NamedTuple

from rapidfuzz import fuzz
from rapidfuzz.distance import JaroWinkler, Levenshtein
from rapidfuzz.process import cdist

from distill.lexical_text import Text, is_number


class Match(NamedTuple):
    """One pair. A word is found if the title has it; its likeness, from 0 to 1, is that to the
    title's nearest word by edits (1 - Levenshtein distance / length of the longer one).
    """

    # Coverage: how much of the query is there.
    covered: float  # share of the query's words that are found
    found: float  # how many
    missing: float  # how many are not
    covered_weight: float  # share of the query's IDF that is found
    within: float  # share of the query's words that are part of some title word

    # Likeness: misspelt and inflected words.
    alike_weight: float  # mean likeness of the query's words, by IDF
    alike_mean: float  # the same, each word counted once
    alike_least: float  # the word that fits worst
    start_mean: float  # mean Jaro-Winkler likeness, which counts first letters more
    start_least: float  # of the word that fits worst
    worst_gap: float  # largest IDF * (1 - likeness): an important word that is missing

    # First and last word: in English queries the last is mostly the noun.
    last_found: float
    last_alike: float
    first_found: float
    first_alike: float

    # Lengths, in words.
    query_words: float
    title_words: float
    head_words: float  # of the title's head (lexical_text.py)

    # Numbers: sizes, counts, models.
    numbers: float  # in the query
    numbers_found: float  # share of them

    # Order and place.
    bigrams: float  # share of the query's words side by side that are so in the title
    in_order: float  # share of found words that stand behind the found word before them
    fused: float  # whether the query, without spaces, lies in the title without spaces
    last_place: float  # where the last word's nearest stands: 0 = first of the title, to 1
    furthest_place: float  # the same of the found word that stands furthest back

    # The title: is it about what was asked.
    head_found: float  # whether its noun, the last word of its head, is in the query
    title_covered: float  # share of the title's words that are in the query

    # Whole texts, 0 to 100.
    partial_ratio: float  # likeness to the best stretch of the title
    token_set_ratio: float  # likeness of the sets of words
    head_ratio: float  # the same with the title's head in place of the title


NOTHING = Match(*[nan] * len(Match._fields))


def match(query: Text, title: Text, weights: Sequence[float]) -> Match:
    """The numbers of a pair; NOTHING where query or title has no word.

    Args:
        query: at least its words, spelling and pairs.
        title: all of it.
        weights: IDF of the query's words, above 0, one for each.
    """
    words, others = query.words, title.words
    if not words or not others:
        return NOTHING
    found = [word in title.known for word in words]
    likeness = cdist(words, others, scorer=Levenshtein.normalized_similarity)
    alike: list[float] = likeness.max(axis=1).tolist()
    places: list[int] = likeness.argmax(axis=1).tolist()
    starts = cdist(words, others, scorer=JaroWinkler.normalized_similarity).max(axis=1).tolist()
    found_places = [place for place, there in zip(places, found, strict=True) if there]
    number_found = [there for word, there in zip(words, found, strict=True) if is_number(word)]
    count, whole, title_count = len(words), sum(weights), len(others)
    text = " ".join(words)
    return Match(
        covered=sum(found) / count,
        found=sum(found),
        missing=count - sum(found),
        covered_weight=_dot(weights, found) / whole,
        within=sum(word in title.spelt for word in words) / count,
        alike_weight=_dot(weights, alike) / whole,
        alike_mean=sum(alike) / count,
        alike_least=min(alike),
        start_mean=sum(starts) / count,
        start_least=min(starts),
        worst_gap=max(w * (1.0 - each) for w, each in zip(weights, alike, strict=True)),
        last_found=found[-1],
        last_alike=alike[-1],
        first_found=found[0],
        first_alike=alike[0],
        query_words=count,
        title_words=title_count,
        head_words=len(title.head),
        numbers=len(number_found),
        numbers_found=_share(number_found),
        bigrams=_share([pair in title.adjacent for pair in query.adjacent]),
        in_order=_share([before < after for before, after in pairwise(found_places)]),
        fused=query.fused in title.fused,
        last_place=places[-1] / title_count,
        furthest_place=max(found_places) / title_count if found_places else nan,
        head_found=title.head[-1] in query.known,
        title_covered=sum(word in query.known for word in others) / title_count,
        partial_ratio=fuzz.partial_ratio(text, " ".join(others)),
        token_set_ratio=fuzz.token_set_ratio(text, " ".join(others)),
        head_ratio=fuzz.token_set_ratio(text, " ".join(title.head)),
    )


def _share(there: Sequence[bool]) -> float:
    return sum(there) / len(there) if there else nan


def _dot(weights: Sequence[float], values: Sequence[float]) -> float:
    return sum(weight * value for weight, value in zip(weights, values, strict=True))
