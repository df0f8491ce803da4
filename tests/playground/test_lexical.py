"""Candidates by shared words."""

import pytest

from playground.lexical import Lexical

TITLES = [
    "Red Running Shoes",
    "Running Shoe Laces, Red and White and very long",
    "红色 跑步鞋",
    "Blue Running Socks",
    "Coffee Filters",
]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("red running shoes", [0, 1, 3]),  # more words first, then the shorter title
        ("RED", [0, 1]),
        ("shoe", [0, 1]),  # plurals are folded
        ("跑鞋", [2]),  # Chinese by character
        ("coffee coffee coffee", [4]),
        ("tent", []),
        ("!?", []),
    ],
)
def test_titles_that_share_words_best_first(query: str, found: list[int]) -> None:
    assert Lexical(TITLES).best(query, 10).tolist() == found


def test_no_more_than_asked_for_and_the_best_of_them() -> None:
    assert Lexical(TITLES).best("red running shoes", 1).tolist() == [0]


def test_a_rare_word_counts_for_more_than_a_common_one() -> None:
    titles = ["Tent Green", *["Tent Blue"] * 20, "Lamp Green"]
    assert set(Lexical(titles).best("green tent", 2).tolist()) == {0, 21}


def test_equal_titles_keep_the_order_of_the_catalogue() -> None:
    assert Lexical(["Tent"] * 50).best("tent", 50).tolist() == list(range(50))


def test_titles_without_words() -> None:
    assert Lexical(["!", "?"]).best("tent", 5).tolist() == []
