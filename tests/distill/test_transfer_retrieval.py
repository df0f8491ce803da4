"""BM25 against the formula, and the spread of ranks."""

import logging
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.retrieval import Neighbours, TitleIndex, spread, terms

_WORDS = st.sampled_from(["red", "lamp", "lamps", "steel", "hose", "2.5", "mm", "手", "机"])
_TITLE = st.lists(_WORDS, max_size=8).map(" ".join)


def bm25(query: str, titles: list[str]) -> list[float]:
    """Scores by the formula: Lucene's idf, k1 = 1.5, b = 0.75."""
    rows = [Counter(terms(title)) for title in titles]
    mean = sum(row.total() for row in rows) / len(rows)
    scores = []
    for row in rows:
        score = 0.0
        for term in dict.fromkeys(terms(query)):
            having = sum(1 for each in rows if term in each)
            idf = math.log(1 + (len(rows) - having + 0.5) / (having + 0.5))
            length = 1 - 0.75 + 0.75 * row.total() / mean if mean else 1.0
            score += idf * row[term] / (row[term] + 1.5 * length)
        scores.append(score)
    return scores


@given(st.lists(_TITLE, min_size=1, max_size=60), _TITLE, st.integers(1, 70))
def test_the_best_titles_are_those_of_the_formula(
    titles: list[str], query: str, depth: int
) -> None:
    expected = bm25(query, titles)
    found = TitleIndex(titles).best(query, depth).tolist()
    positive = [score for score in expected if score > 0]
    assert len(found) == min(depth, len(positive))
    best = sorted(positive, reverse=True)[: len(found)]
    np.testing.assert_allclose([expected[at] for at in found], best, rtol=1e-4)


def test_equal_scores_are_ordered_by_position_at_any_depth() -> None:
    index = TitleIndex(["red lamp", "steel hose"] * 500)
    for depth in (1, 7, 100, 499):
        assert index.best("hose", depth).tolist() == list(range(1, 2 * depth, 2))


def test_a_depth_gives_the_start_of_a_deeper_list() -> None:
    draw = np.random.default_rng(0)
    words = [f"w{number}" for number in range(40)]
    index = TitleIndex([" ".join(draw.choice(words, 8)) for _ in range(3000)])
    deep = index.best("w1 w2 w3", 3000).tolist()
    assert len(deep) > 1000
    for depth in (1, 5, 50, 500):
        assert index.best("w1 w2 w3", depth).tolist() == deep[:depth]


def test_plurals_case_and_forms_of_letters_make_no_difference() -> None:
    index = TitleIndex(["Angle BRACKETS", "Bracketing", "手机壳", "gas"])
    assert index.best("bracket", 9).tolist() == [0]
    assert index.best("ｂｒａｃｋｅｔｓ", 9).tolist() == [0]
    assert index.best("机", 9).tolist() == [2]
    assert index.best("ga", 9).tolist() == []


@pytest.mark.parametrize("text", ["", "!!!", "unknown"])
def test_nothing_is_near_a_text_without_known_words(text: str) -> None:
    assert TitleIndex(["red lamp", "..."]).best(text, 5).tolist() == []
    assert TitleIndex(["...", ""]).best(text, 5).tolist() == []
    assert TitleIndex(["red lamp"]).best("red", 0).tolist() == []


@given(st.integers(0, 300), st.integers(0, 40), st.integers(0, 2**32))
def test_ranks_are_distinct_ascending_and_in_range(count: int, wanted: int, seed: int) -> None:
    ranks = spread(count, wanted, np.random.default_rng(seed)).tolist()
    assert len(ranks) == min(count, wanted)
    assert ranks == sorted(set(ranks))
    assert all(0 <= rank < count for rank in ranks)


def test_ranks_are_dense_at_the_top_and_reach_the_bottom() -> None:
    draw = np.random.default_rng(1)
    ranks = np.array([spread(200, 10, draw) for _ in range(2000)])
    share = [(ranks < top).sum(axis=1).mean() / 10 for top in (10, 100)]
    # Strata borders grow by (201)^(1/10): ln(11) / ln(201) and ln(101) / ln(201) of them.
    np.testing.assert_allclose(
        share, [math.log(11) / math.log(201), math.log(101) / math.log(201)], atol=0.06
    )
    assert ranks[:, 0].max() == 0
    assert ranks.max() > 180


def test_neighbours_are_known_both_ways() -> None:
    near = {0: [2, 1], 3: [2], 4: []}
    found = Neighbours(((key, np.array(each, dtype=np.int64)) for key, each in near.items()), 5)
    assert found.near(0).tolist() == [2, 1]
    assert found.near(1).tolist() == []
    assert found.nearing(2).tolist() == [0, 3]
    assert found.nearing(1).tolist() == [0]
    assert found.nearing(4).tolist() == []
    assert Neighbours([], 3).near(2).tolist() == []


def test_an_index_is_built_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        TitleIndex(["red lamp", "steel hose"])
    assert not caplog.records
