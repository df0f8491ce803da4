"""Why a pair has its score: the row it is scored with, and what each word adds. Knows no HTTP.

Nothing here is on the request path, and nothing there waits for it but a request's thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from time import perf_counter, time
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model_store.explain import (
    Contribution,
    encodings,
    query_contributions,
    title_contributions,
)
from model_store.student import OnnxStudent
from model_store.words import Word
from service.deadline import Deadline
from service.scoring import Scorer
from vector_store.ids import ProductIds
from vector_store.protocol import VectorStore
from vector_store.rows import CORRUPT, FOUND, encoded_at_s, text_hash, text_hashes, unpack

RowSource = Literal["cache", "store", "encoded"]


class Unscorable(Exception):
    """A product without a row that can be scored; the text says what there is instead."""


@dataclass(frozen=True, slots=True)
class Row:
    """The row of one product, float16 [1, d_p].

    source: `cache`: this worker had it in memory; `encoded`: made of the title for this answer
    encoded_at_s: unix seconds
    title_hash: of the title it was encoded from
    """

    values: NDArray[np.float16]
    source: RowSource
    encoded_at_s: int
    title_hash: int


@dataclass(frozen=True, slots=True)
class Text:
    """A query or title and its words."""

    text: str
    words: Sequence[Word]

    @property
    def encodings(self) -> int:
        """How many texts have to be encoded: whole, and without each word."""
        return 1 + len(encodings(self.words))


@dataclass(frozen=True, slots=True)
class Explained:
    """The score of a pair, and the contributions of its words.

    matches_title: whether the row is that of the title; None where only one of them is known
    title: None where the title is not known
    """

    score: np.float32
    raw: np.float32
    row: Row
    matches_title: bool | None
    query: list[Contribution]
    title: list[Contribution] | None
    stages_s: dict[str, float]

    @property
    def finished(self) -> bool:
        """Whether there was time for every word."""
        return not any(isnan(each.score) for each in (*self.query, *(self.title or ())))


def stored_row(scorer: Scorer, store: VectorStore, product_id: str) -> Row:
    """The row that a request would be scored with now.

    The cache holds rows alone, so the record is read in any case: it has the time.

    Raises:
        Unscorable: there is none, or a corrupt one.
        StoreError: the store did not answer.
    """
    kept, missing = scorer.rows.lookup(ProductIds.from_strings([product_id]))
    (record,) = store.get(scorer.header, [product_id])
    if record is None:
        raise Unscorable("no row")
    stored = unpack([record], scorer.header.width)
    if stored.status[0] == CORRUPT:
        raise Unscorable("a corrupt row")
    cached = not len(missing) and kept.status[0] == FOUND
    return Row(
        kept.values if cached else stored.values,
        "cache" if cached else "store",
        encoded_at_s(record),
        int(text_hashes([record])[0]),
    )


def explain(
    student: OnnxStudent, query: Text, title: Text | None, stored: Row | None, deadline: Deadline
) -> Explained:
    """Explains the score of a stored row, or where there is none that of a title, for a query.

    The words of a title are explained by encoding it, whether or not its row is stored.

    Raises:
        ValueError: there is neither a title nor a row.
    """
    started = perf_counter()
    q = student.encode_query(query.text)
    encoded = None
    if title is not None:
        values = student.encode_products([title.text])
        encoded = Row(values, "encoded", int(time()), text_hash(title.text))
    row = encoded if stored is None else stored
    if row is None:
        raise ValueError("expected a title, a stored row or both, got neither")
    raw = student.score(q, row.values)
    scored = perf_counter()
    of_query = query_contributions(student, query.words, q, row.values, deadline.expired)
    explained = perf_counter()
    of_title = None
    if title is not None and encoded is not None:
        of_title = title_contributions(student, title.words, q, encoded.values, deadline.expired)
    return Explained(
        score=student.calibrate(raw)[0],
        raw=raw[0],
        row=row,
        matches_title=_same(stored, encoded),
        query=of_query,
        title=of_title,
        stages_s={
            "score": scored - started,
            "query": explained - scored,
            "title": perf_counter() - explained,
        },
    )


def _same(stored: Row | None, encoded: Row | None) -> bool | None:
    """By title, for another kind of machine may have made another last bit; or by row."""
    if stored is None or encoded is None:
        return None
    return stored.title_hash == encoded.title_hash or np.array_equal(stored.values, encoded.values)
