"""The arena against a dictionary, out of room, from many threads, and with changes under way."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from vector_store.arena import Arena, ArenaCounters
from vector_store.errors import StoreError
from vector_store.ids import ProductIds
from vector_store.native_rows import AVAILABLE
from vector_store.rows import CORRUPT, FOUND, MISSING
from vector_store.rows_library import address, library

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="rows.c is not compiled")

WIDTH = 3
BUCKET_BYTES = 8 * 64 + 128  # eight rows of up to 64 bytes and their table
PLENTY = 100 * BUCKET_BYTES

# SipHash-2-4-128 of b"", b"\0", b"\0\1", ... under the key 00 01 .. 0f: vectors.h of
# github.com/veorq/SipHash.
SIPHASH = {
    0: "a3817f04ba25a8e66df67214c7550293",
    1: "da87c1d86b99af44347659119b22fc45",
    2: "8177228da4a45dc7fca38bdef60affe4",
}


def arena_of(budget_bytes: int = PLENTY) -> Arena:
    arena = Arena(budget_bytes, WIDTH)
    arena.resume()
    return arena


def raw_of(numbers: Sequence[int]) -> list[bytes]:
    return [b"product %d" % number for number in numbers]


def put(
    arena: Arena, raw: Sequence[bytes], values: Sequence[float], ticket: int | None = None
) -> int:
    rows = np.repeat(np.array(values, np.float16)[:, None], WIDTH, axis=1)
    ticket = arena.ticket() if ticket is None else ticket
    return arena.insert(ProductIds.from_bytes(raw), rows, np.zeros(len(raw), np.uint8), ticket)


def get(arena: Arena, raw: Sequence[bytes]) -> list[float | None]:
    """The value of each row that is held, None of the others."""
    ids, n = ProductIds.from_bytes(raw), len(raw)
    values, status = np.empty((n, WIDTH), np.float16), np.empty(n, np.uint8)
    missing = arena.lookup(ids, values, status)
    assert missing.tolist() == np.flatnonzero(status == MISSING).tolist()
    assert set(status.tolist()) <= {FOUND, MISSING}
    assert (values[status == FOUND, 0] == values[status == FOUND].T).all()
    return [float(v[0]) if s == FOUND else None for v, s in zip(values, status, strict=True)]


@pytest.mark.parametrize("length", SIPHASH)
def test_the_hash_is_siphash(length: int) -> None:
    ids = ProductIds.from_bytes([bytes(range(length))])
    hashes = np.empty((1, 2), np.uint64)
    library().ids_hash(*ids.arguments(), bytes(range(16)), address(hashes))
    assert hashes.tobytes().hex() == SIPHASH[length]


class ArenaAgainstDict(RuleBasedStateMachine):
    """An arena with room for everything; a row's value is the version of its product.

    Beside a product that was invalidated others may be refused too: None is always allowed, unless
    the row came with a ticket drawn after the last change.
    """

    numbers = st.lists(st.integers(0, 300), max_size=100)

    @initialize()
    def start(self) -> None:
        self.arena = arena_of()
        self.versions = [0.0] * 301
        self.sure: set[int] = set()
        self.draw_ticket()

    @rule()
    def draw_ticket(self) -> None:
        self.ticket, self.fetched = self.arena.ticket(), list(self.versions)
        self.unchanged = True

    @rule(numbers=numbers)
    def insert(self, numbers: list[int]) -> None:
        put(self.arena, raw_of(numbers), [self.fetched[n] for n in numbers], self.ticket)
        if self.unchanged:
            self.sure.update(numbers)

    @rule(numbers=numbers)
    def invalidate(self, numbers: list[int]) -> None:
        forgotten = self.arena.invalidate(raw_of(numbers))
        assert len(self.sure & set(numbers)) <= forgotten <= len(set(numbers))
        self.sure.difference_update(numbers)
        for number in numbers:
            self.versions[number] += 1
        self.unchanged = self.unchanged and not numbers

    @rule(how=st.sampled_from(["clear", "pause and resume"]))
    def forget_all(self, how: str) -> None:
        if how == "clear":
            self.arena.clear()
        else:
            self.arena.pause()
            self.arena.resume()
        self.sure.clear()
        self.unchanged = False
        assert self.arena.counters().rows == 0

    @rule(numbers=numbers)
    def lookup(self, numbers: list[int]) -> None:
        before = self.arena.counters()
        got = get(self.arena, raw_of(numbers))
        for number, value in zip(numbers, got, strict=True):
            assert value == self.versions[number] or (value is None and number not in self.sure)
        after = self.arena.counters()
        hits = sum(value is not None for value in got)
        assert (after.hits - before.hits, after.misses - before.misses) == (hits, len(got) - hits)
        assert after.evictions == 0
        assert len(self.sure) <= after.rows <= len(self.versions)


TestArenaAgainstDict = ArenaAgainstDict.TestCase
TestArenaAgainstDict.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_full_arena_holds_the_right_rows_and_counts_what_it_drops() -> None:
    arena = arena_of(10 * BUCKET_BYTES)
    assert arena.capacity == 80
    for start in range(0, 2000, 100):
        numbers = range(start, start + 100)
        assert put(arena, raw_of(numbers), [float(n) for n in numbers]) == 100
        got = get(arena, raw_of(range(2000)))
        assert all(value in (None, float(n)) for n, value in enumerate(got))
        held = sum(value is not None for value in got)
        counters = arena.counters()
        assert held == counters.rows <= 80
        assert counters.evictions == start + 100 - held
    assert arena.counters().rows == 80


def test_a_catalogue_of_six_tenths_of_the_arena_fits_whole() -> None:
    arena = arena_of(1000 * BUCKET_BYTES)
    raw = raw_of(range(arena.capacity * 6 // 10))
    put(arena, raw, [1.0] * len(raw))
    assert get(arena, raw) == [1.0] * len(raw)


def test_rows_that_are_asked_for_often_outlive_the_others() -> None:
    n, batch, rounds = 4000, 200, 300
    popularity = 1 / np.arange(1, n + 1)
    random = np.random.default_rng(1)
    asked = random.choice(n, (rounds, batch), p=popularity / popularity.sum())
    arena = arena_of(50 * BUCKET_BYTES)
    hits = random_hits = 0
    kept: list[int] = []
    for numbers in asked.tolist():
        distinct = list(dict.fromkeys(numbers))
        got = get(arena, raw_of(distinct))
        absent = [number for number, value in zip(distinct, got, strict=True) if value is None]
        put(arena, raw_of(absent), [0.0] * len(absent))
        hits += len(distinct) - len(absent)
        random_hits += len(set(distinct) & set(kept))
        for number in set(distinct) - set(kept):  # the same room, any row gives way
            if len(kept) < arena.capacity:
                kept.append(number)
            else:
                kept[random.integers(len(kept))] = number
    assert hits > 1.1 * random_hits


def test_only_found_rows_of_possible_ids_are_taken() -> None:
    arena = arena_of()
    raw = [b"a", b"b", b"c", b"", b"x" * 256, b"x" * 257]
    status = np.array([FOUND, MISSING, CORRUPT, FOUND, FOUND, FOUND], np.uint8)
    rows = np.ones((6, WIDTH), np.float16)
    assert arena.insert(ProductIds.from_bytes(raw), rows, status, arena.ticket()) == 2
    assert get(arena, raw) == [1.0, None, None, None, 1.0, None]


def test_an_id_twice_in_a_batch_is_one_row() -> None:
    arena = arena_of()
    put(arena, [b"a", b"b", b"a"], [1.0, 2.0, 3.0])
    assert get(arena, [b"a", b"a", b"b"]) == [3.0, 3.0, 2.0]
    assert arena.counters().rows == 2


def test_a_row_that_changed_while_it_was_fetched_is_refused() -> None:
    arena = arena_of(10**6 * BUCKET_BYTES)  # b is refused too if it shares a bucket with a
    put(arena, [b"a", b"b"], [1.0, 1.0])
    ticket = arena.ticket()
    assert arena.invalidate([b"a", b"never seen"]) == 1
    assert put(arena, [b"a", b"b"], [1.0, 2.0], ticket) == 1
    assert get(arena, [b"a", b"b"]) == [None, 2.0]
    put(arena, [b"a"], [3.0])
    assert get(arena, [b"a"]) == [3.0]


def test_nothing_is_taken_while_paused_nor_what_was_fetched_then() -> None:
    arena = Arena(PLENTY, WIDTH)
    assert arena.paused()
    assert put(arena, [b"a"], [1.0]) == 0
    while_paused = arena.ticket()
    arena.resume()
    assert not arena.paused()
    assert put(arena, [b"a"], [1.0], while_paused) == 0
    assert put(arena, [b"a"], [2.0]) == 1
    before_pause = arena.ticket()
    arena.pause()
    assert get(arena, [b"a"]) == [None]
    arena.resume()
    assert put(arena, [b"a"], [3.0], before_pause) == 0
    assert get(arena, [b"a"]) == [None]


def test_threads_never_see_a_row_of_another_id_nor_one_that_was_invalidated() -> None:
    products, batch, width = 200, 100, 1000  # wide rows take long to copy
    arena = Arena(10 * (8 * 2048 + 128), width)  # too small: rows also push each other out
    arena.resume()
    raw = raw_of(range(products))
    stored = np.zeros(products)  # versions, as the store has them
    told = np.zeros(products)  # versions, as of the last invalidation
    wrong: list[str] = []
    stop = threading.Event()

    def read(seed: int) -> None:
        random = np.random.default_rng(seed)
        while not stop.is_set():
            numbers = random.choice(products, batch)
            ids = ProductIds.from_bytes([raw[number] for number in numbers])
            values, status = np.empty((batch, width), np.float16), np.empty(batch, np.uint8)
            expected = told[numbers]
            missing = arena.lookup(ids, values, status)
            found = status == FOUND
            version, number = values[found, ::2], values[found, 1::2]
            if (number != numbers[found, None]).any() or (version != version[:, :1]).any():
                wrong.append(f"torn or another's: {values[found]} of {numbers[found]}")
            if (version[:, 0] < expected[found]).any():
                wrong.append(f"stale: {version}, expected {expected[found]}")
            ticket = arena.ticket()
            wanted = numbers[missing]
            fetched = np.empty((len(missing), width), np.float16)
            fetched[:, ::2], fetched[:, 1::2] = stored[wanted, None], wanted[:, None]
            arena.insert(ids.take(missing), fetched, np.zeros(len(missing), np.uint8), ticket)

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for reader in readers:
        reader.start()
    random = np.random.default_rng(99)
    for _ in range(2000):
        changed = random.choice(products, 5, replace=False)
        stored[changed] += 1
        arena.invalidate([raw[number] for number in changed])
        told[changed] = stored[changed]
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert stored.max() < 2048  # whole numbers up to there are exact in float16
    assert arena.counters().hits > 0


def test_an_unused_budget_takes_no_memory_and_a_small_one_is_refused() -> None:
    assert Arena(1 << 40, WIDTH).counters() == ArenaCounters(0, 0, 0, 0, 0)
    assert Arena(BUCKET_BYTES, 32).capacity == 8
    with pytest.raises(
        StoreError, match=r"at least 640 bytes for rows of 32 floats, or 0 .* got 639"
    ):
        Arena(BUCKET_BYTES - 1, 32)
    with pytest.raises(StoreError, match="the system refuses a row cache of"):
        Arena(1 << 62, 1 << 20)


@pytest.mark.parametrize("width", [1, 31, 32, 33, 256, 1000])
def test_rows_of_any_width_come_back(width: int) -> None:
    arena = Arena(200 * (8 * (2 * width + 64) + 128), width)
    arena.resume()
    values = np.random.default_rng(0).standard_normal((500, width)).astype(np.float16)
    ids, status = ProductIds.from_bytes(raw_of(range(500))), np.zeros(500, np.uint8)
    arena.insert(ids, values, status, arena.ticket())
    got = np.empty_like(values)
    assert len(arena.lookup(ids, got, status)) == 0
    assert got.tobytes() == values.tobytes()


def test_arrays_that_do_not_fit_are_refused() -> None:
    arena, ids = arena_of(), ProductIds.from_bytes([b"a", b"b"])
    status = np.zeros(2, np.uint8)
    for values in (np.zeros((1, WIDTH), np.float16), np.zeros((2, WIDTH + 1), np.float16)):
        with pytest.raises(ValueError, match=r"expected contiguous float16 \[2, 3\]"):
            arena.lookup(ids, values, status)
    with pytest.raises(ValueError, match="expected contiguous"):
        arena.insert(ids, np.zeros((4, WIDTH), np.float16)[::2], status, 0)
    damaged = ProductIds(ids.blob, np.array([0, 5, 2]))
    with pytest.raises(ValueError, match="do not fit together"):
        arena.lookup(damaged, np.zeros((2, WIDTH), np.float16), status)
