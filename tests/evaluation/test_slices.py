"""Which pair lies in which slice, and what is said of small ones."""

from pathlib import Path

import numpy as np
import pytest

from evaluation import metrics
from evaluation.errors import InputFileError
from evaluation.judgments import Judgments
from evaluation.slices import Slice, read_frequencies, read_queries, slices


def judged(queries: list[str], titles: list[str] | None = None) -> Judgments:
    """Pairs whose every second is relevant."""
    return Judgments(
        queries=queries,
        product_ids=[""] * len(queries),
        titles=titles or ["a title"] * len(queries),
        relevance=(np.arange(len(queries)) % 2).astype(np.float64),
        relevant_from=1,
        unknown_products={},
    )


def found(
    pairs: Judgments,
    *,
    train_queries: frozenset[str] | None = None,
    frequencies: dict[str, float] | None = None,
) -> dict[tuple[str, str], Slice]:
    scores = np.random.default_rng(0).random(len(pairs)).astype(np.float32)
    entries = slices(
        pairs,
        {"student": scores},
        train_queries=train_queries,
        frequencies=frequencies,
        resamples=50,
        seed=0,
    )
    return {(entry.kind, entry.name): entry for entry in entries}


def test_seen_and_unseen_by_the_key_of_a_query() -> None:
    pairs = judged([f"Query  {number}" for number in range(40)] * 4)
    got = found(pairs, train_queries=frozenset(f"query {number}" for number in range(25)))
    seen, unseen = got["query", "seen in training"], got["query", "unseen"]
    assert (seen.queries, seen.pairs, unseen.queries, unseen.pairs) == (25, 100, 15, 60)
    scores = np.random.default_rng(0).random(160).astype(np.float32)
    inside = np.arange(160) % 40 < 25
    figure = seen.roc_auc["student"]
    assert figure is not None
    assert figure.value == pytest.approx(metrics.roc_auc(pairs.labels[inside], scores[inside]))
    assert seen.note == ""
    assert ("query", "unseen") not in found(pairs)


def test_head_has_half_of_all_frequency() -> None:
    pairs = judged([f"q{number}" for number in range(30)] * 4)
    counts = {f"q{number}": float(number) for number in range(30)} | {"Q99": 1e9}
    got = found(pairs, frequencies=counts)
    head, tail = got["query by frequency", "head"], got["query by frequency", "tail"]
    total, taken, number = sum(range(30)), 0, 30
    while taken < total / 2:
        number -= 1
        taken += number
    assert (head.queries, tail.queries) == (30 - number, number)
    assert got["query by frequency", "tail"].pairs == 4 * number


def test_equally_frequent_queries_stay_together_and_unknown_ones_are_tail() -> None:
    pairs = judged([f"q{number}" for number in range(20)] * 4)
    got = found(pairs, frequencies={f"q{number}": 7.0 for number in range(12)})
    assert got["query by frequency", "head"].queries == 12
    assert got["query by frequency", "tail"].queries == 8
    none = found(pairs, frequencies={"else": 1.0})
    assert none["query by frequency", "head"].pairs == 0
    assert none["query by frequency", "head"].negative_share is None


def test_without_frequencies_judged_pairs_count_and_the_slice_says_so() -> None:
    pairs = judged(["often"] * 50 + [f"q{number}" for number in range(49)])
    got = found(pairs)
    assert got["query by judged pairs", "head"].queries == 1
    assert got["query by judged pairs", "tail"].pairs == 49


def test_lengths_in_words_and_chinese_characters() -> None:
    queries = ["tent"] * 10 + ["跑步鞋"] * 10 + ["a b c d e f g"] * 10 + ["!!"] * 10
    titles = ["one two three four five"] * 20 + ["一二三四五六七八九十一二三四五六"] * 20
    got = found(judged(queries, titles))
    pairs = {name: got["query length", name].pairs for name in ("1", "2", "3", "4", "5 or more")}
    assert pairs == {"1": 20, "2": 0, "3": 10, "4": 0, "5 or more": 10}
    assert got["title length", "1 to 5"].pairs == 20
    assert got["title length", "16 to 20"].pairs == 20


def test_too_few_is_said_in_place_of_a_number() -> None:
    one_class = judged([f"q{pair // 2}" for pair in range(100)])
    one_class.relevance[:] = 1
    few_queries = judged([f"q{pair % 9}" for pair in range(400)])
    few_pairs = judged([f"q{pair}" for pair in range(38)])
    enough = judged([f"q{pair}" for pair in range(40)])
    notes = [
        found(pairs)["query by judged pairs", "head"].note
        for pairs in (one_class, few_queries, few_pairs, enough)
    ]
    assert notes == ["too few", "too few", "too few", ""]
    assert found(few_pairs)["query by judged pairs", "head"].roc_auc == {"student": None}


def test_query_and_count_files(tmp_path: Path) -> None:
    lines = tmp_path / "queries.txt"
    lines.write_text("Red  Shoes\n\ntent\n", encoding="utf-8")
    table = tmp_path / "pairs.csv"
    table.write_text("query,title\nTENT,x\nred shoes,y\ntent,z\n", encoding="utf-8")
    assert read_queries(lines) == read_queries(table) == {"red shoes", "tent"}
    counts = tmp_path / "counts.tsv"
    counts.write_text("query\tcount\ntent\t3\nTent\t4.5\nü\t0\n", encoding="utf-8")
    assert read_frequencies(counts) == {"tent": 7.5, "ü": 0.0}
    counts.write_bytes("search\tcount\n帐篷\t2\n".encode("gb18030"))
    assert read_frequencies(counts, "search", "gb18030") == {"帐篷": 2.0}
    counts.write_text("query\tcount\ntent\t-1\n", encoding="utf-8")
    with pytest.raises(InputFileError, match="line 2: expected a count from 0 up, got -1"):
        read_frequencies(counts)
    lines.write_text("\n \n", encoding="utf-8")
    with pytest.raises(InputFileError, match="expected queries, got none"):
        read_queries(lines)
    with pytest.raises(InputFileError, match="can't be read"):
        read_queries(tmp_path / "absent.txt")
