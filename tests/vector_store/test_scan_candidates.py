"""The quick way from a body to its arrays: it never reads what a full parser would not."""

import json
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.schemas import FilterRequest
from vector_store.ids import scan_candidates
from vector_store.native_rows import AVAILABLE

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the quick way is compiled code")

PLAIN_ID = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters='"\\', min_codepoint=32),
    min_size=1,
    max_size=40,
).filter(lambda text: len(text.encode()) <= 256)
SPACE = st.text(" \n\r\t", max_size=2)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
KEYS = st.sampled_from(
    ["query", "model", "deadline_ms", "threshold", "sort_values", "product_ids", "sort", "", "é"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(SCALARS, st.sampled_from(["product_ids", '"product_ids":["x"]', "]}", "\\"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
ID_LISTS = st.lists(
    st.one_of(PLAIN_ID, st.text(max_size=5), st.sampled_from(["x" * 256, "x" * 257, "鞋" * 86])),
    max_size=6,
)


NUMBERS = st.one_of(
    st.integers(-(10**17), 10**17),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-9999, 9999, places=2),
    st.sampled_from(["null", "-0", "01", "+1", ".5", "1.", "1e", "1e-22", "1.5E+22", "1e23"]),
    st.sampled_from(["9007199254740993", "5629499534213119", "0.1234567890123456789", "-", "1 2"]),
)
NUMBER_LISTS = st.lists(NUMBERS, max_size=4).map(lambda all_: [str(each) for each in all_])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """JSON text of an object with these fields and others, spaced and escaped in many ways."""

    def spaced(*parts: str) -> str:
        return "".join(part + draw(SPACE) for part in parts)

    def text(value: object) -> str:
        return json.dumps(value, ensure_ascii=draw(st.booleans()))

    def array(items: list[str]) -> str:
        return spaced("[", ",".join(spaced("", item) for item in items), "]")

    def ids(values: list[str]) -> str:
        return array([text(value) for value in values])

    members = [("query", text("shoes")), ("product_ids", ids(draw(ID_LISTS)))]
    members += [("sort", '"price"'), ("sort_values", array(draw(NUMBER_LISTS)))]
    for key in draw(st.lists(KEYS, max_size=3)):
        value = draw(st.one_of(ID_LISTS.map(ids), NUMBER_LISTS.map(array), VALUES.map(text)))
        members.append((key, value))
    members = draw(st.permutations(members))
    fields = [spaced("", json.dumps(key, ensure_ascii=False), ":", value) for key, value in members]
    whole = draw(SPACE) + spaced("{", ",".join(fields), "}")
    return whole.encode("utf-8", "surrogatepass")


def full_parse(body: bytes) -> FilterRequest | None:
    try:
        return FilterRequest.model_validate_json(body)
    except ValidationError:
        return None


def check(body: bytes) -> None:
    """What the quick way says of the body is what the full parser says."""
    scanned, expected = scan_candidates(body), full_parse(body)
    if scanned is None:
        return
    parsed = full_parse(scanned.rest)
    if parsed is None or expected is None:
        assert parsed is None
        assert expected is None
        return
    assert scanned.ids.strings() == expected.product_ids
    lifted: dict[str, object] = {"product_ids": []}
    if scanned.sort_values is not None:
        values = [None if np.isnan(value) else value for value in scanned.sort_values.tolist()]
        assert values == expected.sort_values  # to the last bit
        lifted["sort_values"] = None
    assert parsed.model_dump_json() == expected.model_copy(update=lifted).model_dump_json()


@settings(max_examples=400, deadline=None)
@given(bodies())
def test_the_quick_way_agrees_with_the_full_parser(body: bytes) -> None:
    check(body)


@pytest.mark.parametrize(
    "body",
    [
        '{"query":"q","product_ids":["ab","鞋","12345678x"],"sort":"sale"}',
        '{ "product_ids" : [ "a", "b" ] , "query": "\\"]}", "sort" :"price"}\n',
        '{"query":"product_ids","product_ids":[],"sort":"price"}',
        '{"query":"q","product_ids":["a"],"sort":"price","sort_values":[-1.5e3, null,0]}',
    ],
)
def test_the_quick_way_agrees_whatever_byte_is_damaged(body: str) -> None:
    raw = body.encode()
    check(raw)
    for position in range(len(raw)):
        before, after = raw[:position], raw[position + 1 :]
        for damaged in (before, before + after, raw[: position + 1] + raw[position:]):
            check(damaged)
        for byte in b'"\\[]{}:, \n\x1fnp0\x7f\x80\xbf\xc3\xed\xff':
            check(before + bytes([byte]) + after)
            check(before + bytes([byte]) + raw[position:])


@settings(deadline=None)  # also runs under a sanitizer
@given(
    st.lists(st.tuples(PLAIN_ID, st.none() | st.decimals(-99999, 99999, places=2)), max_size=50),
    st.text(max_size=20),
    st.booleans(),
)
def test_an_ordinary_body_takes_the_quick_way(
    candidates: list[tuple[str, Decimal | None]], query: str, indent: bool
) -> None:
    try:
        query.encode()
    except UnicodeEncodeError:
        query = "shoes"
    ids = [product_id for product_id, _ in candidates]
    prices = [None if price is None else float(price) for _, price in candidates]
    content = {"query": query, "product_ids": ids, "sort_values": prices, "deadline_ms": 20.5}
    body = orjson.dumps(content, option=orjson.OPT_INDENT_2 if indent else 0)
    scanned = scan_candidates(body)
    assert scanned is not None
    assert scanned.ids.strings() == ids
    assert scanned.sort_values is not None
    np.testing.assert_array_equal(scanned.sort_values, np.array(prices, np.float64))
    assert orjson.loads(scanned.rest) == {**content, "product_ids": [], "sort_values": None}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"query":"q"}',
        b'{"product_ids":["a"]',
        b'{"product_ids":["a"],}',
        b'{"product_ids":["a",]}',
        b'{"product_ids":[,"a"]}',
        b'{"product_ids":["a" "b"]}',
        b'{"product_ids":["a"]} x',
        b'{"product_ids":["a"]}\0',
        b'\xef\xbb\xbf{"product_ids":["a"]}',
        b'{"product_ids":["a"],"product_ids":["b"]}',
        b'{"product_ids":["a"],"product\\u005fids":["b"]}',
        b'{"product_ids":[""]}',
        b'{"product_ids":["a\\n"]}',
        b'{"product_ids":["a\n"]}',
        b'{"product_ids":[1]}',
        b'{"product_ids":[["a"]]}',
        b'{"product_ids":"a"}',
        b'{"product_ids":null}',
        b'{"x":{"product_ids":["a"]}}',
        b'{"product_ids":["%b"]}' % (b"x" * 257),
        b'{"product_ids":["%b"]}' % ("鞋" * 86).encode(),
        b'{"product_ids":["\xff"]}',
        b'{"product_ids":["\xc0\x80"]}',
        b'{"product_ids":["\xe0\x80\x80"]}',
        b'{"product_ids":["\xed\xa0\x80"]}',
        b'{"product_ids":["\xf0\x80\x80\x80"]}',
        b'{"product_ids":["\xf4\x90\x80\x80"]}',
        b'{"product_ids":["\xf5\x80\x80\x80"]}',
        b'{"product_ids":["\xe7\x89"]}',
        b'{"product_ids":["abcdefgh\xe7',
        b'{"product_ids":["abcdefgh',
    ],
)
def test_anything_unusual_is_left_to_the_full_parser(body: bytes) -> None:
    assert scan_candidates(body) is None


@pytest.mark.parametrize(
    ("body", "ids", "rest"),
    [
        (b'{"product_ids":[]}', [], b'{"product_ids":[]}'),
        (b' { "product_ids" : [ "a" , "b" ] } \n', ["a", "b"], b' { "product_ids" : [] } \n'),
        (b'{"q":"]}\\"","product_ids":["a"]}', ["a"], b'{"q":"]}\\"","product_ids":[]}'),
        (b'{"q":{"product_ids":[1]},"product_ids":["a"],"z":[[]]}', ["a"], None),
        (b'{"product_ids":["%b"]}' % (b"x" * 256), ["x" * 256], None),
        (b'{"product_ids":["%b"]}' % ("鞋" * 85).encode(), ["鞋" * 85], None),
        ('{"product_ids":["\x7f","\u0080","\ud7ff","\U0010ffff"]}'.encode(), None, None),
    ],
)
def test_ids_are_taken_out_of_the_body(
    body: bytes, ids: list[str] | None, rest: bytes | None
) -> None:
    scanned = scan_candidates(body)
    assert scanned is not None
    assert scanned.ids.strings() == (ids or json.loads(body)["product_ids"])
    assert rest is None or scanned.rest == rest


@pytest.mark.parametrize(
    "values",
    [
        *("null", "3", '"x"', "[true]", "[01]", "[1.]", "[.5]", "[1e]", "[+1]", "[1e23]", "[NaN]"),
        *("[12345678901234567]", "[1 2]", "[1,]", "[,1]", "[nul]", "[[1]]"),
    ],
)
def test_values_that_are_no_plain_numbers_stay_in_the_body(values: str) -> None:
    scanned = scan_candidates(b'{"product_ids":["a"],"sort_values":%b}' % values.encode())
    assert scanned is not None
    assert scanned.sort_values is None
    assert scanned.rest == b'{"product_ids":[],"sort_values":%b}' % values.encode()


def test_sort_values_given_twice_are_left_to_the_full_parser() -> None:
    assert scan_candidates(b'{"product_ids":["a"],"sort_values":[1],"sort_values":[2]}') is None
