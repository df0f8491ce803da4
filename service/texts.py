"""Texts instead of product ids: encoded now, by the graph that encodes the catalogue. No HTTP.

A text costs what some hundred stored rows cost, so it counts as many where requests are admitted
(`worker.CANDIDATES_PER_ENCODING`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from service.coverage import DEADLINE
from service.deadline import Deadline
from service.scoring import Scored, Scorer, score_rows, unscored
from vector_store.rows import CORRUPT, FOUND, Rows

_CHUNK: Final = 32  # texts between two looks at the deadline


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """n texts, in order; each distinct one is encoded once.

    positions: intp [n], text i is distinct[positions[i]]
    """

    distinct: tuple[str, ...]
    positions: NDArray[np.intp]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """Texts as they came."""
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        return cls(tuple(places), np.array([places[text] for text in texts], np.intp))

    def __len__(self) -> int:
        return len(self.positions)


def score_texts(scorer: Scorer, query: str, texts: Texts, deadline: Deadline) -> Scored:
    """Scores every text within the deadline, or none: each as the stored row of such a title."""
    started = perf_counter()
    if deadline.expired():
        return unscored(len(texts), DEADLINE)
    q, source = scorer.queries.get(query)
    encoded_query = perf_counter()
    rows = _encoded(scorer, texts.distinct, deadline)
    if rows is None:
        return unscored(len(texts), DEADLINE)
    encoded = perf_counter()
    raw, codes = score_rows(scorer.student, q, rows, deadline)
    scores = scorer.student.calibrate(raw)
    scored = perf_counter()
    periods_s = {
        "query": (started, encoded_query),
        "texts": (encoded_query, encoded),
        "head": (encoded, scored),
    }
    stages_s = {stage: end - begin for stage, (begin, end) in periods_s.items()}
    at = texts.positions
    return Scored(raw[at], scores[at], codes[at], stages_s, periods_s, source)


def _encoded(scorer: Scorer, texts: tuple[str, ...], deadline: Deadline) -> Rows | None:
    """Rows [n, d_p], those that no store would take among them; None when the deadline struck."""
    student = scorer.student
    values = np.empty((len(texts), student.manifest.d_p), np.float16)
    for start in range(0, len(texts), _CHUNK):
        if deadline.expired():
            return None
        values[start : start + _CHUNK] = student.encode_products(texts[start : start + _CHUNK])
    finite = np.isfinite(values).all(axis=1)
    return Rows(values, np.where(finite, FOUND, CORRUPT).astype(np.uint8))
