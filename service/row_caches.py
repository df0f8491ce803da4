"""The row caches of one worker: one per vector set, shared by the versions that score its rows."""

from dataclasses import dataclass
from threading import Lock

from service import metrics
from vector_store.arena import ArenaCounters
from vector_store.header import SetHeader
from vector_store.protocol import VectorStore
from vector_store.row_cache import RowCache
from vector_store.watch import Watch

_NOTHING = ArenaCounters(0, 0, 0, 0, 0)


@dataclass(slots=True)
class _Shared:
    header: SetHeader
    cache: RowCache
    watch: Watch
    users: int = 0
    counted: ArenaCounters = _NOTHING


class RowCaches:
    """Hands out caches, watches their sets, and ends the watch when nobody uses one any more.

    A cache's memory is given back when the last request that scores from it is done.
    """

    def __init__(self, store: VectorStore, budget_bytes: int) -> None:
        """`budget_bytes`: most memory of each cache, 0 for none."""
        self._store = store
        self._budget_bytes = budget_bytes
        self._shared: list[_Shared] = []
        self._lock = Lock()  # a version may be prepared while the others are refreshed

    def take(self, header: SetHeader) -> RowCache:
        """The cache of exactly this set: rows of another one are never scored.

        Raises:
            StoreError: the budget is too small to hold any row, or the system refuses it.
        """
        with self._lock:
            shared = next((each for each in self._shared if each.header == header), None)
            if shared is None:
                cache = RowCache(self._store, header, self._budget_bytes)
                shared = _Shared(header, cache, self._store.watch(header, cache))
                self._shared.append(shared)
            shared.users += 1
            return shared.cache

    def give_back(self, cache: RowCache) -> None:
        """One user less of a cache that was taken."""
        with self._lock:
            shared = next(each for each in self._shared if each.cache is cache)
            shared.users -= 1
            if shared.users:
                return
            _count(shared)
            self._shared.remove(shared)
        shared.watch.close()

    def count_rows(self) -> None:
        """Adds what the caches have done since the last time to the metrics."""
        with self._lock:
            metrics.ROW_CACHE_HELD.set(sum(_count(shared) for shared in self._shared))


def _count(shared: _Shared) -> int:
    """Rows held now."""
    now, before = shared.cache.counters(), shared.counted
    shared.counted = now
    metrics.ROW_CACHE.labels("hit").inc(max(0, now.hits - before.hits))
    metrics.ROW_CACHE.labels("miss").inc(max(0, now.misses - before.misses))
    metrics.ROW_CACHE_EVICTIONS.inc(max(0, now.evictions - before.evictions))
    metrics.ROW_CACHE_INVALIDATIONS.inc(max(0, now.invalidations - before.invalidations))
    return now.rows
