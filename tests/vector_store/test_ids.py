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


def test_no_ids_are_an_empty_list() -> None:
    ids = ProductIds.from_strings([])
    nothing = np.empty(0, np.int64)
    assert (len(ids), ids.strings(), ids.json_list(nothing)) == (0, [], b"[]")
    assert len(ids.take(nothing)) == 0
