"""One suite for every vector store: memory, LMDB, a real Redis and a real Redis Cluster."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import pytest

from vector_store.errors import InvalidId, InvalidRow, SetNotFound, StoreError
from vector_store.header import SetHeader
from vector_store.ids import ProductIds
from vector_store.open import open_store
from vector_store.protocol import VectorStore
from vector_store.rows import CORRUPT, FOUND, MISSING, encoded_at_s, unpack

HeaderOf = Callable[..., SetHeader]
RecordsOf = Callable[..., list[bytes]]

OTHER_FINGERPRINT = "feedbeef" * 8
SEALED = "2024-05-01T11:00:00Z"
TIMEOUT_MS = 20_000  # a busy machine may be slow; no test here waits for it
ODD_IDS = [
    "plain-1",
    "牛奶 250毫升",
    "é",
    "e\u0301",  # é from two code points: another id
    "👟🏽",
    "nul\0inside",
    "\0",
    "{braces}",
    "{}",
    "a:b:c",
    "*",
    "?[a-z]\\",
    " space ",
    "line\nbreak\r\n",
    "%40",
    "x" * 256,
    "鞋" * 85,
]


@pytest.fixture(params=["memory", "lmdb", "redis", "cluster"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    url = "memory:"
    if request.param == "lmdb":
        url = f"lmdb:{tmp_path / 'rows'}"
    if request.param == "redis":
        url = request.getfixturevalue("shared_redis_url")
    if request.param == "cluster":
        url = request.getfixturevalue("shared_cluster_url")
    opened = open_store(url, timeout_ms=TIMEOUT_MS)
    yield opened
    opened.close()


def everything(store: VectorStore, header: SetHeader) -> dict[str, bytes]:
    return {product_id: record for batch in store.scan(header) for product_id, record in batch}


def test_a_new_store_is_empty(store: VectorStore, header_of: HeaderOf) -> None:
    header = header_of()
    store.ping()
    assert store.headers() == []
    assert store.live(header.fingerprint) is None
    assert store.progress(header.set_id) is None
    assert store.get(header, ["a", "b"]) == [None, None]
    assert list(store.scan(header)) == []
    with pytest.raises(SetNotFound, match=r"no vector set 0123abcd\.1 in .*winnow sets list"):
        store.header(header.set_id)


def test_headers_come_back_in_the_order_of_their_ids(
    store: VectorStore, header_of: HeaderOf
) -> None:
    headers = [header_of(2), header_of(1), header_of(fingerprint=OTHER_FINGERPRINT, width=64)]
    for header in headers:
        store.put_header(header)
    assert [header.set_id for header in store.headers()] == [
        "0123abcd.1",
        "0123abcd.2",
        "feedbeef.1",
    ]
    for header in headers:
        assert store.header(header.set_id) == header


def test_a_header_is_replaced_while_indexing_and_when_sealing(
    store: VectorStore, header_of: HeaderOf
) -> None:
    for header in (header_of(), header_of(count=5), header_of(count=9, sealed=SEALED)):
        store.put_header(header)
        assert store.header(header.set_id) == header
    assert len(store.headers()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": "0123abcd" + "0" * 56}, "has fingerprint 0123abcd0123.*next generation"),
        ({"width": 5, "segments": {}}, "has width 4, the new header 5"),
        ({"dtype": "float32"}, "has dtype float16, the new header float32"),
        ({"bucket_count": 16}, "has bucket_count 256, the new header 16"),
        ({"sealed": None}, "is sealed since 2024-05-01T11:00:00Z and cannot be opened again"),
    ],
)
def test_a_header_that_contradicts_the_rows_is_refused(
    store: VectorStore, header_of: HeaderOf, change: dict[str, object], message: str
) -> None:
    stored = header_of(sealed=SEALED)
    store.put_header(stored)
    with pytest.raises(StoreError, match=message):
        store.put_header(stored.model_copy(update=change))
    assert store.header(stored.set_id) == stored


def test_insert_adds_what_is_not_there_and_keeps_what_is(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.put_header(header)
    old, new = records_of(2), records_of(3, first=10)
    assert store.insert(header, ["a", "b"], old, b"1") == [True, True]
    assert store.insert(header, ["b", "c", "a"], new, b"2") == [False, True, False]
    assert store.get(header, ["a", "b", "c"]) == [old[0], old[1], new[1]]
    assert store.progress(header.set_id) == b"2"


def test_the_first_of_a_repeated_id_wins(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.put_header(header)
    records = records_of(4)
    assert store.insert(header, ["a", "b", "a", "a"], records, b"") == [True, True, False, False]
    assert store.get(header, ["a", "b"]) == records[:2]


@pytest.mark.parametrize("progress", [b"", b"\0\xff{}", b'{"line": 5000}', b"x" * 100_000])
def test_progress_is_any_bytes_and_needs_no_rows(
    store: VectorStore, header_of: HeaderOf, progress: bytes
) -> None:
    header = header_of()
    store.put_header(header)
    assert store.insert(header, [], [], progress) == []
    assert store.progress(header.set_id) == progress
    assert store.progress("0123abcd.2") is None


@pytest.mark.parametrize(
    ("ids", "records", "error", "message"),
    [
        (["good", ""], [bytes(20)] * 2, InvalidId, "got 0 bytes at position 1"),
        (["good", "x" * 257], [bytes(20)] * 2, InvalidId, "got 257 bytes at position 1"),
        (["good", "\ud800"], [bytes(20)] * 2, InvalidId, "isn't valid Unicode"),
        (["good", "b"], [bytes(20)], InvalidRow, "got 2 ids, 1 records"),
        (["good", "b"], [bytes(20), bytes(19)], InvalidRow, "of 20 bytes .* got 19 .*position 1"),
        (["good", "b"], [bytes(20), bytes(21)], InvalidRow, "of 20 bytes .* got 21 .*position 1"),
    ],
)
def test_nothing_of_a_bad_batch_is_stored(
    store: VectorStore,
    header_of: HeaderOf,
    ids: Sequence[str],
    records: Sequence[bytes],
    error: type[StoreError],
    message: str,
) -> None:
    header = header_of()
    store.put_header(header)
    store.insert(header, ["before"], [bytes(20)], b"before")
    with pytest.raises(error, match=message):
        store.insert(header, ids, records, b"after")
    assert everything(store, header) == {"before": bytes(20)}
    assert store.progress(header.set_id) == b"before"


def test_insert_needs_an_open_set_of_the_same_rows(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    with pytest.raises(SetNotFound, match=r"no vector set 0123abcd\.1"):
        store.insert(header, ["a"], records_of(1), b"1")
    store.put_header(header)
    with pytest.raises(StoreError, match="has width 4, the new header 5"):
        store.insert(header_of(width=5), ["a"], records_of(1, width=5), b"1")
    store.put_header(header_of(sealed=SEALED))
    with pytest.raises(StoreError, match=r"is sealed since .*next generation"):
        store.insert(header, ["a"], records_of(1), b"1")
    assert everything(store, header) == {}
    assert store.progress(header.set_id) is None


def test_get_is_aligned_with_the_ids(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.put_header(header)
    a, b = records_of(2)
    store.insert(header, ["a", "b"], [a, b], b"")
    assert store.get(header, []) == []
    assert store.get(header, ["b", "none", "a", "b", "none", "b"]) == [b, None, a, b, None, b]
    assert store.get(header, ("a",)) == [a]


def test_what_is_got_says_when_its_row_was_encoded(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.put_header(header)
    store.insert(header, ["a"], records_of(1), b"")
    (record,) = store.get(header, ["a"])
    assert record is not None
    assert encoded_at_s(record) == 1_700_000_000


@pytest.mark.parametrize("product_id", ["", "x" * 257, "鞋" * 86, "x" * 100_000, "a\ud800"])
def test_an_id_that_cannot_exist_is_missing_and_no_error(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf, product_id: str
) -> None:
    header = header_of()
    store.put_header(header)
    (a,) = records_of(1)
    store.insert(header, ["a"], [a], b"")
    assert store.get(header, ["a", product_id, "a"]) == [a, None, a]


def test_odd_ids_are_ids_like_any_other(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.put_header(header)
    records = records_of(len(ODD_IDS))
    assert all(store.insert(header, ODD_IDS, records, b""))
    assert store.get(header, ODD_IDS) == records
    assert everything(store, header) == dict(zip(ODD_IDS, records, strict=True))
    assert store.get(header, ["nul", "e", "{braces", "a:b", "**", "x" * 255]) == [None] * 6


def test_five_thousand_ids_in_one_get(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.put_header(header)
    ids = [f"product {i}" for i in range(5000)]
    records = records_of(5000)
    present = [i for i in range(5000) if i % 7]
    store.insert(header, [ids[i] for i in present], [records[i] for i in present], b"")
    order = list(range(5000))
    Random(7).shuffle(order)
    got = store.get(header, [ids[i] for i in order])
    assert got == [records[i] if i % 7 else None for i in order]
    rows = unpack(got, header.width)
    assert rows.status.tolist() == [FOUND if i % 7 else MISSING for i in order]
    np.testing.assert_array_equal(rows.values[:, 0], [i % 2048 if i % 7 else 0 for i in order])
    assert everything(store, header) == {ids[i]: records[i] for i in present}


@pytest.mark.parametrize("n", [0, 1, 249, 250, 251, 1000, 3001])
def test_fetch_is_what_get_has_unpacked(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf, n: int
) -> None:
    header = header_of(width=33)
    store.put_header(header)
    known = [f"product {i}" for i in range(500)] + ODD_IDS + ["nan"]
    records = records_of(len(known), width=33)
    records[-1] = np.full(33, np.nan, np.float16).tobytes() + records[-1][66:]
    store.insert(header, known, records, b"")
    strings = [*known, "none", "", "x" * 257, "鞋" * 86, "a\ud800"]
    ids = Random(n).choices(strings, k=n)
    rows = store.fetch(header, ProductIds.from_strings(ids))
    expected = unpack(store.get(header, ids), header.width)
    assert rows.values.shape == (n, 33)
    assert rows.values.dtype == np.float16
    assert rows.values.flags.c_contiguous
    assert rows.values.tobytes() == expected.values.tobytes()
    assert rows.status.tolist() == expected.status.tolist()
    if n > 3000:
        assert set(rows.status.tolist()) == {FOUND, MISSING, CORRUPT}


def test_nothing_is_fetched_from_a_set_that_is_not_there(
    store: VectorStore, header_of: HeaderOf
) -> None:
    rows = store.fetch(header_of(), ProductIds.from_strings(["a", "b"]))
    assert rows.status.tolist() == [MISSING, MISSING]
    assert not rows.values.any()


def test_a_row_that_is_not_finite_comes_back_corrupt(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.put_header(header)
    good = records_of(1)[0]
    nan = np.full(header.width, np.nan, np.float16).tobytes() + good[2 * header.width :]
    store.insert(header, ["good", "nan"], [good, nan], b"")
    rows = unpack(store.get(header, ["nan", "good", "none"]), header.width)
    assert rows.status.tolist() == [CORRUPT, FOUND, MISSING]


def test_sets_never_mix(store: VectorStore, header_of: HeaderOf, records_of: RecordsOf) -> None:
    ids = ["a", "b", "c"]
    headers = [header_of(1), header_of(2), header_of(11), header_of(fingerprint=OTHER_FINGERPRINT)]
    records = [records_of(3, first=10 * i) for i in range(4)]
    for i, header in enumerate(headers):
        store.put_header(header)
        assert store.insert(header, ids, records[i], b"%d" % i) == [True] * 3
    for i, header in enumerate(headers):
        assert store.get(header, ids) == records[i]
        assert everything(store, header) == dict(zip(ids, records[i], strict=True))
        assert store.progress(header.set_id) == b"%d" % i
    store.drop(headers[0])
    assert store.get(headers[0], ids) == [None] * 3
    for i in (1, 2, 3):
        assert store.get(headers[i], ids) == records[i]


def test_only_a_sealed_set_of_the_same_fingerprint_goes_live(
    store: VectorStore, header_of: HeaderOf
) -> None:
    header, other = header_of(), header_of(fingerprint=OTHER_FINGERPRINT, sealed=SEALED)
    with pytest.raises(SetNotFound):
        store.set_live(header.fingerprint, header.set_id)
    store.put_header(header)
    store.put_header(other)
    with pytest.raises(StoreError, match=r"set 0123abcd\.1 isn't sealed"):
        store.set_live(header.fingerprint, header.set_id)
    with pytest.raises(StoreError, match=r"expected a vector set with fingerprint 0123.* feedbeef"):
        store.set_live(header.fingerprint, other.set_id)
    assert store.live(header.fingerprint) is None
    store.put_header(header_of(sealed=SEALED))
    store.set_live(header.fingerprint, header.set_id)
    store.set_live(other.fingerprint, other.set_id)
    assert store.live(header.fingerprint) == header.set_id
    assert store.live(other.fingerprint) == other.set_id


def test_the_live_set_changes_and_rolls_back(store: VectorStore, header_of: HeaderOf) -> None:
    first, second = header_of(1, sealed=SEALED), header_of(2, sealed=SEALED)
    store.put_header(first)
    store.put_header(second)
    for header in (first, second, first):
        store.set_live(header.fingerprint, header.set_id)
        assert store.live(header.fingerprint) == header.set_id


def test_the_live_set_cannot_be_dropped(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.put_header(header)
    store.insert(header, ["a", "b"], records_of(2), b"")
    sealed = header_of(sealed=SEALED)
    store.put_header(sealed)
    store.set_live(header.fingerprint, header.set_id)
    with pytest.raises(StoreError, match=r"set 0123abcd\.1 is live and cannot be dropped"):
        store.drop(header)
    assert store.header(header.set_id) == sealed
    assert store.get(header, ["a", "b"]) == records_of(2)


def test_a_dropped_set_is_gone_and_its_id_free(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.drop(header)
    store.put_header(header)
    ids = [f"product {i}" for i in range(2500)]
    store.insert(header, ids, records_of(2500), b"2500")
    store.put_header(header_of(sealed=SEALED))
    store.drop(header)
    assert store.headers() == []
    assert store.progress(header.set_id) is None
    assert store.get(header, ids) == [None] * 2500
    assert everything(store, header) == {}
    with pytest.raises(SetNotFound):
        store.set_live(header.fingerprint, header.set_id)
    store.put_header(header)
    assert store.insert(header, ids[:2], records_of(2), b"2") == [True, True]
    assert everything(store, header) == dict(zip(ids[:2], records_of(2), strict=True))


def test_scan_comes_in_batches_of_bounded_size(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.put_header(header)
    ids = [f"product {i}" for i in range(12_000)]
    for start in range(0, 12_000, 4000):
        records = records_of(4000, first=start)
        store.insert(header, ids[start : start + 4000], records, b"")
    batches = list(store.scan(header))
    assert all(0 < len(batch) <= 4000 for batch in batches)
    assert len(batches) > 2
    assert {product_id for batch in batches for product_id, _ in batch} == set(ids)


def test_a_scan_may_be_left_or_interleaved_with_writes(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header = header_of()
    store.put_header(header)
    ids = [f"product {i}" for i in range(3000)]
    store.insert(header, ids, records_of(3000), b"")
    next(store.scan(header))
    seen: set[str] = set()
    for i, batch in enumerate(store.scan(header)):
        store.insert(header, [f"new {i}"], records_of(1), b"")
        seen.update(product_id for product_id, _ in batch)
    assert seen >= set(ids)


def test_many_threads_get_while_one_inserts(
    store: VectorStore, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    header, other = header_of(), header_of(fingerprint=OTHER_FINGERPRINT)
    store.put_header(header)
    store.put_header(other)
    ids = [f"product {i}" for i in range(1500)]
    records = records_of(1500)
    store.insert(header, ids, records, b"")

    def get_shuffled(seed: int) -> bool:
        order = list(range(1500))
        Random(seed).shuffle(order)
        return store.get(header, [ids[i] for i in order]) == [records[i] for i in order]

    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(get_shuffled, range(40))
        for i in range(20):
            store.insert(other, [f"product {i}"], records_of(1, first=9), b"")
        assert all(answers)


def test_close_may_be_called_twice(store: VectorStore) -> None:
    store.close()
    store.close()
