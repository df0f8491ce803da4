"""Catalogues, judgements and queries as the page takes them."""

import gzip
import json
from pathlib import Path

import pytest

from evaluation.errors import InputFileError
from playground.products import (
    Product,
    image_origins,
    read_grades,
    read_products,
    read_queries,
)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["c.csv", "c.csv.gz"])
def test_columns_that_are_there(tmp_path: Path, name: str) -> None:
    text = "product_id,title,sales,image,price\n7,Tent,12,https://i.example/7.jpg,9.5\n8,Lamp,,,\n"
    assert read_products(written(tmp_path, name, text)) == [
        Product("7", "Tent", 9.5, 12.0, "https://i.example/7.jpg"),
        Product("8", "Lamp", None, None, None),
    ]


def test_id_and_title_are_enough(tmp_path: Path) -> None:
    rows = [{"product_id": 7, "title": "Tent"}, {"product_id": "8", "title": "帐篷", "price": None}]
    text = "\n".join(map(json.dumps, rows))
    assert read_products(written(tmp_path, "c.jsonl", text)) == [
        Product("7", "Tent", None, None, None),
        Product("8", "帐篷", None, None, None),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("7,Tent,cheap,", "line 2: expected a number in 'price', got 'cheap'"),
        ("7,,1,", "line 2: expected text in 'title', got ''"),
        ("7,Tent,1,ftp://i.example/7.jpg", "expected an http or https URL in 'image'"),
        ("7,Tent,1,7.jpg", "expected an http or https URL in 'image'"),
        ("7,Tent,1,https://i.example; script-src */x", "expected an http or https URL in 'image'"),
        ("7,Tent,1,https://'unsafe-inline'/x", "expected an http or https URL in 'image'"),
        ("7,Tent,1,https:///x", "expected an http or https URL in 'image'"),
        ("7,Tent", "line 2: expected 4 fields, got 2"),
        ("", "expected products, found none"),
    ],
)
def test_a_malformed_field_is_told_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path, "c.csv", f"product_id,title,price,image\n{line}\n")
    with pytest.raises(InputFileError) as refused:
        read_products(path)
    assert said in str(refused.value)


def test_pictures_come_from_the_servers_that_the_catalogue_names() -> None:
    images = ["https://b.example:8443/1", "https://a.example/1", "https://a.example/2", None]
    products = [Product("p", "t", None, None, image) for image in images]
    assert image_origins(products) == ["https://a.example", "https://b.example:8443"]


def test_grades_by_query_however_it_is_spelt(tmp_path: Path) -> None:
    text = "query,product_id,relevance\nRed  Tent,p1,3\nred tent,p2,0\nlamp,p1,1\n"
    grades, queries = read_grades(written(tmp_path, "j.csv", text))
    assert grades == {"red tent": {"p1": 3.0, "p2": 0.0}, "lamp": {"p1": 1.0}}
    assert queries == ["Red  Tent", "lamp"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("q.txt", "tent\n\nred lamp \ntent\n"), ("q.csv", "query\ntent\nred lamp\n")],
)
def test_queries_once_each_in_order(tmp_path: Path, name: str, text: str) -> None:
    assert read_queries(written(tmp_path, name, text)) == ["tent", "red lamp"]


def test_queries_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputFileError, match="can't be read"):
        read_queries(tmp_path / "q.txt")
