"""The `winnow` command as a person and a script meet it: output, exit codes, one-line errors."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.bundle import open_bundle, revise
from model_store.registry import DEFAULT_ROOT, bundle_folder, find

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
NAME = "shop-bert2dnn"


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """A registry of one student with versions 2 (active) and 3 (other vectors are not needed)."""
    shutil.copytree(DEFAULT_ROOT / NAME, tmp_path / "bundles" / NAME)
    revise(bundle_folder(tmp_path / "bundles", NAME), tmp_path / "bundles", {"version": "3"})
    return tmp_path / "bundles"


@pytest.fixture
def store(tmp_path: Path) -> str:
    """URL of an LMDB store that is not there yet."""
    return f"lmdb:{tmp_path / 'rows'}"


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """The first 300 products of the shop, two bad lines and a duplicate, gzipped."""
    lines = (SHOP / "products.csv").read_text(encoding="utf-8").splitlines(keepends=True)[:301]
    path = tmp_path / "catalogue.csv.gz"
    bad = [",no id,x,x,1,1\n", "p9999,,x,x,1,1\n", lines[1]]
    path.write_bytes(gzip.compress("".join([*lines, *bad]).encode()))
    return path


def winnow(*arguments: str, bundles: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Runs the command; standard output is for machines, standard error for people."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    settings = {} if bundles is None else {"WINNOW_BUNDLES": str(bundles)}
    return subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_help_names_the_commands_and_loads_nothing_heavy() -> None:
    shown = winnow("--help")
    assert shown.returncode == 0
    for command in ("train", "export", "models", "index", "sets", "serve", "evaluate"):
        assert command in shown.stdout
    probe = (
        "import sys, cli.main; heavy = ('torch', 'onnxruntime', 'fastapi', 'redis', 'lmdb'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert loaded.stdout.strip() == "[]"


def test_a_dry_run_projects_and_writes_nothing(
    bundles: Path, store: str, catalogue: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    shown = winnow(
        "index", str(catalogue), "--model", NAME, "--store", store, "--dry-run", bundles=bundles
    )
    assert shown.returncode == 0, shown.stderr
    assert "301 products x 140 bytes" in shown.stderr
    assert "2 bad lines" in shown.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_index_shows_rejects_and_switches(bundles: Path, store: str, catalogue: Path) -> None:
    command = ("index", str(catalogue), "--model", NAME, "--store", store, "--json")
    shown = winnow(*command, bundles=bundles)
    assert shown.returncode == 0, shown.stderr
    report = json.loads(shown.stdout)
    assert (report["products"], report["rejected"], report["duplicates"]) == (300, 2, 1)
    assert report["live"] is True
    rejects = Path(report["reject_file"]).read_text(encoding="utf-8").splitlines()
    assert len(rejects) == 3
    assert "duplicate" in shown.stderr
    again = json.loads(winnow(*command, "--only-changed", bundles=bundles).stdout)
    assert (again["copied"], again["encoded"]) == (300, 0)
    assert again["previous_live"] == report["set_id"]
    listed = json.loads(winnow("sets", "list", "--store", store, "--json").stdout)
    assert [(entry["set_id"], entry["live"]) for entry in listed] == [
        (report["set_id"], False),
        (again["set_id"], True),
    ]
    assert winnow("sets", "verify", again["set_id"], "--store", store).returncode == 0
    back = winnow("sets", "rollback", again["set_id"][:8], "--store", store)
    assert f"{report['set_id']} is live again" in back.stderr
    gone = winnow("sets", "gc", "--store", store, "--keep", "1")
    assert "0 sets dropped" in gone.stderr  # one is live, the other is the newest


def test_index_queries(store: str, tmp_path: Path) -> None:
    path = tmp_path / "queries.txt"
    path.write_text("red shoes\n\ntent\nred shoes\n", encoding="utf-8")
    command = ("index", "--queries", str(path), "--model", NAME, "--store", store)
    dry = winnow(*command, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "3 queries x 4108 bytes" in dry.stderr
    shown = winnow(*command, "--json")
    assert shown.returncode == 0, shown.stderr
    report = json.loads(shown.stdout)
    assert (report["queries"], report["rejected"], report["duplicates"]) == (2, 1, 1)
    assert "1 rows repeated a query" in shown.stderr
    (bad,) = Path(report["reject_file"]).read_text(encoding="utf-8").splitlines()
    assert json.loads(bad) == {"line": 2, "reason": "empty query", "text": ""}
    listed = winnow("sets", "list", "--store", store, "--json")
    (entry,) = json.loads(listed.stdout)
    assert (entry["holds"], entry["dtype"], entry["count"]) == ("queries", "float32", 2)
    assert "queries" in winnow("sets", "list", "--store", store).stderr
    verified = winnow("sets", "verify", report["set_id"], "--store", store)
    assert "2 rows, all whole" in verified.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "expected one of CATALOGUE and --queries FILE, got neither"),
        (("a.csv", "--queries", "b.txt"), "got both (a.csv and b.txt)"),
        (("--queries", "b.txt", "--id-column", "sku"), "--id-column is for a catalogue"),
        (("a.csv", "--query-column", "q"), "--query-column is for queries"),
        (("a.csv", "--text-column", "t"), "--text-column is for queries"),
    ],
)
def test_index_takes_one_file_and_its_options(
    store: str, arguments: tuple[str, ...], expected: str
) -> None:
    ended = winnow("index", *arguments, "--model", NAME, "--store", store)
    assert ended.returncode == 2
    assert expected in " ".join(ended.stderr.replace("│", " ").split())


def test_a_version_is_activated_only_where_its_vectors_are(
    bundles: Path, store: str, catalogue: Path
) -> None:
    refused = winnow("models", "activate", NAME, "3", "--store", store, bundles=bundles)
    assert refused.returncode == 1
    assert "no LMDB store" in refused.stderr
    winnow("index", str(catalogue), "--model", f"{NAME}@3", "--store", store, bundles=bundles)
    done = winnow("models", "activate", NAME, "3", "--store", store, bundles=bundles)
    assert done.returncode == 0, done.stderr
    assert find(bundles, NAME).current == "3"
    back = winnow("models", "rollback", NAME, "--store", store, bundles=bundles)
    assert back.returncode == 0, back.stderr
    assert find(bundles, NAME).current == "1"


def test_a_version_whose_vectors_are_of_another_student_is_refused(
    store: str, catalogue: Path
) -> None:
    winnow("index", str(catalogue), "--model", "shop-deepdot", "--store", store)
    refused = winnow("models", "activate", NAME, "1", "--store", store)
    assert refused.returncode == 1
    fingerprint = open_bundle(bundle_folder(DEFAULT_ROOT, NAME)).manifest.vector_fingerprint
    assert f"no live vector set with fingerprint {fingerprint[:8]}" in refused.stderr


def test_models_list_show_and_verify(bundles: Path) -> None:
    listed = json.loads(winnow("models", "list", "--json", bundles=bundles).stdout)
    assert [(entry["version"], entry["active"]) for entry in listed] == [("1", True), ("3", False)]
    assert NAME in winnow("models", "list", bundles=bundles).stderr
    manifest = json.loads(winnow("models", "show", NAME, bundles=bundles).stdout)
    assert manifest["student"] == "bert2dnn"
    assert winnow("models", "verify", NAME, bundles=bundles).returncode == 0
    head = bundle_folder(bundles, NAME) / "head.onnx"
    head.write_bytes(head.read_bytes()[:-1])
    broken = winnow("models", "verify", NAME, bundles=bundles)
    assert broken.returncode == 1
    assert broken.stderr.startswith("error: 1/head.onnx: expected")


def test_evaluate_prints_json_and_a_table() -> None:
    shown = winnow(
        *("evaluate", "--model", NAME, "--judgments", str(SHOP / "judgments.test.csv")),
        *("--products", str(SHOP / "products.csv")),
    )
    assert shown.returncode == 0, shown.stderr
    figures = json.loads(shown.stdout)
    published = open_bundle(bundle_folder(DEFAULT_ROOT, NAME)).manifest.metrics[0]
    assert figures["roc_auc"] == pytest.approx(published.roc_auc, abs=1e-6)
    assert figures["neg_pr_auc"] == pytest.approx(published.neg_pr_auc, abs=1e-6)
    assert figures["pairs"] == published.pairs
    assert "neg_pr_auc" in shown.stderr


def test_evaluate_reads_titles_inline(tmp_path: Path) -> None:
    path = tmp_path / "judged.tsv"
    rows = ["q\tt\tgrade", "tent\tOrbiva tent\t3", "tent\tphone case\t0", "ü\t杯子\t0"]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    columns = ("--query-column", "q", "--title-column", "t", "--relevance-column", "grade")
    shown = winnow("evaluate", "--model", NAME, "--judgments", str(path), *columns)
    assert json.loads(shown.stdout)["pairs"] == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("models", "show", "nobody"), "error: no student named 'nobody'"),
        (("sets", "list", "--store", "ftp://x"), "error: expected a store URL"),
        (("index", "absent.csv", "--model", NAME, "--store", "lmdb:x"), "error: absent.csv"),
        (("evaluate", "--model", NAME, "--judgments", "absent.csv"), "error: absent.csv"),
    ],
)
def test_errors_are_one_line_and_exit_code_1(arguments: tuple[str, ...], expected: str) -> None:
    ended = winnow(*arguments)
    assert ended.returncode == 1
    assert ended.stderr.startswith(expected)
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("index",),
        ("evaluate", "--judgments", "x.csv"),
        ("evaluate", "--judgments", "x.csv", "--model", NAME, "--precision", "int4"),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    assert winnow(*arguments).returncode == 2
