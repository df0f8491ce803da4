"""What one worker serves: verified students, each with the live vector set of its fingerprint.

The live set of each student is looked up again every `store_refresh_ms`; a request in flight keeps
the set it began with.
"""

import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from model_store.errors import BundleNotFound, ModelStoreError
from model_store.manifest import Manifest
from model_store.registry import bundle_folder, published
from model_store.student import OnnxStudent
from service import metrics
from service.errors import NotReady, StoreDown, UnknownModel
from service.query_cache import QueryCache
from service.scoring import Scorer
from service.settings import Settings
from vector_store.errors import SetNotFound, StoreError
from vector_store.live import live_header
from vector_store.protocol import VectorStore

log = logging.getLogger("winnow.serving")


@dataclass(frozen=True, slots=True)
class Slot:
    """One served name: its student once loaded, its scorer once a set is there, else the reason."""

    name: str
    student: OnnxStudent | None
    scorer: Scorer | None
    reason: str
    store_down: bool = False


def served_names(settings: Settings) -> tuple[str, ...]:
    """Names to serve, the default one first: those asked for, or the only one that is active.

    Raises:
        BundleNotFound: nothing is published, or several are and none was named.
    """
    active = tuple(student.name for student in published(settings.bundles) if student.current)
    if settings.models:
        for name in settings.models:
            bundle_folder(settings.bundles, name)
        return settings.models
    if len(active) != 1:
        raise BundleNotFound(
            f"several students are active ({', '.join(active)}): name those to serve, the "
            "default one first, with --models A,B or WINNOW_MODELS"
            if active
            else f"no active student in {settings.bundles.name}/: export one first (winnow export)"
        )
    return active


class Serving:
    """The slots of one worker; `load` and `refresh` replace them whole, so readers need no lock."""

    def __init__(self, settings: Settings, store: VectorStore, fetcher: Executor) -> None:
        """Knows the names at once, loads nothing yet."""
        self.names = served_names(settings)
        self._settings = settings
        self._store = store
        self._fetcher = fetcher
        self._caches = {name: QueryCache(settings.query_cache_entries) for name in self.names}
        self._slots: Mapping[str, Slot] = {
            name: Slot(name, None, None, "the student is being loaded") for name in self.names
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
                    threads=self._settings.effective_ort_threads,
                    precision=self._settings.precision,
                )
            except ModelStoreError as error:
                log.error("student %s is not served: %s", name, error)  # noqa: TRY400 - its text says all
                self._replace(Slot(name, None, None, f"refused: {error}"))
                continue
            self._replace(Slot(name, student, None, "its vector set is being looked up"))
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
            labels = (slot.name, slot.student.manifest.version)
            metrics.READY.labels(*labels).set(fresh.scorer is not None and not fresh.store_down)
            if fresh.scorer is not None:
                metrics.SET_PRODUCTS.labels(*labels).set(fresh.scorer.header.count)

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

    def _with_set(self, name: str, student: OnnxStudent, scorer: Scorer | None) -> Slot:
        try:
            header = live_header(
                self._store, student.manifest.vector_fingerprint, student.manifest.d_p
            )
        except SetNotFound as error:
            return Slot(name, student, None, str(error))
        except StoreError as error:
            # The set was there a moment ago: requests go on trying, and say store_error themselves.
            # The answer doesn't say where the store is; the log does.
            if scorer is None or not self._slots[name].store_down:
                log.warning("student %s: vector store: %s", name, error)
            reason = "the vector store can't be reached"
            return Slot(name, student, scorer, reason, store_down=True)
        if scorer is not None and scorer.header == header:
            return Slot(name, student, scorer, "")
        fresh = Scorer(student, self._store, header, self._caches[name], self._fetcher)
        return Slot(name, student, fresh, "")
