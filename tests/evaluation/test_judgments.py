"""Judgement files in every form they come in, and what is said of those that can't be used."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.errors import InputFileError
from evaluation.judgments import JudgmentColumns, ProductFile, read_judgments, split_of
from evaluation.tables import ENCODING, rows

SHOP = Path(__file__).parents[2] / "examples" / "shop"
PAIRS = [
    ("red shoes", "p1", 'Shoe, red, 15.6" "wide"', 3.0),
    ("跑步鞋 男", "p2", "臻木 跑步鞋\t男", 0.0),
    ("red shoes", "p3", "Laces", 1.5),
]
NAMES = ("query", "product_id", "title", "relevance")


def delimited(separator: str) -> str:
    def field(value: object) -> str:
        return '"' + str(value).replace('"', '""') + '"'

    lines = [NAMES, *PAIRS]
    return "".join(separator.join(map(field, line)) + "\r\n" for line in lines)


def jsonl() -> str:
    lines = [json.dumps(dict(zip(NAMES, pair, strict=True))) for pair in PAIRS]
    return "\n\n".join(lines) + "\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write_file(name: str, text: str, encoding: str = "utf-8") -> Path:
        content = text.encode(encoding)
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write_file


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "text"),
    [("j.csv", delimited(",")), ("j.TSV", delimited("\t")), ("j.jsonl", jsonl())],
)
def test_every_form_reads_the_same(
    write: Callable[[str, str], Path], name: str, text: str, ending: str
) -> None:
    got = read_judgments(write(name + ending, text), relevant_from=1.5)
    assert list(zip(got.queries, got.product_ids, got.titles, got.relevance, strict=True)) == PAIRS
    assert got.labels.tolist() == [True, False, True]
    assert got.labels.dtype == np.bool_
    assert (len(got), got.unknown_products) == (3, {})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_encodings(write: Callable[[str, str, str], Path], encoding: str) -> None:
    path = write("j.csv", delimited(","), encoding)
    named = ENCODING if encoding.startswith("utf-8") else encoding
    assert read_judgments(path, relevant_from=1, encoding=named).queries[1] == "跑步鞋 男"


def test_own_column_names_and_no_ids(write: Callable[[str, str], Path]) -> None:
    path = write("j.tsv", "q\tname\tgrade\textra\nred shoes\tShoe\t4\tx\n")
    columns = JudgmentColumns(query="q", title="name", relevance="grade")
    got = read_judgments(path, relevant_from=4, columns=columns)
    assert (got.queries, got.product_ids, got.titles) == (["red shoes"], [""], ["Shoe"])


def test_titles_are_joined_and_unknown_products_counted(write: Callable[[str, str], Path]) -> None:
    path = write("j.csv", "query,product_id,relevance\na,1,3\na,2,0\nb,9,1\nc,9,1\nc,1,0\n")
    products = write("p.jsonl", '{"id": 1, "name": "One"}\n{"id": 2, "name": "Two"}\n{"id": 3}\n')
    got = read_judgments(
        path, relevant_from=2, products=ProductFile(products, product_id="id", title="name")
    )
    assert got.queries == ["a", "a", "c"]
    assert got.titles == ["One", "Two", "One"]
    assert got.relevance.tolist() == [3, 0, 0]
    assert got.unknown_products == {"b": 1, "c": 1}


HEADER = "query,product_id,title,relevance\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("j.parquet", "", r"j.parquet: expected a name ending in .csv, .tsv, .jsonl or .*gz"),
        ("j.csv", "", "expected a header"),
        ("j.csv", HEADER, "expected judgements, got none"),
        ("j.csv", "query,query\na,b\n", "distinct columns"),
        ("j.csv", HEADER + "a,p,t\n", "j.csv, line 2: expected 4 fields, got 3"),
        ("j.csv", HEADER + '"a\nb",p,t,1\na,p,t,1,9\n', "line 4: expected 4 fields, got 5"),
        ("j.csv", HEADER + 'a,p,"t"x,1\n', "line 2: .*expected after"),
        ("j.csv", HEADER + 'a,p,"t,1\n', "j.csv, line 2: unexpected end"),
        ("j.csv", HEADER + "a,p,t,good\n", "line 2: expected a number in 'relevance', got 'good'"),
        ("j.csv", HEADER + "a,p,t,nan\n", "expected a number"),
        ("j.csv", HEADER + " ,p,t,1\n", "expected text in 'query', got ' '"),
        ("j.csv", HEADER + "a,,t,1\n", "expected text in 'product_id'"),
        ("j.csv", HEADER + "a,p,,1\n", "expected text in 'title'"),
        ("j.csv", "query,title,grade\na,t,1\n", "no column 'relevance', only 'query'.*say which"),
        ("j.csv", "query,product_id,relevance\na,p,1\n", "no column 'title'.*products' file"),
        ("j.jsonl", "{\n", "j.jsonl, line 1: not JSON"),
        ("j.jsonl", "\n[1]\n", "line 2: expected an object, got list"),
        ("j.jsonl", '{"query": true, "title": "t", "relevance": 1}', "expected text in 'query'"),
        ("j.jsonl", '{"query": "a", "title": "t", "relevance": true}', "expected a number"),
        ("j.jsonl", '{"query": "a", "title": "t", "relevance": NaN}', "expected a number"),
        ("j.jsonl", '{"query": "a", "title": "t", "relevance": null}', "got None"),
        (
            "j.jsonl",
            '{"query": "a \\ud83d", "title": "t", "relevance": 1}',
            r"line 1: expected whole characters, got half of a surrogate pair, \\ud83d",
        ),
        ("j.jsonl", '{"query": "a", "title": "t", "relevance": 1%s}' % ("0" * 400), "a number"),
    ],
)
def test_files_that_are_refused(
    write: Callable[[str, str], Path], name: str, text: str, message: str
) -> None:
    with pytest.raises(InputFileError, match=message):
        read_judgments(write(name, text), relevant_from=1)


def test_files_that_cannot_be_read(tmp_path: Path, write: Callable[[str, str, str], Path]) -> None:
    with pytest.raises(InputFileError, match="No such file"):
        read_judgments(tmp_path / "none.csv", relevant_from=1)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputFileError, match="Is a directory"):
        read_judgments(tmp_path / "folder.csv", relevant_from=1)
    with pytest.raises(InputFileError, match="not text in utf-8-sig: give its encoding"):
        read_judgments(write("j.csv", delimited(","), "gb18030"), relevant_from=1)
    with pytest.raises(InputFileError, match="'utf-99' is no encoding"):
        read_judgments(write("j.csv", "", "utf-8"), relevant_from=1, encoding="utf-99")


@pytest.mark.parametrize("damage", [lambda b: b[:-12], lambda b: b[:-8] + b"\0" * 8])
def test_damaged_gzip(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "j.csv.gz"
    path.write_bytes(damage(gzip.compress(delimited(",").encode(), mtime=0)))
    with pytest.raises(InputFileError, match="can't be read"):
        read_judgments(path, relevant_from=1)
    path.write_bytes(b"plain text")
    with pytest.raises(InputFileError, match="can't be read: Not a gzipped file"):
        read_judgments(path, relevant_from=1)


def test_products_that_are_refused(write: Callable[[str, str], Path]) -> None:
    path = write("j.csv", "query,product_id,relevance\na,1,3\n")
    twice = write("p.csv", "product_id,title\n1,One\n2,x\n2,y\n1,One\n1,Other\n")
    with pytest.raises(InputFileError, match="line 6: product '1' has a second title 'Other'"):
        read_judgments(path, relevant_from=1, products=ProductFile(twice))
    others = write("others.csv", "product_id,title\n7,Seven\n")
    with pytest.raises(InputFileError, match="1 are of products that the product file lacks"):
        read_judgments(path, relevant_from=1, products=ProductFile(others))
    with pytest.raises(InputFileError, match="no column 'sku'"):
        read_judgments(path, relevant_from=1, products=ProductFile(others, product_id="sku"))


def test_the_threshold_must_be_a_number(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="finite grade"):
        read_judgments(tmp_path / "j.csv", relevant_from=float("nan"))


def test_rows_are_read_as_they_are_asked_for(write: Callable[[str, str], Path]) -> None:
    first = next(iter(rows(write("p.csv", "a\n1\n\n2,3\n"))))
    assert (first.place, first.fields) == ("p.csv, line 2", {"a": "1"})


@pytest.mark.parametrize(
    ("query", "split"),
    [("yoga mat", "train"), ("耳机", "train"), ("coffee filter", "valid"), ("phone", "test")],
)
def test_known_splits(query: str, split: str) -> None:
    assert split_of(query) == split


@given(st.text(max_size=20))
def test_split_sees_neither_case_nor_extra_space(query: str) -> None:
    lowered = query.lower()
    assert split_of(f"  {lowered}\t") == split_of(lowered) == split_of(query)
    assert split_of("\u3000".join(f"{query} x".split(" "))) == split_of(f"{query} x")


def test_the_pairs_of_one_split(write: Callable[[str, str], Path]) -> None:
    path = write(
        "j.csv", HEADER + "phone,1,Phone,3\ntent,2,Tent,1\nyoga mat,3,Mat,0\nphone,4,Tent,0\n"
    )
    every = read_judgments(path, relevant_from=1)
    test = every.of_split("test")
    assert (test.queries, test.product_ids) == (["phone", "tent", "phone"], ["1", "2", "4"])
    assert test.titles == ["Phone", "Tent", "Tent"]
    assert test.labels.tolist() == [True, True, False]
    assert len(every.of_split("valid")) == 0


def test_unknown_products_are_those_of_the_split(write: Callable[[str, str], Path]) -> None:
    path = write(
        "j.csv",
        "query,product_id,relevance\nphone,1,3\nphone,8,1\nPhone,9,1\nyoga mat,1,0\n"
        "yoga mat,9,0\nyoga mat,8,0\ntent,9,1\ncoffee filter,1,1\n",
    )
    products = ProductFile(write("p.csv", "product_id,title\n1,One\n"))
    every = read_judgments(path, relevant_from=1, products=products)
    assert every.unknown_products == {"phone": 1, "Phone": 1, "yoga mat": 2, "tent": 1}
    test = every.of_split("test")
    assert (test.queries, test.unknown_products) == (["phone"], {"phone": 1, "Phone": 1, "tent": 1})
    assert every.of_split("train").unknown_products == {"yoga mat": 2}
    assert every.of_split("valid").unknown_products == {}
    nothing = test.take(np.array([], dtype=np.intp))
    assert (len(nothing), nothing.unknown_products) == (0, test.unknown_products)


def test_split_shares() -> None:
    splits = [split_of(f"query {n}") for n in range(20_000)]
    assert splits.count("test") / len(splits) == pytest.approx(0.15, abs=0.01)
    assert splits.count("valid") / len(splits) == pytest.approx(0.10, abs=0.01)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_the_example_shop(split: str) -> None:
    got = read_judgments(
        SHOP / f"judgments.{split}.csv",
        relevant_from=2,
        products=ProductFile(SHOP / "products.csv"),
    )
    assert {split_of(query) for query in got.queries} == {split}
    assert got.unknown_products == {}
    assert 0.35 < got.labels.mean() < 0.47
