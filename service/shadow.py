"""Scoring with a shadow version, after the answer was sent: compared in metrics, never answered.

A worker looks at its queue only while no request is being scored, so under load the shadow is
what is shed first. Whatever goes wrong here is counted, and no request sees it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from model_store.manifest import SortMode
from service import metrics
from service.coverage import SCORED, STORE_ERROR
from service.deadline import Deadline
from service.schemas import CandidatesRequest
from service.scoring import Scored, score
from service.version import Version
from vector_store.ids import ProductIds

log = logging.getLogger("winnow.shadow")

_IDLE_POLL_S = 0.002
_OLDEST_S = 5.0
_DEADLINE_MS = 5_000.0


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered: what it asked, its scores, the threshold that held for it."""

    body: CandidatesRequest
    ids: ProductIds
    scored: Scored
    threshold: float
    sort: SortMode
    asked_threshold: float | None


class Shadows:
    """The queue of one worker, and the one thread that works it off."""

    def __init__(self, most: int, busy: Callable[[], bool]) -> None:
        """`most` answers wait; `busy`: whether a request is being scored."""
        self._most = most
        self._busy = busy
        self._queue: deque[tuple[Version, Answered, float]] = deque()
        self._filled = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "winnow-shadow")

    async def offer(self, version: Version, answered: Answered) -> None:
        """Queues an answer for a shadow version, or sheds it where the queue is full."""
        if len(self._queue) >= self._most:
            _count(version, "shed")
            return
        self._queue.append((version, answered, perf_counter()))
        self._filled.set()

    async def run(self) -> None:
        """Works the queue off until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._filled.wait()
            while self._busy():
                await asyncio.sleep(_IDLE_POLL_S)
            version, answered, since = self._queue.popleft()
            if not self._queue:
                self._filled.clear()
            if perf_counter() - since > _OLDEST_S:
                _count(version, "shed")
                continue
            await loop.run_in_executor(self._thread, partial(_compare, version, answered))

    def close(self) -> None:
        """Ends the thread; what is queued is forgotten."""
        self._queue.clear()
        self._thread.shutdown(cancel_futures=True)


def _compare(version: Version, answered: Answered) -> None:
    scorer = version.slot.scorer
    if scorer is None:
        _count(version, "failed")
        return
    try:
        scored = score(
            scorer, answered.body.query, answered.ids, Deadline(perf_counter(), _DEADLINE_MS)
        )
    except Exception:
        log.exception("a shadow version could not score")
        _count(version, "failed")
        return
    if (scored.codes == STORE_ERROR).any():
        _count(version, "failed")
        return
    _count(version, "compared")
    threshold = answered.asked_threshold
    if threshold is None:
        threshold = scorer.student.manifest.thresholds.by_sort()[answered.sort]
    _show(version, compare(answered.scored, scored, answered.threshold, threshold))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Counts of candidates by result, and absolute differences float32 of those both scored."""

    results: dict[str, int]
    differences: NDArray[np.float32]


def compare(
    answer: Scored, shadow: Scored, answer_threshold: float, shadow_threshold: float
) -> Comparison:
    """Two scorings of the same candidates, [n] each, each against its own threshold."""
    in_answer, in_shadow = answer.codes == SCORED, shadow.codes == SCORED
    both = in_answer & in_shadow & ~np.isnan(answer.scores) & ~np.isnan(shadow.scores)
    kept = answer.scores[both] >= np.float32(answer_threshold)
    shadow_kept = shadow.scores[both] >= np.float32(shadow_threshold)
    return Comparison(
        {
            "same": int((kept == shadow_kept).sum()),
            "only_shadow_keeps": int((~kept & shadow_kept).sum()),
            "only_shadow_removes": int((kept & ~shadow_kept).sum()),
            "only_shadow_scored": int((~in_answer & in_shadow).sum()),
            "only_answer_scored": int((in_answer & ~in_shadow).sum()),
            "nan": int(((in_answer & in_shadow) & ~both).sum()),
        },
        np.abs(answer.scores[both] - shadow.scores[both]),
    )


def _show(version: Version, compared: Comparison) -> None:
    labels = version.labels
    for result, count in compared.results.items():
        if count:
            metrics.SHADOW_CANDIDATES.labels(*labels, result).inc(count)
    if len(compared.differences):
        metrics.SHADOW_DIFFERENCE.labels(*labels).observe(float(compared.differences.mean()))
        metrics.SHADOW_GREATEST.labels(*labels).observe(float(compared.differences.max()))


def _count(version: Version, result: str) -> None:
    metrics.SHADOW_REQUESTS.labels(*version.labels, result).inc()
