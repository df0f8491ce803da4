"""Baselines against formulas written out here."""

import math
import sys

import pytest

from evaluation.baselines import baseline_scores, bm25, tfidf_cosine, word_overlap, words
from evaluation.errors import LibraryMissing

CATALOGUE = ["steel bracket", "steel door handle", "red steel steel door", "garden hose 25 ft"]


def test_words_fold_case_plurals_and_widths() -> None:
    assert words("Steel BRACKETS, gas 2.5mm") == ["steel", "bracket", "gas", "2.5", "mm"]
    assert words("glass bus 跑步鞋") == ["glass", "bus", "跑", "步", "鞋"]
    assert words("!!") == []


def test_overlap_is_the_share_of_the_query_that_the_title_has() -> None:
    queries = ["steel brackets", "steel steel red", "hose", "!!"]
    titles = ["Steel bracket kit", "steel door", "garden", "garden"]
    assert word_overlap(queries, titles).tolist() == [1.0, 0.5, 0.0, 0.0]


def test_tfidf_is_the_cosine_of_weighted_counts() -> None:
    idf = {
        word: math.log((1 + 4) / (1 + sum(word in words(title) for title in CATALOGUE))) + 1
        for word in ("steel", "door", "red", "unheard")
    }

    def vector(counts: dict[str, int]) -> dict[str, float]:
        return {word: count * idf[word] for word, count in counts.items()}

    a = vector({"steel": 1, "door": 1, "unheard": 1})
    b = vector({"red": 1, "steel": 2, "door": 1})
    dot = sum(a[word] * b[word] for word in ("steel", "door"))
    cosine = dot / (math.hypot(*a.values()) * math.hypot(*b.values()))
    got = tfidf_cosine(["steel door unheard", "hose", ""], [CATALOGUE[2]] * 3, CATALOGUE)
    assert got.tolist() == pytest.approx([cosine, 0.0, 0.0])
    assert tfidf_cosine([CATALOGUE[0]], [CATALOGUE[0]], CATALOGUE)[0] == pytest.approx(1)


def by_hand(query: str, title: str, corpus: list[str]) -> float:
    """Lucene's BM25 with k1 = 1.5 and b = 0.75."""
    texts = [words(text) for text in corpus]
    average = sum(map(len, texts)) / len(texts)
    own = words(title)
    score = 0.0
    for word in words(query):
        holding = sum(word in text for text in texts)
        idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        times = own.count(word)
        score += idf * times / (times + 1.5 * (1 - 0.75 + 0.75 * len(own) / average))
    return score


def test_bm25_is_lucenes_formula_over_the_catalogue() -> None:
    queries = ["steel doors", "steel steel", "hose 25", "unheard", "!!", "pipe"]
    titles = [CATALOGUE[2], CATALOGUE[1], CATALOGUE[3], CATALOGUE[0], CATALOGUE[0], "copper pipe"]
    corpus = [*CATALOGUE, "copper pipe"]  # a judged title that the catalogue lacks is added
    expected = [by_hand(*pair, corpus) for pair in zip(queries, titles, strict=True)]
    got = bm25(queries, titles, CATALOGUE)
    assert got.tolist() == pytest.approx(expected, abs=1e-6)
    assert expected[3:5] == [0.0, 0.0]
    assert bm25(["a"], ["!!"], [""]).tolist() == [0.0]


def test_a_title_said_twice_counts_once() -> None:
    once = bm25(["steel"], [CATALOGUE[0]], CATALOGUE)
    assert bm25(["steel"], [CATALOGUE[0]], CATALOGUE * 3).tolist() == once.tolist()


def test_every_name_is_its_scorer() -> None:
    pair = (["steel door"], ["red steel steel door"], CATALOGUE)
    assert baseline_scores("overlap", *pair).tolist() == [1.0]
    assert baseline_scores("tfidf", *pair).tolist() == tfidf_cosine(*pair).tolist()
    assert baseline_scores("bm25", *pair).tolist() == bm25(*pair).tolist()


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(LibraryMissing, match=r"bm25s: pip install 'winnow-relevance\[train\]'"):
        bm25(["a"], ["a"], [])
