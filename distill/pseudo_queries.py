"""More queries than people have typed: made from titles, or from queries by small changes.

BERT2DNN learns from hundreds of millions of logged pairs; a shop without such logs has thousands of
queries. What is made here is not in the papers: words of a title that shoppers are likely to type,
as many as they type, mostly in the title's order.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # with kana
_SLASH = re.compile(r"(?<=[^\W\d])/|/(?=[^\W\d])")  # "tub/shower", but not "1/2"
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")  # nobody types "9,000"
_WORD = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}](?:[^\s()\[\]{{}},;|\"{_HAN}]*[^\W_{_HAN}])?")
_NUMBER = re.compile(r"[\d./-]*\d")
_UNIT_OF_MEASURE = re.compile(r"[a-z]{1,4}")

# Of the relevant Home Depot pairs (train) whose query lies wholly in the title, 38 % have its words
# side by side and 80 % have them in the title's order.
_SIDE_BY_SIDE = 0.4
_IN_ORDER = 0.7  # of the others
_CHANGED = 0.1  # of all made queries: typing errors and plurals come with people
_LENGTHS = (2, 2, 3, 3, 3, 4, 4, 5)  # words, where no query says how long queries are
_PRIOR = 5.0  # times a word has to be seen in titles before its own rate counts
_COMMON = 0.05  # of the titles: where no query is known, a more frequent word says little
_LEAST_LETTERS = 4  # of a word that is misspelt


def words(text: str) -> list[str]:
    """Lower-case words as a shopper types them: "1/2", "strong-tie", "cu"; no brackets or commas.

    Chinese is cut into pairs of characters, since most of its words have two: not a segmentation,
    but whatever is put together from it side by side is a piece of the text.
    """
    found = []
    for word in _WORD.findall(_SLASH.sub(" ", _THOUSANDS.sub("", text.lower()))):
        if re.match(rf"[{_HAN}]", word):
            found += [word[at : at + 2] for at in range(0, len(word), 2)]
        else:
            found.append(word)
    return found


class QueryMaker:
    """Makes queries out of titles, after the manner of known queries where there are any."""

    def __init__(self, titles: Iterable[str], queries: Sequence[str]) -> None:
        """Counts the words of both; `queries` may be empty, and are never of valid or test."""
        in_titles = Counter(word for title in titles for word in words(title))
        asked = [words(query) for query in queries]
        self._lengths = np.array([len(each) for each in asked if each] or _LENGTHS)
        self._weights = _rates(in_titles, asked) if any(asked) else _plain_weights(in_titles)
        self._usual = float(np.mean(list(self._weights.values()))) if self._weights else 1.0

    def make(self, title: str, draw: np.random.Generator) -> str:
        """A query that the title's product answers; "" where the title has no word."""
        chunks = _chunks(words(title))
        if not chunks:
            return ""
        logs = np.log([self._weight(chunk) for chunk in chunks])
        wanted = int(draw.choice(self._lengths))
        if draw.random() < _SIDE_BY_SIDE:
            taken = _side_by_side(chunks, logs, wanted, draw)
        else:
            taken = _apart(chunks, logs, wanted, draw)
        query = _joined([word for chunk in taken for word in chunk])
        return rewrite(query, draw) or query if draw.random() < _CHANGED else query

    def _weight(self, chunk: tuple[str, ...]) -> float:
        return sum(self._weights.get(word, self._usual) for word in chunk) / len(chunk)


def rewrite(query: str, draw: np.random.Generator) -> str:
    """The query with one change: a word less, two words swapped, a plural or a typing error.

    "" where no change is possible, as in one Chinese word.
    """
    typed = query.lower().split()
    latin = [at for at, word in enumerate(typed) if re.fullmatch("[a-z]{3,}", word)]
    long = [at for at in latin if len(typed[at]) >= _LEAST_LETTERS]
    changes = ["drop", "swap"] if len(typed) > 1 else []
    changes += ["number"] if latin else []
    changes += ["misspell"] if long else []
    if not changes:
        return ""
    match changes[draw.integers(len(changes))]:
        case "drop":
            del typed[draw.integers(len(typed))]
        case "swap":
            at = int(draw.integers(len(typed) - 1))
            typed[at], typed[at + 1] = typed[at + 1], typed[at]
        case "number":
            at = latin[draw.integers(len(latin))]
            typed[at] = _other_number(typed[at])
        case _:
            at = long[draw.integers(len(long))]
            typed[at] = _misspelt(typed[at], draw)
    changed = " ".join(typed)
    return "" if changed == " ".join(query.lower().split()) else changed


def _rates(in_titles: Counter[str], asked: Sequence[Sequence[str]]) -> dict[str, float]:
    """How often a word of a title is typed: its rate, drawn to the mean rate where it is rare."""
    in_queries = Counter(word for query in asked for word in query)
    mean = sum(in_queries[word] for word in in_titles) / max(1, in_titles.total())
    mean = mean or 1.0
    return {
        word: (in_queries[word] + _PRIOR * mean) / (count + _PRIOR)
        for word, count in in_titles.items()
    }


def _plain_weights(in_titles: Counter[str]) -> dict[str, float]:
    """Without queries: what is in every twentieth title, or in one alone, says little."""
    often = _COMMON * max(1, in_titles.total()) / 10  # about ten words a title
    return {word: 0.2 if count == 1 or count > often else 1.0 for word, count in in_titles.items()}


def _chunks(title: Sequence[str]) -> list[tuple[str, ...]]:
    """Distinct words, a number together with its unit: ("66", "in"), ("vanity",)."""
    chunks: list[tuple[str, ...]] = []
    at = 0
    while at < len(title):
        bound = (
            at + 1 < len(title)
            and _NUMBER.fullmatch(title[at])
            and _UNIT_OF_MEASURE.fullmatch(title[at + 1])
            and title[at + 1] != "x"
        )
        chunks.append(tuple(title[at : at + 2]) if bound else (title[at],))
        at += len(chunks[-1])
    return list(dict.fromkeys(chunks))


def _side_by_side(
    chunks: list[tuple[str, ...]],
    logs: NDArray[np.float64],
    wanted: int,
    draw: np.random.Generator,
) -> list[tuple[str, ...]]:
    """Neighbouring chunks of about `wanted` words; likelier where their words are likely."""
    count = max(1, round(wanted * len(chunks) / sum(map(len, chunks))))
    count = min(count, len(chunks))
    means = np.convolve(logs, np.full(count, 1 / count), mode="valid")
    # The geometric mean to the power of the length: as likely as all its words together.
    start = int(np.argmax(count * means + draw.gumbel(size=len(means))))
    return chunks[start : start + count]


def _apart(
    chunks: list[tuple[str, ...]],
    logs: NDArray[np.float64],
    wanted: int,
    draw: np.random.Generator,
) -> list[tuple[str, ...]]:
    """Chunks of about `wanted` words, drawn by weight without replacement (Gumbel's trick)."""
    taken: list[int] = []
    size = 0
    for at in np.argsort(-(logs + draw.gumbel(size=len(logs)))):
        if size >= wanted:
            break
        taken.append(int(at))
        size += len(chunks[at])
    if draw.random() < _IN_ORDER:
        taken.sort()
    return [chunks[at] for at in taken]


def _joined(typed: Sequence[str]) -> str:
    """Words with spaces between them, but for Chinese beside Chinese."""
    return re.sub(rf"(?<=[{_HAN}]) (?=[{_HAN}])", "", " ".join(typed))


def _other_number(word: str) -> str:
    """Plural for singular and the other way round, as English mostly does it."""
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    if re.search("[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}es" if re.search("(s|x|z|ch|sh)$", word) else f"{word}s"


def _misspelt(word: str, draw: np.random.Generator) -> str:
    """A letter left out, doubled, or swapped with the next; the first one stays."""
    at = int(draw.integers(1, len(word) - 1))
    return (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    )[draw.integers(3)]
