"""One loaded version of a model: its verified student and the live vector set of its fingerprint.

Everything that belongs to a version hangs on it and goes with it: graphs, query rows, the set.
"""

import logging
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from math import nan

from model_store.manifest import query_fingerprint
from model_store.registry import bundle_folder
from model_store.student import OnnxStudent
from service import metrics
from service.errors import NotReady, StoreDown
from service.query_rows import QueryRows
from service.row_caches import RowCaches
from service.scoring import Scorer
from service.settings import Settings
from vector_store.errors import SetMismatch, SetNotFound, StoreError
from vector_store.header import SetHeader
from vector_store.live import live_header, live_query_header
from vector_store.protocol import VectorStore

log = logging.getLogger("winnow.version")


@dataclass(frozen=True, slots=True)
class Slot:
    """What one request is answered with: a student, its scorer once a set is there, else why not.

    A request takes one slot and asks nothing else: student, thresholds, version and rows belong
    together. While the store is down, the scorer that was there a moment ago stays.
    """

    name: str
    student: OnnxStudent | None
    scorer: Scorer | None
    state: metrics.ModelState
    reason: str = ""

    @property
    def ready(self) -> bool:
        """Whether it has a scorer and the store answers."""
        return self.state == "ready"

    @property
    def store_down(self) -> bool:
        """Whether the last look at the store was not answered."""
        return self.state == "store_down"

    def ready_scorer(self) -> Scorer:
        """The scorer.

        Raises:
            NotReady: the student is not loaded or has no vector set.
            StoreDown: the store has not been reached since the start.
        """
        if self.scorer is None:
            error = StoreDown if self.store_down else NotReady
            raise error(f"model {self.name}: {self.reason}")
        return self.scorer

    def loaded_student(self) -> OnnxStudent:
        """The student, whether or not its set is there.

        Raises:
            NotReady: it is not loaded.
        """
        if self.student is None:
            raise NotReady(f"model {self.name}: {self.reason}")
        return self.student


class Version:
    """One version, owned by one thread at a time; readers take its `slot`, replaced whole."""

    def __init__(
        self,
        student: OnnxStudent,
        store: VectorStore,
        caches: RowCaches,
        fetcher: Executor,
        query_entries: int,
    ) -> None:
        """Looks for no vector set yet: `refresh` does."""
        self.student = student
        self.queries = QueryRows(student, store, query_entries)
        self._store = store
        self._caches = caches
        self._fetcher = fetcher
        self._query_problem = ""
        name, reason = student.manifest.name, "its vector set is being looked up"
        self.slot = Slot(name, student, None, "loading", reason)

    @classmethod
    def load(
        cls,
        settings: Settings,
        model: str,
        version: str,
        store: VectorStore,
        caches: RowCaches,
        fetcher: Executor,
    ) -> "Version":
        """Loads and verifies one version. Blocks.

        Raises:
            ModelStoreError: the bundle is missing, damaged, or refused by a check.
        """
        student = OnnxStudent.load(
            bundle_folder(settings.bundles, model, version),
            threads=settings.ort_threads,
            tile=settings.head_tile,
            precision=settings.precision,
        )
        return cls(student, store, caches, fetcher, settings.query_cache_entries)

    @property
    def labels(self) -> tuple[str, str]:
        """Model and version, as metrics have them."""
        return self.slot.name, self.student.manifest.version

    @property
    def query_fingerprint(self) -> str:
        """What decides a query row of this version."""
        return query_fingerprint(self.student.manifest, self.student.run["query"])

    def adopt_query_rows(self, other: "Version") -> None:
        """Begins with the other version's query rows, where they are this one's too."""
        if self.query_fingerprint == other.query_fingerprint:
            self.queries.adopt(other.queries)

    def refresh(self) -> None:
        """Points the version at the live set of its fingerprint. Blocks."""
        before = self.slot
        fresh = self._with_set()
        if fresh.reason and fresh.reason != before.reason:
            log.warning("student %s is not ready: %s", fresh.name, fresh.reason)
        self.slot = fresh
        if before.scorer is not None and (
            fresh.scorer is None or fresh.scorer.rows is not before.scorer.rows
        ):
            self._caches.give_back(before.scorer.rows)
        self.queries.use_stored(None if fresh.store_down else self._query_set())

    def show(self) -> None:
        """Says in the metrics whether it is ready, and what its vector set is."""
        slot = self.slot
        header = None if slot.scorer is None else slot.scorer.header
        metrics.show_version(
            *self.labels,
            ready=slot.ready,
            products=0 if header is None else header.count,
            sealed_s=nan if header is None else _seconds(header.sealed or header.created),
        )

    def close(self) -> None:
        """No new request comes; those that run keep the slot they took until they are done."""
        if self.slot.scorer is not None:
            self._caches.give_back(self.slot.scorer.rows)

    def _with_set(self) -> Slot:
        name, student, before = self.slot.name, self.student, self.slot.scorer
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
            if before is None or not self.slot.store_down:
                log.warning("student %s: vector store: %s", name, error)
            metrics.STORE_FAILURES.labels("live_set").inc()
            return Slot(name, student, before, "store_down", "the vector store can't be reached")
        if before is not None and before.header == header:
            return Slot(name, student, before, "ready")
        try:
            rows = self._caches.take(header)
        except StoreError as error:
            return Slot(name, student, None, "refused", str(error))
        scorer = Scorer(student, header, rows, self.queries, self._fetcher)
        return Slot(name, student, scorer, "ready")

    def _query_set(self) -> SetHeader | None:
        """The live set of query rows; it saves time and is never needed, so None is no failure."""
        header, problem = None, ""
        try:
            header = live_query_header(
                self._store, self.query_fingerprint, self.student.manifest.d_q
            )
        except StoreError as error:
            problem = str(error)
        if problem and problem != self._query_problem:
            log.warning("student %s: stored query rows are not used: %s", self.slot.name, problem)
        self._query_problem = problem
        return header


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
