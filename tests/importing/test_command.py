"""`winnow import` as a person meets it, and what follows it: index and evaluate."""

import json
from pathlib import Path

from tests.command import winnow

HERE = Path(__file__).parent
NAME = "shop-deepdot"


def test_a_published_set_is_imported_indexed_and_evaluated(tmp_path: Path) -> None:
    out, store = tmp_path / "shop", f"lmdb:{tmp_path / 'rows'}"
    done = winnow("import", "wands", str(HERE / "wands"), "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts == json.loads((out / "import.json").read_text(encoding="utf-8"))
    assert "6 products, 4 queries, 10 judgements, 4 of them relevant (2 or more)" in done.stderr
    assert f"winnow index {out}/catalogue.csv.gz --model NAME" in done.stderr
    catalogue, judgments = str(out / "catalogue.csv.gz"), str(out / "judgments.csv")
    indexed = winnow("index", catalogue, "--model", NAME, "--store", store, "--json")
    assert indexed.returncode == 0, indexed.stderr
    report = json.loads(indexed.stdout)
    assert (report["products"], report["rejected"], report["live"]) == (6, 0, True)
    evaluated = winnow(
        *("evaluate", "--model", NAME, "--judgments", judgments, "--products", catalogue),
        *("--relevant-from", "2", "--bootstrap", "100", "--json"),
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert '"pairs": 10' in evaluated.stdout


def test_tables_of_ones_own_with_columns_and_grades_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("sku,name,price\n1,Red shoe,9.99\n2,Belt,4\n")
    (tmp_path / "j.csv").write_text("q,sku,grade,part\nshoes,1,good,train\nshoes,2,bad,test\n")
    options = [
        *("--products", str(tmp_path / "p.csv"), "--id-column", "sku", "--title-column", "name"),
        *("--query-column", "q", "--relevance-column", "grade", "--split-column", "part"),
        *("--other-column", "price", "--grade", "good=3", "--grade", "bad=0"),
    ]
    out = str(tmp_path / "out")
    done = winnow("import", "csv", str(tmp_path / "j.csv"), "--out", out, *options, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["relevance"] == {"0": 1, "3": 1}
    assert f"{out}/judgments.test.csv" in done.stderr
    assert (tmp_path / "out" / "pairs.csv").read_text() == (
        "query,title,target,relevance\nshoes,Red shoe,1,3\n"
    )


def test_what_can_not_be_imported_is_one_line(tmp_path: Path) -> None:
    refused = winnow("import", "homedepot", str(tmp_path), "--out", str(tmp_path / "out"))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {tmp_path}: expected train.csv there")
    assert refused.stderr.count("\n") == 1
    (tmp_path / "j.csv").write_text("query,product_id,relevance\n")
    usage = winnow(
        *("import", "csv", str(tmp_path / "j.csv"), "--out", str(tmp_path / "out")),
        *("--grade", "good"),
    )
    assert usage.returncode == 2
    assert "NAME=NUMBER" in usage.stderr
