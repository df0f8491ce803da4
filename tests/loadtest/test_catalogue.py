"""The synthetic catalogue: the same bytes by the same seed, titles like a shop's."""

import csv
from itertools import islice
from pathlib import Path

import pytest

from loadtest.catalogue import products, queries, write_catalogue
from loadtest.traffic import read_ids


def test_the_seed_decides_the_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        write_catalogue(tmp_path / name, 12_345, seed)  # not a whole number of blocks
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()
    assert len(set(read_ids(tmp_path / "a"))) == 12_345
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_rows(tmp_path: Path) -> None:
    write_catalogue(tmp_path / "c.csv", 2_000, 7)
    with (tmp_path / "c.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lengths = {len(row["title"].split()) for row in rows}
    assert (min(lengths), max(lengths)) == (4, 12)
    assert len({row["title"] for row in rows}) == 2_000
    assert all(float(row["price"]) > 0 and int(row["sales"]) >= 0 for row in rows)


def test_a_catalogue_streams() -> None:
    assert len(list(islice(products(10**12, 7), 10))) == 10


def test_queries() -> None:
    drawn = queries(5_000, 7)
    assert drawn == queries(5_000, 7) != queries(5_000, 8)
    assert len(set(drawn)) == 5_000
    assert {len(query.split()) for query in drawn} <= set(range(2, 7))
    with pytest.raises(ValueError, match="expected 1 to"):
        queries(10**9, 7)
