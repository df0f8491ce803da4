"""Queries that are made: of the words of titles, as long as people's, and one change at a time."""

import csv
import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.pseudo_queries import QueryMaker, rewrite, words
from evaluation.judgments import split_of

HOME_DEPOT = Path(__file__).parents[3] / "shared" / "data" / "homedepot" / "train.csv.gz"

TITLES = [
    "Delta Vero 1-Handle Shower Only Faucet Trim Kit in Chrome (Valve Not Included)",
    "Lifetime 66 in. Folding Table with Steel Legs",
    "SPT 9,000 BTU Portable Air Conditioner with Remote",
    "Eastman 1/2 in. Outlet Stop Valve for Tub/Shower",
]


def test_words_of_a_title() -> None:
    assert words('SPT 9,000 BTU "Quiet" Tub/Shower 1/2 in. x 3 ft., Strong-Tie (2-Pack) #8') == [
        *("spt", "9000", "btu", "quiet", "tub", "shower", "1/2", "in", "x", "3", "ft"),
        *("strong-tie", "2-pack", "8"),
    ]
    assert words("华为手机壳 mate40 透明") == ["华为", "手机", "壳", "mate40", "透明"]
    assert words("... --- (!)") == []


@given(st.sampled_from(TITLES), st.integers(0, 2**32))
def test_a_query_is_made_of_the_titles_words(title: str, seed: int) -> None:
    made = QueryMaker(TITLES, []).make(title, np.random.default_rng(seed))
    foreign = [word for word in made.split() if word not in words(title)]
    assert made == made.lower()
    assert 1 <= len(made.split()) <= 7
    # One query in ten has a typing error or another number in one word.
    assert len(foreign) <= 1


def test_the_same_draw_makes_the_same_query_and_another_one_another() -> None:
    maker = QueryMaker(TITLES, ["shower faucet"])
    made = [maker.make(TITLES[0], np.random.default_rng(seed)) for seed in range(40)]
    assert made == [maker.make(TITLES[0], np.random.default_rng(seed)) for seed in range(40)]
    assert len(set(made)) > 20


def test_made_queries_are_as_long_as_known_ones_and_of_the_words_that_are_typed() -> None:
    titles = [f"brand{number % 7} soft round table with lamp and remote" for number in range(50)]
    maker = QueryMaker(titles, ["lamp", "table lamp", "round table"] * 20)
    draw = np.random.default_rng(3)
    made = [maker.make(title, draw) for title in titles * 20]
    lengths = Counter(len(query.split()) for query in made)
    assert set(lengths) <= {1, 2, 3}  # a change may leave one word less, never one more
    assert 0.25 < lengths[1] / len(made) < 0.42  # a third of the known ones, and of the changed
    typed = Counter(word for query in made for word in query.split())
    assert typed["lamp"] > 5 * typed["with"]
    assert typed["table"] > 5 * typed["remote"]


def test_a_number_stays_with_its_unit() -> None:
    maker = QueryMaker(TITLES, ["folding table legs"])
    draw = np.random.default_rng(0)
    made = [query.split() for query in (maker.make(TITLES[1], draw) for _ in range(300))]
    with_number = [query for query in made if "66" in query]
    assert with_number
    apart = [query for query in with_number if "in" not in query[query.index("66") + 1 :][:1]]
    assert len(apart) < 0.15 * len(with_number)  # only where a change dropped or moved one


def test_pieces_of_chinese_titles_are_joined_without_spaces() -> None:
    title = "华为手机壳透明防摔保护套 mate40"
    draw = np.random.default_rng(5)
    maker = QueryMaker([title], ["手机壳", "透明手机壳 mate40"])
    made = [maker.make(title, draw) for _ in range(100)]
    assert any(len(query) > 4 and " " not in query and query in title for query in made)
    assert not any("手机 壳" in query for query in made)


def test_nothing_is_made_of_a_title_without_words() -> None:
    assert QueryMaker(["..."], []).make("...", np.random.default_rng(0)) == ""
    assert QueryMaker([], []).make("red lamp", np.random.default_rng(0)) != ""


@given(st.text(st.sampled_from("abcs yzx12手机"), max_size=20), st.integers(0, 2**32))
def test_a_rewrite_changes_one_thing(query: str, seed: int) -> None:
    before = query.split()
    after = rewrite(query, np.random.default_rng(seed)).split()
    if not after:
        return
    assert after != before
    gone, come = Counter(before) - Counter(after), Counter(after) - Counter(before)
    if len(after) < len(before):
        assert (gone.total(), come.total()) == (1, 0)
    elif not gone:
        different = [
            at for at, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1
        ]
        assert len(different) == 2
        assert different[1] - different[0] == 1
    else:
        (old,), (new,) = gone, come
        assert old[0] == new[0]
        assert abs(len(old) - len(new)) <= 3  # "-y" and "-ies" differ by three letters


def test_every_kind_of_rewrite_comes() -> None:
    draw = np.random.default_rng(0)
    made = {rewrite("garden hose reel", draw) for _ in range(300)}
    assert {"garden hose", "hose garden reel", "gardens hose reel", "garden hoses reel"} <= made
    assert any(query.startswith("garde") and "garden" not in query for query in made)
    plurals = {rewrite(word, draw) for word in ["battery", "boxes", "glass", "brushes"] * 50}
    assert {"batteries", "boxe", "glasses", "brushe"} <= plurals


@pytest.mark.parametrize("query", ["", "12", "手机"])
def test_what_can_not_be_changed_is_left_out(query: str) -> None:
    assert rewrite(query, np.random.default_rng(0)) == ""


@pytest.mark.skipif(not HOME_DEPOT.exists(), reason="needs the Home Depot data in ../shared/data")
def test_made_queries_look_like_those_of_home_depots_shoppers() -> None:
    with gzip.open(HOME_DEPOT, "rt", encoding="latin-1") as file:
        rows = list(csv.DictReader(file))
    titles = sorted({row["product_title"] for row in rows})
    asked = sorted({row["search_term"] for row in rows})
    known = [query for query in asked if split_of(query) == "train"]
    held_out = [query for query in asked if split_of(query) != "train"]
    draw = np.random.default_rng(0)
    maker = QueryMaker(titles, known)
    made = [maker.make(titles[at], draw) for at in draw.choice(len(titles), 5000)]

    lengths = [
        np.bincount([min(9, len(q.split())) for q in each], minlength=10) / len(each)
        for each in (made, held_out)
    ]
    assert np.abs(lengths[0] - lengths[1]).sum() / 2 < 0.08
    assert abs(np.mean([len(q) for q in made]) - np.mean([len(q) for q in held_out])) < 2
    digits = [np.mean([any(c.isdigit() for c in q) for q in each]) for each in (made, held_out)]
    assert abs(digits[0] - digits[1]) < 0.05
    # Nearer to the words of unseen queries than titles are, by most of the way to known queries.
    far, made_far, least = (
        _divergence(each, held_out) for each in (titles[::9], made, known[:5000])
    )
    assert made_far < far - 0.6 * (far - least)


def _divergence(queries: list[str], others: list[str]) -> float:
    """Jensen-Shannon divergence of the words of two lists of texts, in bits."""
    counts = [
        Counter(word for text in texts for word in words(text)) for texts in (queries, others)
    ]
    shares = [
        np.array([count[word] for word in {*counts[0], *counts[1]}]) / count.total()
        for count in counts
    ]
    mean = (shares[0] + shares[1]) / 2
    return float(
        sum((share[share > 0] * np.log2((share / mean)[share > 0])).sum() / 2 for share in shares)
    )
