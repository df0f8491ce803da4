"""What one worker serves: verified students, each with the live vector set of its fingerprint.

The live set of each student is looked up again every `store_refresh_ms`; a request in flight keeps
the set it began with.
"""

import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from model_store.errors import ModelStoreError
from model_store.manifest import Manifest, query_fingerprint
from model_store.registry import bundle_folder, served_names
from model_store.student import OnnxStudent
from service import metrics
from service.errors import NotReady, StoreDown, UnknownModel
from service.query_rows import QueryRows
from service.scoring import Scorer
from service.settings import Settings
from vector_store.arena import ArenaCounters
from vector_store.errors import SetMismatch, SetNotFound, StoreError
from vector_store.header import SetHeader
from vector_store.live import live_header, live_query_header
from vector_store.protocol import VectorStore
from vector_store.row_cache import RowCache
from vector_store.watch import Watch

log = logging.getLogger("winnow.serving")

_NOTHING = ArenaCounters(0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Slot:
    """One served name: its student once loaded, its scorer once a set is there, else the reason.

    While the store is down, the scorer that was there a moment ago stays.
    """

    name: str
    student: OnnxStudent | None
    scorer: Scorer | None
    state: metrics.ModelState
    reason: str = ""

    @property
    def store_down(self) -> bool:
        """Whether the last look at the store was not answered."""
        return self.state == "store_down"


class Serving:
    """The slots of one worker; `load` and `refresh` replace them whole, so readers need no lock."""

    def __init__(self, settings: Settings, store: VectorStore, fetcher: Executor) -> None:
        """Knows the names at once, loads nothing yet."""
        self.names = served_names(settings.bundles, settings.models)
        self._settings = settings
        self._store = store
        self._fetcher = fetcher
        self._queries: dict[str, QueryRows] = {}
        self._watches: dict[str, Watch] = {}
        self._counted: dict[str, ArenaCounters] = {}
        self._query_problems: dict[str, str] = {}
        self._slots: Mapping[str, Slot] = {
            name: Slot(name, None, None, "loading", "the student is being loaded")
            for name in self.names
        }

    @property
    def slots(self) -> list[Slot]:
        """Every slot, the default one first."""
        return [self._slots[name] for name in self.names]

    def load(self) -> None:
        """Loads and verifies every student, then looks for their vector sets. Blocks."""
        for name in self.names:
            try:
                folder: Path = bundle_folder(self._settings.bundles, name)
                student = OnnxStudent.load(
                    folder,
                    threads=self._settings.ort_threads,
                    tile=self._settings.head_tile,
                    precision=self._settings.precision,
                )
            except ModelStoreError as error:
                log.error("student %s is not served: %s", name, error)  # noqa: TRY400 - its text says all
                self._replace(Slot(name, None, None, "refused", f"refused: {error}"))
                continue
            entries = self._settings.query_cache_entries
            self._queries[name] = QueryRows(student, self._store, entries)
            self._replace(Slot(name, student, None, "loading", "its vector set is being looked up"))
        self.refresh()

    def refresh(self) -> None:
        """Points every loaded student at the live set of its fingerprint. Blocks."""
        for slot in self.slots:
            if slot.student is None:
                continue
            fresh = self._with_set(slot.name, slot.student, slot.scorer)
            if fresh.reason and fresh.reason != slot.reason:
                log.warning("student %s is not ready: %s", slot.name, fresh.reason)
            self._replace(fresh)
            self._queries[slot.name].use_stored(
                None if fresh.store_down else self._query_set(slot.name, slot.student)
            )
            labels = (slot.name, slot.student.manifest.version)
            metrics.READY.labels(*labels).set(fresh.state == "ready")
            if fresh.scorer is not None:
                header = fresh.scorer.header
                metrics.SET_PRODUCTS.labels(*labels).set(header.count)
                metrics.SET_SEALED.labels(*labels).set(_seconds(header.sealed or header.created))
        looked = [slot for slot in self.slots if slot.student is not None]
        if looked:
            metrics.STORE_UP.set(not any(slot.store_down for slot in looked))

    def close(self) -> None:
        """Stops watching the sets."""
        for name in self.names:
            self._end_watch(name)

    def count_rows(self) -> None:
        """Adds what the row caches have done since the last time to the metrics."""
        held = 0
        for slot in self.slots:
            if slot.scorer is None:
                continue
            now, before = slot.scorer.rows.counters(), self._counted.get(slot.name, _NOTHING)
            self._counted[slot.name] = now
            metrics.ROW_CACHE.labels("hit").inc(max(0, now.hits - before.hits))
            metrics.ROW_CACHE.labels("miss").inc(max(0, now.misses - before.misses))
            metrics.ROW_CACHE_EVICTIONS.inc(max(0, now.evictions - before.evictions))
            metrics.ROW_CACHE_INVALIDATIONS.inc(max(0, now.invalidations - before.invalidations))
            held += now.rows
        metrics.ROW_CACHE_HELD.set(held)

    def scorer(self, name: str | None) -> Scorer:
        """The scorer of a served name, or of the default one.

        Raises:
            UnknownModel: no such name is served.
            NotReady: its student is not loaded or has no vector set.
            StoreDown: the store has not been reached since the start.
        """
        slot = self._slot(name)
        if slot.scorer is None:
            error = StoreDown if slot.store_down else NotReady
            raise error(f"model {slot.name}: {slot.reason}")
        return slot.scorer

    def manifest(self, name: str | None) -> Manifest:
        """The manifest of a served name, or of the default one, whether or not its set is there.

        Raises:
            UnknownModel: no such name is served.
            NotReady: its student is not loaded.
        """
        slot = self._slot(name)
        if slot.student is None:
            raise NotReady(f"model {slot.name}: {slot.reason}")
        return slot.student.manifest

    def _slot(self, name: str | None) -> Slot:
        slot = self._slots.get(self.names[0] if name is None else name)
        if slot is None:
            raise UnknownModel(
                f"no model named {name!r} is served here; served: {', '.join(self.names)}",
                {"models": list(self.names)},
            )
        return slot

    def _replace(self, slot: Slot) -> None:
        self._slots = {**self._slots, slot.name: slot}
        metrics.model_state(slot.name, slot.state)

    def _query_set(self, name: str, student: OnnxStudent) -> SetHeader | None:
        """The live set of query rows; it saves time and is never needed, so None is no failure."""
        fingerprint = query_fingerprint(student.manifest, student.run["query"])
        header, problem = None, ""
        try:
            header = live_query_header(self._store, fingerprint, student.manifest.d_q)
        except StoreError as error:
            problem = str(error)
        if problem and problem != self._query_problems.get(name):
            log.warning("student %s: stored query rows are not used: %s", name, problem)
        self._query_problems[name] = problem
        return header

    def _with_set(self, name: str, student: OnnxStudent, scorer: Scorer | None) -> Slot:
        try:
            header = live_header(
                self._store, student.manifest.vector_fingerprint, student.manifest.d_p
            )
        except SetMismatch as error:
            return Slot(name, student, None, "fingerprint_mismatch", str(error))
        except SetNotFound as error:
            return Slot(name, student, None, "no_vector_set", str(error))
        except StoreError as error:
            # The set was there a moment ago: requests go on trying, and say store_error themselves.
            # The answer doesn't say where the store is; the log does.
            if scorer is None or not self._slots[name].store_down:
                log.warning("student %s: vector store: %s", name, error)
            metrics.STORE_FAILURES.labels("live_set").inc()
            return Slot(name, student, scorer, "store_down", "the vector store can't be reached")
        if scorer is not None and scorer.header == header:
            return Slot(name, student, scorer, "ready")
        try:
            rows = self._cached_rows(name, header)
        except StoreError as error:
            return Slot(name, student, None, "refused", str(error))
        fresh = Scorer(student, header, rows, self._queries[name], self._fetcher)
        return Slot(name, student, fresh, "ready")

    def _cached_rows(self, name: str, header: SetHeader) -> RowCache:
        """A row cache of its own for every set: rows of another one are never scored."""
        cache = RowCache(self._store, header, self._settings.row_cache_mb * 2**20)
        self.count_rows()
        self._counted[name] = _NOTHING
        self._end_watch(name)
        self._watches[name] = self._store.watch(header, cache)
        return cache

    def _end_watch(self, name: str) -> None:
        watch = self._watches.pop(name, None)
        if watch is not None:
            watch.close()


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
