"""The request path: query -> query row, ids -> product rows, head -> scores. Knows no HTTP.

Rows come from the row cache; those that are not there are fetched while the query is encoded.
One deadline is checked between the stages and between the head's tiles; what could not be scored
is NaN, with its reason in `codes`.
"""

import logging
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from model_store.student import OnnxStudent
from service import metrics
from service.coverage import CORRUPT_ROW, DEADLINE, MISSING_PRODUCT, SCORED, STORE_ERROR
from service.deadline import Deadline
from service.query_rows import QueryRows, QuerySource
from vector_store.errors import StoreError
from vector_store.header import SetHeader
from vector_store.ids import ProductIds
from vector_store.row_cache import RowCache
from vector_store.rows import CORRUPT, FOUND, MISSING, Rows

log = logging.getLogger("winnow.scoring")


@dataclass(frozen=True, slots=True)
class Scorer:
    """A verified student, the vector set its rows lie in, and the cache in front of that set."""

    student: OnnxStudent
    header: SetHeader
    rows: RowCache
    queries: QueryRows
    fetcher: Executor


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores float32 [n] aligned with the candidates (NaN = not scored) and codes uint8 [n].

    stages_s: what each stage took of the request
    periods_s: when each stage ran, begin and end; rows are fetched while the query is encoded
    """

    raw: NDArray[np.float32]
    scores: NDArray[np.float32]
    codes: NDArray[np.uint8]
    stages_s: dict[str, float]
    periods_s: dict[str, tuple[float, float]]
    query_source: QuerySource | None


def score(scorer: Scorer, query: str, product_ids: ProductIds, deadline: Deadline) -> Scored:
    """Scores every candidate that has a row, within the deadline."""
    n = len(product_ids)
    started = perf_counter()
    if deadline.expired():
        return unscored(n, DEADLINE)
    rows, missing = scorer.rows.lookup(product_ids)
    looked_up = perf_counter()
    fetching: Future[Rows] | None = None
    if len(missing):
        fetching = scorer.fetcher.submit(scorer.rows.complete, product_ids, rows, missing)
    q, source = scorer.queries.get(query)
    encoded = perf_counter()
    try:
        if fetching is not None:
            rows = fetching.result(timeout=deadline.remaining_s())
    except TimeoutError:
        if fetching is not None:
            fetching.cancel()  # one that has not begun would hold up those that somebody waits for
        return unscored(n, DEADLINE)
    except StoreError as error:
        metrics.STORE_FAILURES.labels("rows").inc()
        log.warning("store failed: %s", error)
        return unscored(n, STORE_ERROR)
    fetched = perf_counter()
    raw, codes = score_rows(scorer.student, q, rows, deadline)
    scores = scorer.student.calibrate(raw)
    scored = perf_counter()
    stages_s = {
        "query": encoded - looked_up,
        "rows": (looked_up - started) + (fetched - encoded),
        "head": scored - fetched,
    }
    periods_s = {
        "rows": (started, looked_up if fetching is None else fetched),
        "query": (looked_up, encoded),
        "head": (fetched, scored),
    }
    return Scored(raw, scores, codes, stages_s, periods_s, source)


def unscored(n: int, code: int) -> Scored:
    """A result for n candidates without a score, all for one reason."""
    nothing = np.full(n, np.nan, dtype=np.float32)
    codes = np.full(n, code, dtype=np.uint8)
    return Scored(nothing, nothing, codes, stages_s={}, periods_s={}, query_source=None)


_CODE_OF_STATUS = np.zeros(3, dtype=np.uint8)
_CODE_OF_STATUS[FOUND], _CODE_OF_STATUS[MISSING], _CODE_OF_STATUS[CORRUPT] = (
    SCORED,
    MISSING_PRODUCT,
    CORRUPT_ROW,
)


def score_rows(
    student: OnnxStudent, q: NDArray[np.float32], rows: Rows, deadline: Deadline
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Raw scores float32 [n] of rows [n, d_p], NaN = not scored, and why not, uint8 [n]."""
    codes = _CODE_OF_STATUS[rows.status]
    if not codes.any():
        raw = student.score(q, rows.values, deadline.expired)
    else:
        raw = np.full(len(codes), np.nan, dtype=np.float32)
        found = np.flatnonzero(codes == SCORED)
        raw[found] = student.score(q, rows.values[found], deadline.expired)
    codes[(codes == SCORED) & np.isnan(raw)] = DEADLINE
    return raw, codes
