"""Pairs files that are read, pairs files that are refused, and the split by query."""

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.judgments import split_of
from export.errors import PairsRefused
from export.pairs import PairColumns, Pairs, check_apart, read_pairs, split_by_query

CSV = 'query,title,target\nusb cable,"USB cable, 2 m",0.9\n手机壳,红色手机壳,1\n'


def test_reads_every_format_alike(tmp_path: Path) -> None:
    lines = [
        '{"query": "usb cable", "title": "USB cable, 2 m", "target": 0.9}',
        '{"query": "手机壳", "title": "红色手机壳", "target": 1}',
    ]
    (tmp_path / "a.csv").write_text(CSV, encoding="utf-8")
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with gzip.open(tmp_path / "a.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("query\ttitle\ttarget\nusb cable\tUSB cable, 2 m\t0.9\n手机壳\t红色手机壳\t1\n")
    for name in ("a.csv", "a.jsonl", "a.tsv.gz"):
        pairs = read_pairs(tmp_path / name, PairColumns())
        assert pairs.queries == ["usb cable", "手机壳"]
        assert pairs.titles == ["USB cable, 2 m", "红色手机壳"]
        assert pairs.targets.tolist() == pytest.approx([0.9, 1.0])
        assert pairs.labels.tolist() == [True, True]
        assert pairs.source == name
        assert len(pairs.sha256) == 64


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("search_term,product_title,relevance\na,b,0.25\n", encoding="utf-8")
    columns = PairColumns("search_term", "product_title", "relevance")
    assert read_pairs(path, columns).targets.tolist() == [0.25]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("a,b,3", r"a\.csv, line 3: expected 'target' from 0 to 1 .*got 3: rescale"),
        ("a,b,-0.1", "line 3: expected 'target' from 0 to 1"),
        ("a,b,nan", "line 3: expected a number in 'target', got 'nan'"),
        ("a,b,high", "line 3: expected a number in 'target', got 'high'"),
        ("a,b", "line 3: expected 3 fields, got 2"),
        (",b,1", "line 3: expected text in 'query'"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, expected: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"query,title,target\na,b,1\n{row}\n", encoding="utf-8")
    with pytest.raises(PairsRefused, match=expected):
        read_pairs(path, PairColumns())


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"query,title,target\n", "expected at least one pair"),
        ("a.csv", b"query,title,grade\na,b,1\n", "no column 'target'"),
        ("a.csv", b"query,title,target\ncaf\xe9,b,1\n", "not text in utf-8"),
        ("a.xlsx", b"PK", "expected a name ending in"),
        ("a.csv.gz", b"query,title,target\n", "can't be read"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PairsRefused, match=expected):
        read_pairs(tmp_path / name, PairColumns())


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PairsRefused, match="can't be read"):
        read_pairs(tmp_path / "none.csv", PairColumns())


def test_the_split_separates_queries_and_leaves_test_queries_out(pairs: Pairs) -> None:
    train, valid = split_by_query(pairs)
    assert not set(train.queries) & set(valid.queries)
    assert {split_of(query) for query in train.queries} == {"train"}
    assert {split_of(query) for query in valid.queries} == {"valid"}
    assert len(train) + len(valid) < len(pairs)
    target_of = dict(zip(zip(pairs.queries, pairs.titles, strict=True), pairs.targets, strict=True))
    for query, title, target in zip(train.queries, train.titles, train.targets, strict=True):
        assert target_of[query, title] == target


def test_validation_pairs_of_a_learned_query_are_refused(pairs: Pairs) -> None:
    train, valid = split_by_query(pairs)
    check_apart(train, valid)
    shouted = replace(valid, queries=[train.queries[0].upper(), *valid.queries[1:]])
    with pytest.raises(PairsRefused, match=f"got '{train.queries[0].upper()}', which stands in"):
        check_apart(train, shouted)
