"""Ids as bytes: to strings and back, chosen, and written as JSON."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_store.ids import ProductIds
from vector_store.keys import lookup_ids

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=300)
IDS = st.lists(st.one_of(ANY_TEXT, st.text('ab"\\\n\x7f鞋', max_size=12)), max_size=40)
NEEDS_ESCAPES = ['a"b', "a\\b", "line\nbreak", "\0", "a\ud800"]


@given(IDS)
def test_strings_come_back_and_are_looked_up_as_the_same_bytes(strings: list[str]) -> None:
    ids = ProductIds.from_strings(strings)
    assert len(ids) == len(strings)
    assert ids.strings() == strings
    assert ids.lookup_ids() == lookup_ids(strings)


@given(IDS.filter(bool), st.data())
def test_take_and_json_list_follow_the_positions(strings: list[str], data: st.DataObject) -> None:
    ids = ProductIds.from_strings(strings)
    chosen = data.draw(st.lists(st.integers(0, len(strings) - 1), max_size=60))
    positions = np.array(chosen, np.int64)
    expected = [strings[position] for position in chosen]
    assert ids.take(positions).strings() == expected
    assert json.loads(ids.json_list(positions)) == expected
    json.loads(ids.json_list(positions).decode())  # and it is UTF-8


@given(st.lists(st.text("abc-1 é牛👟", max_size=40), max_size=60))
def test_the_json_of_taken_ids_is_that_of_those_ids(strings: list[str]) -> None:
    ids = ProductIds.from_strings(["first", *strings, "last"])
    taken = ids.take(np.arange(1, len(strings) + 1))
    everything = np.arange(len(strings))
    assert taken.json_list(everything) == ids.json_list(everything + 1)


@pytest.mark.parametrize("odd", NEEDS_ESCAPES)
def test_one_id_that_needs_an_escape_does_not_harm_its_neighbours(odd: str) -> None:
    ids = ProductIds.from_strings(["before", odd, "牛奶"])
    assert json.loads(ids.json_list(np.arange(3))) == ["before", odd, "牛奶"]
    assert json.loads(ids.json_list(np.array([2, 0]))) == ["牛奶", "before"]


@pytest.mark.parametrize("positions", [[3], [0, 1, 2, 3], [2**62], [-(2**62)]])
def test_a_position_that_is_not_there_is_refused(positions: list[int]) -> None:
    ids = ProductIds.from_strings(["a", "b", "c"])
    with pytest.raises((ValueError, IndexError)):
        ids.take(np.array(positions))
    with pytest.raises((ValueError, IndexError)):
        ids.json_list(np.array(positions))


def tensor(elements: list[bytes]) -> bytes:
    """A BYTES tensor."""
    return b"".join(len(each).to_bytes(4, "little") + each for each in elements)


@given(st.lists(st.binary(max_size=300), max_size=40))
def test_a_tensor_of_bytes_is_its_elements(elements: list[bytes]) -> None:
    ids = ProductIds.from_tensor(tensor(elements), len(elements))
    assert ids is not None
    assert (ids.blob, len(ids)) == (b"".join(elements), len(elements))
    assert np.diff(ids.offsets).tolist() == [len(each) for each in elements]


@given(st.binary(max_size=80), st.integers(-3, 30))
def test_any_bytes_are_exactly_so_many_elements_or_none(raw: bytes, n: int) -> None:
    ids = ProductIds.from_tensor(raw, n)
    if ids is not None:
        lengths = np.diff(ids.offsets).tolist()
        parts = [
            ids.blob[end - length : end]
            for length, end in zip(lengths, ids.offsets[1:], strict=True)
        ]
        assert tensor(parts) == raw
        assert len(parts) == n


@pytest.mark.parametrize(
    ("raw", "n"),
    [
        *((b"", 1), (b"\x01\0\0", 1), (b"\x02\0\0\0a", 1), (b"\0\0\0\0", 2)),
        *((b"\xff\xff\xff\xff", 1), (b"\x01\0\0\0ab", 1), (b"\0\0\0\0", 0), (b"", -1)),
        (b"\0\0\0\0", 2**62),
    ],
)
def test_a_tensor_of_another_size_is_none(raw: bytes, n: int) -> None:
    assert ProductIds.from_tensor(raw, n) is None


def test_no_ids_are_an_empty_list() -> None:
    ids = ProductIds.from_strings([])
    nothing = np.empty(0, np.int64)
    assert (len(ids), ids.strings(), ids.json_list(nothing)) == (0, [], b"[]")
    assert len(ids.take(nothing)) == 0
