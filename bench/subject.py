"""What is measured: a verified student, its live vector set, product ids of it, and queries."""

from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from loadtest.traffic import read_queries
from model_store.registry import bundle_folder, served_names
from model_store.student import OnnxStudent
from service.settings import Settings
from vector_store.header import SetHeader
from vector_store.live import live_header
from vector_store.open import open_store
from vector_store.protocol import VectorStore

MAX_IDS = 200_000  # listing more would take longer than measuring
MAX_QUERIES = 2_000  # every one is sent before "seen before" is measured
LISTING_TIMEOUT_MS = 10_000


@dataclass(frozen=True, slots=True)
class Subject:
    """`student` runs as the service would, on one thread; `ids` are the first the store lists."""

    settings: Settings
    folder: Path
    student: OnnxStudent
    header: SetHeader
    ids: list[str]
    queries: list[str]

    @property
    def name(self) -> str:
        """The student's name."""
        return self.student.manifest.name


def open_subject(settings: Settings, queries: Path, candidates: int) -> Subject:
    """The first served student and its live set.

    Raises:
        BenchError: the set has too few products or lost some, or the file has no queries.
        ModelStoreError, StoreError: no such student, or no live set of it.
    """
    folder = bundle_folder(settings.bundles, served_names(settings.bundles, settings.models)[0])
    texts = _queries(queries)
    student = OnnxStudent.load(folder, tile=settings.head_tile, precision=settings.precision)
    store = open_store(settings.store, read_only=True, timeout_ms=LISTING_TIMEOUT_MS)
    try:
        manifest = student.manifest
        header = live_header(store, manifest.vector_fingerprint, manifest.d_p)
        ids = _some_ids(store, header)
    finally:
        store.close()
    if len(ids) < candidates:
        raise BenchError(
            f"expected at least {candidates} products in {header.set_id}, got {len(ids)}: "
            "index a larger catalogue or give fewer --candidates"
        )
    return Subject(settings, folder, student, header, ids, texts)


def _some_ids(store: VectorStore, header: SetHeader) -> list[str]:
    found: dict[str, None] = {}  # on Redis an id may be listed twice
    for batch in store.scan(header):
        found.update((product_id, None) for product_id, _ in batch)
        if len(found) >= MAX_IDS:
            return list(found)[:MAX_IDS]
    if len(found) != header.count:
        raise BenchError(
            f"expected the {header.count} products of vector set {header.set_id}, the store has "
            f"{len(found)}: it lost rows (is Redis evicting keys?); index the catalogue again"
        )
    return list(found)


def _queries(path: Path) -> list[str]:
    try:
        texts = read_queries(path)[:MAX_QUERIES]
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: can't be read as queries, one per line: {error}") from error
    if not texts:
        raise BenchError(f"{path}: expected queries, one per line, got none")
    return texts
