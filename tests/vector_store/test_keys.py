"""Key names: stable, apart from each other, safe for any product id."""

import re
from hashlib import blake2b
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_store.errors import InvalidId, StoreError
from vector_store.keys import (
    IMPOSSIBLE_ID,
    MAX_ID_BYTES,
    RedisKeys,
    lookup_ids,
    query_id,
    stored_ids,
)

SET_ID = "0123abcd.1"
SURROGATE = "shoe\ud800"
PRODUCT_IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


def test_the_redis_keys_are_these() -> None:
    names = RedisKeys("winnow")
    assert crc32(b"B1") % 256 == 66
    assert names.rows(SET_ID, 256, [b"B1"]) == [b"winnow:0123abcd.1:{066}:B1"]
    assert names.header(SET_ID) == "winnow:set:0123abcd.1"
    assert names.progress(SET_ID) == "winnow:progress:0123abcd.1"
    assert names.sets == "winnow:sets"
    assert names.live == "winnow:live"


@given(product_id=PRODUCT_IDS, bucket_count=st.integers(1, 1000))
def test_a_row_key_gives_its_product_id_back(product_id: str, bucket_count: int) -> None:
    names = RedisKeys("ns:*[x]")
    (key,) = names.rows(SET_ID, bucket_count, stored_ids([product_id]))
    assert names.product_id(SET_ID, key) == product_id
    # A cluster hashes what stands between the first braces: the bucket, whatever the id holds.
    tag = re.search(rb"\{(.*?)\}", key)
    assert tag is not None
    assert int(tag[1]) == crc32(product_id.encode()) % bucket_count


@given(st.lists(PRODUCT_IDS, unique=True))
def test_ids_and_keys_are_one_to_one(ids: list[str]) -> None:
    assert len(set(RedisKeys("ns").rows(SET_ID, 256, stored_ids(ids)))) == len(ids)
    assert lookup_ids(ids) == stored_ids(ids)


def test_the_pattern_escapes_what_scan_would_interpret() -> None:
    assert RedisKeys(r"a*b?[c]^d-\e").row_pattern(SET_ID) == (
        r"a\*b\?\[c\]\^d\-\\e:0123abcd.1:{[0-9][0-9][0-9]}:*"
    )


@pytest.mark.parametrize("namespace", ["", "a{b", "a}b", "a b", "a\nb", "x" * 65])
def test_a_namespace_that_would_break_keys_is_refused(namespace: str) -> None:
    with pytest.raises(StoreError, match="expected a Redis namespace"):
        RedisKeys(namespace)


@pytest.mark.parametrize(
    ("product_id", "message"),
    [
        ("", "got 0 bytes at position 1"),
        ("x" * (MAX_ID_BYTES + 1), "got 257 bytes at position 1"),
        ("鞋" * 86, "got 258 bytes at position 1"),
        (SURROGATE, "product id 1 of the batch .* isn't valid Unicode"),
    ],
)
def test_an_id_no_store_can_hold_is_refused_when_stored(product_id: str, message: str) -> None:
    with pytest.raises(InvalidId, match=message):
        stored_ids(["good", product_id])


@pytest.mark.parametrize("product_id", ["", "x" * (MAX_ID_BYTES + 1), "鞋" * 86])
def test_an_id_no_store_can_hold_is_looked_up_as_the_impossible_one(product_id: str) -> None:
    assert lookup_ids(["good", product_id]) == [b"good", IMPOSSIBLE_ID]


def test_no_product_has_the_bytes_that_stand_for_an_impossible_id() -> None:
    for raw in (IMPOSSIBLE_ID, *lookup_ids([SURROGATE])):
        with pytest.raises(UnicodeDecodeError):
            raw.decode()


def test_a_query_of_any_length_has_an_id_of_its_own() -> None:
    assert query_id("red shoe") == blake2b(b"red shoe", digest_size=16).hexdigest()
    queries = ["", " ", "red shoe", "red shoe ", "Red shoe", "鞋" * 1000, SURROGATE]
    assert len({query_id(query) for query in queries}) == len(queries)
    assert all(re.fullmatch("[0-9a-f]{32}", query_id(query)) for query in queries)


def test_an_id_of_the_longest_length_is_stored() -> None:
    assert stored_ids(["x" * MAX_ID_BYTES, "鞋" * 85 + "x"]) == [
        b"x" * MAX_ID_BYTES,
        "鞋".encode() * 85 + b"x",
    ]
