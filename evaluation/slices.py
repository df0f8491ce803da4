"""Judged pairs cut into slices: by what was known of the query, its frequency, and lengths.

seen / unseen   whether the query is one of the training queries (same query_key)
head / tail     head: the most frequent queries that together have at least half of all frequency,
                with every query as frequent as the least of them; tail: the rest. Frequency is
                what the caller gives, 0 for a query it lacks; else the judged pairs of the query,
                which say how it was sampled more than how often it is asked.
lengths         units of CWUB: one Chinese character, one word, one number
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from evaluation import weighted
from evaluation.errors import InputFileError
from evaluation.judgments import Judgments, query_key
from evaluation.resampling import Interval, Resampling
from evaluation.tables import ENCODING, rows
from model_store.cwub import units

# Fewer, and an interval would be as wide as the scale: the slice says "too few" instead.
MIN_PAIRS_OF_CLASS = 20
MIN_QUERIES = 10

QUERY_LENGTHS = (1, 2, 3, 4, 5)  # each bucket from here up to the next; the last has no end
TITLE_LENGTHS = (1, 6, 11, 16, 21)


class Slice(BaseModel):
    """Some of the pairs; `roc_auc` by scorer, None = too few (or another reason in `note`)."""

    model_config = ConfigDict(frozen=True)

    kind: str
    name: str
    pairs: int
    queries: int
    negative_share: float | None  # None: no pair
    note: str  # "" where roc_auc has figures
    roc_auc: dict[str, Interval | None]


def slices(
    judgments: Judgments,
    scores: Mapping[str, NDArray[np.float32]],
    *,
    train_queries: frozenset[str] | None = None,
    frequencies: Mapping[str, float] | None = None,
    resamples: int,
    seed: int,
) -> list[Slice]:
    """ROC-AUC of every scorer in every slice.

    Args:
        judgments: n pairs.
        scores: by scorer, float32 [n] without NaN.
        train_queries: keys of the queries that students were trained on; None: no such slices.
        frequencies: by query key, how often it is asked; None: the judged pairs of the query.
        resamples: of the queries of the slice.
        seed: of the resamples.
    """
    keys = [query_key(query) for query in judgments.queries]
    places: list[tuple[str, str, NDArray[np.bool_]]] = []
    if train_queries is not None:
        seen = np.array([key in train_queries for key in keys])
        places += [("query", "seen in training", seen), ("query", "unseen", ~seen)]
    head = _head(keys, Counter(keys) if frequencies is None else frequencies)
    by = "judged pairs" if frequencies is None else "frequency"
    places += [(f"query by {by}", "head", head), (f"query by {by}", "tail", ~head)]
    places += _buckets("query length", judgments.queries, QUERY_LENGTHS)
    places += _buckets("title length", judgments.titles, TITLE_LENGTHS)
    return [
        _slice(kind, name, judgments, scores, np.flatnonzero(inside), (resamples, seed))
        for kind, name, inside in places
    ]


def read_queries(path: Path, column: str = "query", encoding: str = ENCODING) -> frozenset[str]:
    """Keys of the queries of a table's column, or of a text file with one query per line (.txt).

    Raises:
        InputFileError: the file can't be read, or has no query.
    """
    try:
        if path.suffix == ".txt":
            lines = path.read_text(encoding=encoding).splitlines()
            queries = [line for line in lines if line.strip()]
        else:
            with closing(rows(path, encoding)) as table:
                queries = [row.text(column) for row in table]
    except (OSError, UnicodeError) as error:
        raise InputFileError(f"{path}: can't be read: {error}") from error
    if not queries:
        raise InputFileError(f"{path.name}: expected queries, got none")
    return frozenset(map(query_key, queries))


def read_frequencies(
    path: Path, column: str = "query", encoding: str = ENCODING
) -> dict[str, float]:
    """How often each query is asked, by its key, from a table of queries with a column count.

    Spellings with one key are added up.

    Raises:
        InputFileError: the file can't be read, or a count is no number from 0 up.
    """
    frequencies: dict[str, float] = {}
    with closing(rows(path, encoding)) as lines:
        for row in lines:
            key, count = query_key(row.text(column)), row.number("count")
            if count < 0:
                raise InputFileError(f"{row.place}: expected a count from 0 up, got {count:g}")
            frequencies[key] = frequencies.get(key, 0.0) + count
    return frequencies


def _slice(
    kind: str,
    name: str,
    judgments: Judgments,
    scores: Mapping[str, NDArray[np.float32]],
    inside: NDArray[np.intp],
    draws: tuple[int, int],
) -> Slice:
    part = judgments.take(inside)
    labels = part.labels
    relevant, queries = int(labels.sum()), len(set(part.queries))
    few = min(relevant, len(part) - relevant) < MIN_PAIRS_OF_CLASS or queries < MIN_QUERIES
    figures: dict[str, Interval | None] = dict.fromkeys(scores)
    if not few:
        resamples, seed = draws
        sampled = Resampling(part.queries, resamples=resamples, seed=seed).samples(
            {scorer: weighted.roc_auc(labels, values[inside]) for scorer, values in scores.items()}
        )
        figures = {scorer: figure.interval() for scorer, figure in sampled.items()}
    return Slice(
        kind=kind,
        name=name,
        pairs=len(part),
        queries=queries,
        negative_share=1 - relevant / len(part) if len(part) else None,
        note="too few" if few else "",
        roc_auc=figures,
    )


def _head(keys: Sequence[str], frequencies: Mapping[str, float]) -> NDArray[np.bool_]:
    """Whether the query of each pair is a head query, bool [n]."""
    of_key = {key: float(frequencies.get(key, 0.0)) for key in keys}
    descending = np.sort(np.array(list(of_key.values())))[::-1]
    total = descending.sum()
    least = descending[np.searchsorted(np.cumsum(descending), total / 2)] if total else np.inf
    return np.array([of_key[key] >= least for key in keys])


def _buckets(
    kind: str, texts: Sequence[str], starts: tuple[int, ...]
) -> list[tuple[str, str, NDArray[np.bool_]]]:
    lengths_of = {text: max(1, len(units(text))) for text in dict.fromkeys(texts)}
    lengths = np.array([lengths_of[text] for text in texts])
    ends = [*(start - 1 for start in starts[1:]), None]
    return [
        (kind, _span(start, end), (lengths >= start) & (lengths <= (end or lengths.max())))
        for start, end in zip(starts, ends, strict=True)
    ]


def _span(start: int, end: int | None) -> str:
    if end is None:
        return f"{start} or more"
    return str(start) if start == end else f"{start} to {end}"
