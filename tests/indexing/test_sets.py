"""Listing, verifying, activating, rolling back and collecting vector sets."""

from collections.abc import Callable
from pathlib import Path

import pytest

from indexing import sets
from indexing.catalogue import open_catalogue
from indexing.errors import CatalogueChanged, SetRefused
from indexing.index import IndexOptions, index
from tests.indexing.hash_encoder import FINGERPRINT, HashEncoder
from vector_store.errors import SetNotFound, StoreError
from vector_store.protocol import VectorStore

WriteCsv = Callable[[list[tuple[str, str]]], Path]
Builder = Callable[[int], str]
OTHER = "f" * 64


@pytest.fixture
def build(store: VectorStore, write_csv: WriteCsv, options: IndexOptions) -> Builder:
    """Indexes n products; the id of their set."""

    def run(products: int, fingerprint: str = FINGERPRINT) -> str:
        path = write_csv([(f"p{i}", f"title {i}") for i in range(products)])
        encoder = HashEncoder(fingerprint=fingerprint)
        return index(open_catalogue(path), encoder, store, options, lambda *_: None).set_id

    return run


@pytest.fixture
def leave_unsealed(
    store: VectorStore, write_csv: WriteCsv, options: IndexOptions
) -> Callable[[], str]:
    """Leaves a build unfinished; the id of its set."""

    def run() -> str:
        path = write_csv([(f"p{i}", f"title {i}") for i in range(30)])

        def append(phase: str, done: int, total: int | None) -> None:
            if phase == "encode":
                path.write_text(path.read_text("utf-8") + "more,lines\n", "utf-8")

        with pytest.raises(CatalogueChanged):
            index(open_catalogue(path), HashEncoder(), store, options, append)
        (unsealed,) = [header.set_id for header in store.headers() if header.sealed is None]
        return unsealed

    return run


def _generations(store: VectorStore) -> list[str]:
    return [info.header.set_id.partition(".")[2] for info in sets.list_sets(store)]


def test_list(store: VectorStore, build: Builder, leave_unsealed: Callable[[], str]) -> None:
    assert sets.list_sets(store) == []
    for products in range(1, 12):
        build(products)
    leave_unsealed()
    listed = sets.list_sets(store)
    assert _generations(store) == [str(generation) for generation in range(1, 13)]
    assert [info.header.count for info in listed] == [*range(1, 12), 0]
    assert [info.live for info in listed] == [*([False] * 10), True, False]
    assert listed[-1].progress is not None
    assert listed[-1].progress.inserted >= 30
    assert listed[-1].header.sealed is None


def test_verify(store: VectorStore, build: Builder, leave_unsealed: Callable[[], str]) -> None:
    whole = sets.verify(store, build(25), lambda *_: None)
    assert (whole.whole, whole.rows, whole.corrupt) == (True, 25, 0)
    unsealed = sets.verify(store, leave_unsealed(), lambda *_: None)
    assert not unsealed.whole
    with pytest.raises(SetNotFound):
        sets.verify(store, f"{FINGERPRINT[:8]}.99", lambda *_: None)


def test_activate(store: VectorStore, build: Builder, leave_unsealed: Callable[[], str]) -> None:
    first, second = build(1), build(2)
    assert store.live(FINGERPRINT) == second
    assert sets.activate(store, first).set_id == first
    assert store.live(FINGERPRINT) == first
    with pytest.raises(StoreError, match="sealed"):
        sets.activate(store, leave_unsealed())
    with pytest.raises(SetNotFound):
        sets.activate(store, f"{FINGERPRINT[:8]}.99")
    assert store.live(FINGERPRINT) == first


def test_rollback(store: VectorStore, build: Builder, leave_unsealed: Callable[[], str]) -> None:
    with pytest.raises(SetRefused, match="nothing to roll back"):
        sets.rollback(store, FINGERPRINT)
    first, second, third = build(1), build(2), build(3)
    leave_unsealed()
    assert sets.rollback(store, FINGERPRINT).set_id == second
    assert store.live(FINGERPRINT) == second
    assert sets.rollback(store, FINGERPRINT).set_id == first
    with pytest.raises(SetRefused, match="is the oldest sealed set"):
        sets.rollback(store, FINGERPRINT)
    sets.activate(store, third)
    assert store.live(FINGERPRINT) == third


def test_gc_keeps_the_newest_and_the_live(store: VectorStore, build: Builder) -> None:
    built = [build(products) for products in range(1, 6)]
    sets.activate(store, built[0])
    rehearsed = sets.gc(store, keep=2, dry_run=True)
    assert [header.set_id for header in rehearsed] == built[1:3]
    assert _generations(store) == ["1", "2", "3", "4", "5"]
    assert sets.gc(store, keep=2) == rehearsed
    assert _generations(store) == ["1", "4", "5"]
    assert sets.gc(store, keep=2) == []
    assert sets.verify(store, built[4], lambda *_: None).whole
    sets.activate(store, built[4])
    sets.gc(store, keep=1)
    assert _generations(store) == ["5"]


def test_gc_counts_each_fingerprint_by_itself(
    store: VectorStore, build: Callable[..., str]
) -> None:
    for products in (1, 2, 3):
        build(products)
        build(products, OTHER)
    assert len(sets.gc(store, keep=2)) == 2
    assert _generations(store) == ["2", "3", "2", "3"]


def test_gc_leaves_unsealed_sets_unless_asked(
    store: VectorStore, build: Builder, leave_unsealed: Callable[[], str]
) -> None:
    build(1)
    unsealed = leave_unsealed()
    assert sets.gc(store, keep=1) == []
    assert sets.gc(store, keep=1, unsealed_older_than_s=3_600) == []
    dropped = sets.gc(store, keep=1, unsealed_older_than_s=0)
    assert [header.set_id for header in dropped] == [unsealed]
    assert _generations(store) == ["1"]


def test_gc_of_an_unsealed_set_without_progress(store: VectorStore, build: Builder) -> None:
    sealed = store.header(build(1))
    bare = sealed.model_copy(update={"set_id": f"{FINGERPRINT[:8]}.2", "sealed": None, "count": 0})
    store.put_header(bare)
    assert sets.gc(store, unsealed_older_than_s=3_600) == []
    assert sets.gc(store, unsealed_older_than_s=-5) == [bare]


def test_gc_keeps_at_least_one(memory_store: VectorStore) -> None:
    with pytest.raises(SetRefused, match="at least 1 set"):
        sets.gc(memory_store, keep=0)
