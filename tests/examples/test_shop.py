"""The example shop: what is committed is what its script makes, and holds together."""

import csv
import hashlib
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

SHOP = Path(__file__).parents[2] / "examples" / "shop"
SPLITS = ("train", "valid", "test")
FILES = ["products.csv", "queries.csv", *[f"judgments.{split}.csv" for split in SPLITS]]

Table = list[dict[str, str]]


def table(name: str) -> Table:
    with (SHOP / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def products() -> Table:
    return table("products.csv")


@pytest.fixture(scope="module")
def queries() -> Table:
    return table("queries.csv")


@pytest.fixture(scope="module")
def judgments() -> dict[str, Table]:
    return {split: table(f"judgments.{split}.csv") for split in SPLITS}


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_the_script_makes_the_committed_bytes(tmp_path: Path, hash_seed: str) -> None:
    subprocess.run(
        [sys.executable, SHOP / "make_shop.py", "--out", tmp_path / "new" / "shop"],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    made = {path.name: path.read_bytes() for path in (tmp_path / "new" / "shop").iterdir()}
    assert sorted(made) == sorted(FILES)
    for name, content in made.items():
        assert content == (SHOP / name).read_bytes(), f"{name}: run examples/shop/make_shop.py"


def test_products(products: Table) -> None:
    assert list(products[0]) == ["product_id", "title", "brand", "category", "price", "sales"]
    assert 2_500 <= len(products) <= 3_500
    assert len({p["product_id"] for p in products}) == len(products)
    assert len({p["title"] for p in products}) == len(products)
    assert len({p["category"] for p in products}) == 10
    assert all(float(p["price"]) > 0 and int(p["sales"]) > 0 for p in products)
    chinese = sum(any("\u4e00" <= c <= "\u9fff" for c in p["title"]) for p in products)
    assert 0.2 < chinese / len(products) < 0.32


def test_queries_are_unique_after_normalisation(queries: Table) -> None:
    assert 280 <= len(queries) <= 350
    assert len({q["query_id"] for q in queries}) == len(queries)
    assert len({" ".join(q["query"].lower().split()) for q in queries}) == len(queries)
    chinese = sum(any("\u4e00" <= c <= "\u9fff" for c in q["query"]) for q in queries)
    assert 0.15 < chinese / len(queries) < 0.3


def test_every_judged_product_and_query_exists(
    products: Table, queries: Table, judgments: dict[str, Table]
) -> None:
    known = {p["product_id"] for p in products}
    asked = {q["query_id"]: q["query"] for q in queries}
    rows = [row for split in SPLITS for row in judgments[split]]
    assert {row["product_id"] for row in rows} <= known
    assert {row["query_id"]: row["query"] for row in rows} == asked
    assert len({(row["query_id"], row["product_id"]) for row in rows}) == len(rows)


def test_every_judgement_is_in_the_split_of_its_query(judgments: dict[str, Table]) -> None:
    for split, rows in judgments.items():
        for query in {row["query"] for row in rows}:
            key = " ".join(query.lower().split())
            bucket = int(hashlib.sha1(f"split-v1:{key}".encode()).hexdigest(), 16) % 100
            assert split == ("test" if bucket < 15 else "valid" if bucket < 25 else "train")


@pytest.mark.parametrize("split", SPLITS)
def test_shares_and_counts(judgments: dict[str, Table], split: str) -> None:
    rows = judgments[split]
    assert {row["relevance"] for row in rows} == {"0", "1", "2", "3"}
    relevant = sum(int(row["relevance"]) >= 2 for row in rows) / len(rows)
    assert 0.35 < relevant < 0.47
    per_query: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        per_query[row["query_id"]].append(int(row["relevance"]))
    least = {"train": 220, "valid": 25, "test": 40}[split]
    assert len(per_query) >= least
    for grades in per_query.values():
        assert 40 <= len(grades) <= 60
        assert max(grades) >= 2
        assert min(grades) == 0


def test_a_brand_in_the_query_is_a_brand_in_every_relevant_product(
    products: Table, judgments: dict[str, Table]
) -> None:
    brand = {p["product_id"]: p["brand"].lower() for p in products}
    brands = set(brand.values())
    # Beside a phone's model, a brand is the maker of the phone that an accessory fits.
    models = {"x7", "x9", "m3", "m5", "z1", "z2"}
    branded = [
        (row, asked)
        for rows in judgments.values()
        for row in rows
        if (asked := brands & (words := set(row["query"].split()))) and not words & models
    ]
    assert branded
    for row, asked in branded:
        if int(row["relevance"]) >= 2:
            assert {brand[row["product_id"]]} == asked, row


def test_all_files_are_small() -> None:
    assert sum(path.stat().st_size for path in SHOP.iterdir() if path.is_file()) < 2_000_000


def test_what_the_readme_says_is_so(
    products: Table, queries: Table, judgments: dict[str, Table]
) -> None:
    text = (SHOP / "README.md").read_text("utf-8")
    pairs = sum(len(rows) for rows in judgments.values())
    assert f"{len(products):,} products, {len(queries)} queries and {pairs:,} graded" in text
    for split, rows in judgments.items():
        asked = len({row["query_id"] for row in rows})
        share = sum(int(row["relevance"]) >= 2 for row in rows) / len(rows)
        assert f"| {split} | {asked} | {len(rows):,} | {share:.1%} |".replace("%", " %") in text
