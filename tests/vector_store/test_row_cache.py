"""The row cache in front of a store: what it answers is what the store has."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random

import numpy as np
import pytest

from vector_store.errors import SetNotFound, StoreError
from vector_store.header import SetHeader
from vector_store.ids import ProductIds
from vector_store.memory import MemoryStore
from vector_store.native_rows import AVAILABLE
from vector_store.row_cache import RowCache
from vector_store.rows import CORRUPT, FOUND, MISSING, Rows, unpack

HeaderOf = Callable[..., SetHeader]
RecordsOf = Callable[..., list[bytes]]

PLENTY = 1_000_000
compiled = pytest.mark.skipif(not AVAILABLE, reason="without rows.c there is no cache")


def ids_of(*strings: str) -> ProductIds:
    return ProductIds.from_strings(strings)


def filled(header: SetHeader, ids: list[str], records: list[bytes]) -> MemoryStore:
    store = MemoryStore()
    store.put_header(header)
    store.insert(header, ids, records, b"")
    return store


def same(rows: Rows, records: list[bytes | None], width: int) -> bool:
    expected = unpack(records, width)
    return (
        rows.status.tolist() == expected.status.tolist()
        and rows.values.tobytes() == expected.values.tobytes()
    )


@pytest.mark.parametrize("budget_bytes", [0, 2000, PLENTY])
def test_what_is_fetched_is_what_the_store_has(
    header_of: HeaderOf, records_of: RecordsOf, budget_bytes: int
) -> None:
    header, ids = header_of(), [f"p{i}" for i in range(300)]
    records: list[bytes | None] = [*records_of(300)]
    nan = np.full(4, np.nan, np.float16).tobytes() + bytes(12)
    store = filled(header, [*ids, "nan"], [*records_of(300), nan])
    ids += ["nan", "absent", "", "x" * 300]
    records += [nan, None, None, None]
    cache = RowCache(store, header, budget_bytes)
    store.watch(header, cache)
    random = Random(3)
    for n in (0, 1, 10, 400, 400, 400):
        chosen = random.choices(range(len(ids)), k=n)
        rows = cache.fetch(ids_of(*[ids[i] for i in chosen]))
        assert same(rows, [records[i] for i in chosen], header.width)
        assert rows.values.flags.c_contiguous


@compiled
def test_rows_that_are_held_need_no_store(header_of: HeaderOf, records_of: RecordsOf) -> None:
    header, records = header_of(), records_of(3)
    store = filled(header, ["a", "b", "c"], records)
    cache = RowCache(store, header, PLENTY)
    store.watch(header, cache)
    cache.fetch(ids_of("a", "absent", "b"))
    store.drop(header)
    rows, missing = cache.lookup(ids_of("b", "c", "a", "b"))
    assert missing.tolist() == [1]
    assert rows.status.tolist() == [FOUND, MISSING, FOUND, FOUND]
    completed = cache.complete(ids_of("b", "c", "a", "b"), rows, missing)
    assert same(completed, [records[1], None, records[0], records[1]], header.width)
    counters = cache.counters()
    assert (counters.hits, counters.misses, counters.rows) == (3, 4, 2)


@compiled
def test_only_rows_that_were_found_are_kept(header_of: HeaderOf, records_of: RecordsOf) -> None:
    header = header_of()
    nan = np.full(4, np.inf, np.float16).tobytes() + bytes(12)
    store = filled(header, ["good", "nan"], [*records_of(1), nan])
    cache = RowCache(store, header, PLENTY)
    store.watch(header, cache)
    ids = ids_of("good", "nan", "absent", "x" * 257, "a\ud800")
    for _ in range(2):
        assert cache.fetch(ids).status.tolist() == [FOUND, CORRUPT, MISSING, MISSING, MISSING]
    assert cache.counters().rows == 1
    assert cache.lookup(ids)[1].tolist() == [1, 2, 3, 4]


@compiled
def test_a_row_that_changes_is_fetched_again(header_of: HeaderOf, records_of: RecordsOf) -> None:
    header = header_of()
    old, new = filled(header, ["a", "b"], records_of(2)), records_of(2, first=10)
    cache = RowCache(old, header, PLENTY)
    cache.ready()
    cache.fetch(ids_of("a", "b"))
    old.drop(header)
    old.put_header(header)
    old.insert(header, ["a", "b"], new, b"")
    cache.invalidated([b"b", b"never asked for"])
    assert same(cache.fetch(ids_of("a", "b")), [records_of(1)[0], new[1]], header.width)
    cache.clear()
    assert same(cache.fetch(ids_of("a", "b")), [*new], header.width)
    assert cache.counters().invalidations == 2


@compiled
@pytest.mark.parametrize("change", ["invalidated", "lost", "lost and ready"])
def test_a_row_that_changes_while_it_is_fetched_is_not_kept(
    header_of: HeaderOf, records_of: RecordsOf, change: str
) -> None:
    class ChangesMeanwhile(MemoryStore):
        def fetch(self, header: SetHeader, ids: ProductIds) -> Rows:
            rows = super().fetch(header, ids)
            if change == "invalidated":
                cache.invalidated([b"a"])
            else:
                cache.lost()
            if change == "lost and ready":
                cache.ready()
            return rows

    header, store = header_of(), ChangesMeanwhile()
    store.put_header(header)
    store.insert(header, ["a"], records_of(1), b"")
    cache = RowCache(store, header, PLENTY)
    cache.ready()
    assert same(cache.fetch(ids_of("a")), [*records_of(1)], header.width)
    assert cache.lookup(ids_of("a"))[1].tolist() == [0]
    assert cache.counters().rows == 0


@compiled
def test_nothing_is_kept_until_changes_are_told(header_of: HeaderOf, records_of: RecordsOf) -> None:
    header = header_of()
    store = filled(header, ["a"], records_of(1))
    cache = RowCache(store, header, PLENTY)
    for _ in range(2):
        assert cache.state == "paused: changes of rows go unseen"
        cache.fetch(ids_of("a"))
        assert cache.counters().rows == 0
        cache.ready()
        assert cache.state == "on"
        cache.fetch(ids_of("a"))
        assert cache.counters().rows == 1
        cache.lost()


def test_a_cache_that_is_off_says_why(header_of: HeaderOf, records_of: RecordsOf) -> None:
    header = header_of()
    store = filled(header, ["a"], records_of(1))
    cache = RowCache(store, header, 0 if AVAILABLE else PLENTY)
    store.watch(header, cache)
    why = "its budget is 0" if AVAILABLE else "the native library is not compiled"
    assert (cache.state, cache.capacity) == (f"off: {why}", 0)
    cache.invalidated([b"a"])
    cache.lost()
    cache.clear()
    rows, missing = cache.lookup(ids_of("a", "b"))
    assert missing.tolist() == [0, 1]
    assert same(cache.complete(ids_of("a", "b"), rows, missing), [*records_of(1), None], 4)
    assert cache.counters().misses == 0


@compiled
def test_a_budget_without_room_for_a_row_is_refused(header_of: HeaderOf) -> None:
    with pytest.raises(StoreError, match=r"expected a row cache of at least 640 bytes .* got 100"):
        RowCache(MemoryStore(), header_of(), 100)


@compiled
def test_a_store_that_fails_leaves_the_cache_as_it_was(
    header_of: HeaderOf, records_of: RecordsOf
) -> None:
    class Fails(MemoryStore):
        def fetch(self, header: SetHeader, ids: ProductIds) -> Rows:
            if b"fails" in ids.lookup_ids():
                raise SetNotFound("gone")
            return super().fetch(header, ids)

    header, store = header_of(), Fails()
    store.put_header(header)
    store.insert(header, ["a"], records_of(1), b"")
    cache = RowCache(store, header, PLENTY)
    cache.ready()
    cache.fetch(ids_of("a"))
    with pytest.raises(SetNotFound, match="gone"):
        cache.fetch(ids_of("a", "fails"))
    assert same(cache.fetch(ids_of("a")), [*records_of(1)], header.width)


def test_threads_share_one_cache(header_of: HeaderOf, records_of: RecordsOf) -> None:
    header, ids, records = header_of(), [f"p{i}" for i in range(1000)], records_of(1000)
    store = filled(header, ids, records)
    cache = RowCache(store, header, 30_000)  # a fraction of them
    store.watch(header, cache)

    def fetch_shuffled(seed: int) -> bool:
        chosen = Random(seed).choices(range(1000), k=300)
        rows = cache.fetch(ids_of(*[ids[i] for i in chosen]))
        return same(rows, [records[i] for i in chosen], header.width)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(fetch_shuffled, range(100)))


@compiled
def test_a_small_set_takes_what_its_rows_need_and_all_of_them_fit(
    header_of: HeaderOf, records_of: RecordsOf
) -> None:
    ids, records = [f"p{i}" for i in range(20_000)], records_of(20_000)
    header = header_of(count=len(ids))
    store = filled(header, ids, records)
    cache = RowCache(store, header, 100 * PLENTY)
    store.watch(header, cache)
    assert len(ids) <= cache.capacity <= 1.3 * len(ids)
    for start in range(0, len(ids), 1000):
        cache.fetch(ids_of(*ids[start : start + 1000]))
    counters = cache.counters()
    assert counters.rows >= 0.999 * len(ids)
    assert counters.evictions <= 0.001 * len(ids)
