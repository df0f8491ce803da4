"""`winnow transfer` as a person and a script meet it."""

import csv
import json
from pathlib import Path

import pytest

from distill.transfer_inputs import loose_key
from evaluation.judgments import split_of
from evaluation.tables import rows
from loadtest.catalogue import products, queries
from tests.cli.test_cli import winnow


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """Options that name a catalogue of 300 products and 40 queries."""
    with (tmp_path / "products.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("sku", "name", "price", "sales"))
        writer.writerows(products(300, 7))
    (tmp_path / "queries.txt").write_text("\n".join(queries(40, 7)), encoding="utf-8")
    return [
        *("--products", str(tmp_path / "products.csv"), "--id-column", "sku"),
        *("--title-column", "name", "--queries", str(tmp_path / "queries.txt")),
    ]


def test_a_set_is_written_counted_and_refused_a_second_time(
    inputs: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "transfer.csv.gz"
    arguments = ("transfer", *inputs, "--pseudo-queries", "30", "--out", str(out))
    dry = winnow(*arguments, "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert not out.exists()
    ran = winnow(*arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    found = [row.fields for row in rows(out)]
    assert sum(report["pairs"].values()) == len(found) > 500
    assert report["pairs"] == json.loads(dry.stdout)["pairs"]
    assert {split_of(str(row["query"])) for row in found} == {"train"}
    assert "that are held out are left out" in ran.stderr
    again = winnow(*arguments)
    assert again.returncode == 1
    assert "error: " in again.stderr
    assert "exists already" in again.stderr


@pytest.mark.parametrize("columns", [("shown", "clicked", "ordered"), ("views", "hits", "sold")])
def test_a_set_from_logs(inputs: list[str], tmp_path: Path, columns: tuple[str, ...]) -> None:
    log = tmp_path / "log.csv"
    names = ("--shown-column", "--clicked-column", "--ordered-column")
    query = next(query for query in queries(40, 7) if split_of(query) == "train")
    log.write_text(
        f"query,sku,{','.join(columns)}\n"
        f"{query},p0000001,9,2,1\n{query},p0000002,25,0,0\n{query},p0000003,25,1,0\n"
    )
    out = tmp_path / "transfer.csv"
    ran = winnow(
        *("transfer", *inputs[:6], "--logs", str(log), "--behaviour", "ordered"),
        *("--out", str(out), "--json"),
        *(part for option in zip(names, columns, strict=True) for part in option),
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["pairs"] == {"ordered": 1, "shown": 1}
    found = [(row.text("source"), row.fields["behaviour"]) for row in rows(out)]
    assert sorted(found) == [("ordered", "1"), ("shown", "")]


def test_queries_of_a_split_of_ones_own_are_held_out_too(inputs: list[str], tmp_path: Path) -> None:
    """Neither they nor what is made of their words is in a set, of queries or of a log."""
    of_rule = [query for query in queries(40, 7) if split_of(query) == "train"]
    kept_apart, rest = of_rule[:10], of_rule[10:]
    (tmp_path / "test.csv").write_text(
        "query,sku,relevance\n" + "".join(f"{query.upper()},p0000001,1\n" for query in kept_apart)
    )
    log = tmp_path / "log.csv"
    log.write_text(
        "query,sku,shown,clicked,ordered\n"
        + "".join(f"{query},p0000001,9,2,1\n" for query in of_rule)
    )
    for name, options in (
        ("made.csv", [*inputs, "--rewrites", "2", "--pseudo-queries", "200"]),
        ("logged.csv", [*inputs[:6], "--logs", str(log)]),
    ):
        out = tmp_path / name
        held_out = str(tmp_path / "test.csv")
        ran = winnow("transfer", *options, "--held-out", held_out, "--out", str(out))
        assert ran.returncode == 0, ran.stderr
        taken = {loose_key(row.text("query")) for row in rows(out)}
        assert not taken & {loose_key(query) for query in kept_apart}
        assert {loose_key(query) for query in rest} <= taken


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--rule", "wide"], "--rule is for pairs from --logs"),
        (["--clicked-column", "hits"], "--clicked-column is for pairs from --logs"),
        (["--logs", "x.csv"], "--queries is for pairs made from queries"),
    ],
)
def test_options_that_say_nothing_are_refused(
    inputs: list[str], tmp_path: Path, options: list[str], text: str
) -> None:
    ran = winnow("transfer", *inputs, "--out", str(tmp_path / "set.csv"), *options)
    assert ran.returncode == 2
    assert text in " ".join(ran.stderr.replace("│", " ").split())
