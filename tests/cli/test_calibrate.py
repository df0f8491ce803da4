"""`winnow calibrate`, and what `winnow evaluate` says beside a student's own figures."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from model_store.bundle import open_bundle
from model_store.manifest import Calibration, Manifest
from model_store.registry import DEFAULT_ROOT, bundle_folder, find
from model_store.student import OnnxStudent
from tests.command import winnow

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
NAME = "shop-bert2dnn"
VALID = ("--judgments", str(SHOP / "judgments.valid.csv"))
TEST = ("--judgments", str(SHOP / "judgments.test.csv"))
PRODUCTS = ("--products", str(SHOP / "products.csv"))
QUICK = ("--bootstrap", "100")


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """A registry of one student."""
    shutil.copytree(DEFAULT_ROOT / NAME, tmp_path / "bundles" / NAME)
    return tmp_path / "bundles"


def calibrate(
    bundles: Path, *arguments: str, judgments: tuple[str, ...] = VALID
) -> "subprocess.CompletedProcess[str]":
    return winnow(
        *("calibrate", "--model", NAME, *judgments, *PRODUCTS, *QUICK, *arguments),
        bundles=bundles,
    )


def versions(bundles: Path) -> list[str]:
    return find(bundles, NAME).versions


def manifest(bundles: Path, version: str) -> Manifest:
    return open_bundle(bundle_folder(bundles, NAME, version)).manifest


def test_a_new_version_has_the_scale_the_thresholds_and_the_same_rows(bundles: Path) -> None:
    (old,) = versions(bundles)
    targets = ("--default", "recall=0.95", "--sale", "keep=0.5", "--price", "precision=0.75")
    shown = calibrate(bundles, *targets, "--relevant-from", "3", "--json")
    assert shown.returncode == 0, shown.stderr
    document = json.loads(shown.stdout)
    new = document["published"]
    assert versions(bundles) == [old, new]
    assert find(bundles, NAME).current == old
    before, after = manifest(bundles, old), manifest(bundles, new)
    assert after.vector_fingerprint == before.vector_fingerprint == document["vector_fingerprint"]
    assert after.bundle_fingerprint != before.bundle_fingerprint
    assert after.calibration == Calibration(
        slope=document["slope"],
        intercept=document["intercept"],
        fitted_on="judgments.valid.csv, split valid, relevant from 3 (1403 pairs)",
    )
    assert after.calibration.slope != before.calibration.slope
    assert after.thresholds.by_sort() == {
        point["sort"]: point["threshold"] for point in document["points"]
    }
    assert after.thresholds.chosen_on.endswith(
        "default recall=0.95, sale keep=0.5, price precision=0.75"
    )
    assert (after.metrics, after.parity) == (before.metrics, before.parity)

    folder = bundle_folder(bundles, NAME, new)
    evaluated = winnow(
        *("evaluate", "--model", f"{NAME}@{new}", *VALID, *PRODUCTS, *QUICK, "--json"),
        *("--relevant-from", "3"),
        bundles=bundles,
    )
    figures = json.loads(evaluated.stdout)
    assert figures["recall"] >= 0.95  # on the pairs that chose the threshold
    assert figures["threshold"] == OnnxStudent.load(folder).manifest.thresholds.default


def test_people_see_losses_thresholds_and_what_comes_next(bundles: Path) -> None:
    shown = calibrate(bundles, "--version", "tuned")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == ""
    for expected in (
        *("1,403 pairs of 30 queries", "log loss, nats", "Brier score", "after, held out"),
        *("recall=0.99", "recall=0.95", "recall=0.9", "relevant lost, of 1,000 pairs"),
        *("vector fingerprint", f"winnow models activate {NAME} tuned --store STORE"),
    ):
        assert expected in shown.stderr, expected
    assert "tuned" in versions(bundles)
    again = calibrate(bundles, "--version", "tuned")
    assert again.returncode == 1
    assert again.stderr.startswith(f"error: {NAME} tuned is published already")


def test_a_dry_run_reports_and_publishes_nothing(bundles: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="reports need the extra plot")
    before = versions(bundles)
    report = tmp_path / "report"
    shown = calibrate(bundles, "--dry-run", "--json", "--report", str(report))
    assert shown.returncode == 0, shown.stderr
    document = json.loads(shown.stdout)
    assert (document["published"], document["missed_targets"]) == (None, [])
    assert "nothing was published" in shown.stderr
    assert versions(bundles) == before
    assert sorted(path.name for path in report.iterdir()) == [
        *("reliability.png", "report.json", "report.md", "thresholds.png"),
    ]
    text = (report / "report.md").read_text(encoding="utf-8")
    document = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert document["points"] == json.loads(shown.stdout)["points"]
    assert document["data_sha256"] in text
    assert "| sort mode | default | sale | price |" in text


def without_separation(bundles: Path, *arguments: str, judgments: tuple[str, ...] = VALID) -> str:
    before = versions(bundles)
    ended = calibrate(bundles, *arguments, judgments=judgments)
    assert ended.returncode == 1
    assert versions(bundles) == before
    reason = ended.stderr.strip().splitlines()[-1]
    assert reason.startswith("error: no clean separation: ")
    return reason


def test_without_a_clean_separation_nothing_is_written(bundles: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    reason = without_separation(bundles, "--price", "precision=0.99", "--report", str(report))
    assert "precision=0.99 is reached at no threshold; the best precision is" in reason
    assert not report.exists()

    shuffled = tmp_path / "shuffled.csv"
    with (SHOP / "judgments.valid.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    grades = np.random.default_rng(0).permutation([row["relevance"] for row in rows])
    with shuffled.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {**row, "relevance": grade} for row, grade in zip(rows, grades, strict=True)
        )
    reason = without_separation(bundles, judgments=("--judgments", str(shuffled)))
    assert "is not surely above 0.5" in reason


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--price", "recall=2"), "expected a target such as recall=0.99"),
        (("--split", "train"), "no query of split train: with a split of your own take all"),
        (("--folds", "31"), "31 folds and 30 queries"),
        (("--report", str(SHOP)), "expected a new folder, or an earlier report"),
    ],
)
def test_errors_are_one_line_and_exit_code_1(
    bundles: Path, arguments: tuple[str, ...], expected: str
) -> None:
    before = versions(bundles)
    ended = calibrate(bundles, *arguments)
    assert ended.returncode == 1
    reason = ended.stderr.strip().splitlines()[-1]
    assert reason.startswith("error: ")
    assert expected in reason
    assert versions(bundles) == before


def evaluate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return winnow("evaluate", "--model", NAME, *TEST, *PRODUCTS, *QUICK, *arguments)


def test_evaluate_compares_with_a_teacher_others_and_baselines(tmp_path: Path) -> None:
    scores = tmp_path / "reprbert.npy"
    saved = winnow(
        *("evaluate", "--model", "shop-reprbert", *TEST, *PRODUCTS, *QUICK, "--json"),
        *("--save-scores", str(scores)),
    )
    assert saved.returncode == 0, saved.stderr
    teacher = json.loads(saved.stdout)
    shown = evaluate(
        *("--teacher-scores", str(scores), "--compare", f"again[/]={scores}"),
        *("--baseline", "overlap", "--slices", "--seed", "3"),
    )
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    names = [entry["scorer"] for entry in found["scorers"]]
    assert names == [NAME, "teacher", "again[/]", "overlap"]
    student, taught, again, overlap = found["scorers"]
    assert student["figures"] == found["intervals"]
    assert student["figures"]["roc_auc"]["value"] == pytest.approx(found["roc_auc"])
    assert taught["figures"]["roc_auc"]["value"] == pytest.approx(teacher["roc_auc"])
    assert student["ratio"]["roc_auc"]["value"] == pytest.approx(
        found["roc_auc"] / teacher["roc_auc"]
    )
    assert again["ratio"]["roc_auc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert overlap["difference"]["roc_auc"]["high"] < 0
    assert overlap["reliability"] is None
    assert [entry["student"] for entry in found["agreement"]] == [NAME, "again[/]"]
    assert found["agreement"][1]["pearson"]["value"] == pytest.approx(1)
    assert (found["resamples"], found["seed"]) == (100, 3)
    kinds = {entry["kind"] for entry in found["slices"]}
    assert kinds == {"query by judged pairs", "query length", "title length"}
    for expected in (
        "95 % interval",
        "again[/]",
        "over teacher",
        f"less {NAME}",
        "against the teacher's",
    ):
        assert expected in shown.stderr


def test_intervals_are_of_the_pairs_of_the_figures(tmp_path: Path) -> None:
    """Another scorer that lacks pairs takes them from the comparison, not from the student."""
    scores = np.linspace(0, 1, 2245, dtype=np.float32)
    scores[1000:] = np.nan
    np.save(tmp_path / "half.npy", scores)
    shown = evaluate("--compare", f"half={tmp_path / 'half.npy'}", "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert (found["pairs"], found["scored_by_all"], found["intervals"]) == (2245, 1000, None)
    assert found["scorers"][0]["figures"]["roc_auc"]["value"] != found["roc_auc"]


def test_grades_without_a_gain_are_refused_at_once(tmp_path: Path) -> None:
    judged = tmp_path / "judged.csv"
    judged.write_text("query,title,relevance\ntent,Tent,1\ntent,Lamp,-1\n", encoding="utf-8")
    ended = winnow(
        *("evaluate", "--model", "absent", "--judgments", judged, "--relevant-from", "1")
    )
    assert ended.returncode == 1
    assert "expected grades from 0 to 60" in ended.stderr


def test_evaluate_writes_a_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="reports need the extra plot")
    counts = tmp_path / "counts.csv"
    counts.write_text("query,count\nlightweight exercise mat,100\n", encoding="utf-8")
    report = tmp_path / "report"
    shown = evaluate(
        *("--report", str(report), "--train-queries", str(SHOP / "judgments.train.csv")),
        *("--query-counts", str(counts), "--json"),
    )
    assert shown.returncode == 0, shown.stderr
    document = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert document["slices"] == json.loads(shown.stdout)["slices"]
    by_name = {(entry["kind"], entry["name"]): entry for entry in document["slices"]}
    assert by_name["query", "seen in training"]["pairs"] == 0
    assert by_name["query", "unseen"]["pairs"] == document["pairs"]
    assert by_name["query by frequency", "head"]["queries"] == 1
    assert document["command"].startswith("winnow evaluate --model shop-bert2dnn")
    assert (report / "roc.png").exists()


def test_files_of_queries_are_read_as_the_judgements_are(tmp_path: Path) -> None:
    """In their encoding, and in the column of their name."""
    judged, train, counts = (tmp_path / f"{name}.csv" for name in ("judged", "train", "counts"))
    rows = "search,title,relevance\n帐篷,红色帐篷,3\n灯,红色帐篷,0\n"
    judged.write_text(rows, encoding="gb18030")
    train.write_text("search\n灯\n", encoding="gb18030")
    counts.write_text("search,count\n帐篷,9\n", encoding="gb18030")
    shown = winnow(
        *("evaluate", "--model", NAME, "--judgments", judged, *QUICK, "--json"),
        *("--query-column", "search", "--encoding", "gb18030"),
        *("--train-queries", train, "--query-counts", counts),
    )
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)["slices"]
    by_name = {(entry["kind"], entry["name"]): entry["pairs"] for entry in found}
    assert by_name["query", "seen in training"] == by_name["query", "unseen"] == 1
    assert by_name["query by frequency", "head"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("--baseline", "lucene"), 2, "expected --baseline overlap, tfidf, bm25, got 'lucene'"),
        (("--compare", "nothing"), 2, "expected --compare NAME=FILE"),
        (("--compare", "teacher=x.npy"), 2, "'teacher' is taken"),
        (("--compare", "bm25=x.npy", "--baseline", "bm25"), 2, "'bm25' is taken"),
        (("--compare", f"{NAME}=x.npy"), 2, f"'{NAME}' is taken"),
        (("--url", "http://127.0.0.1:9", "--precision", "int8"), 2, "--precision is of a bundle"),
        (("--api-key-file", str(SHOP / "shop.toml")), 2, "give its --url too"),
        (("--url", "http://127.0.0.1:80a"), 1, "expected the URL of a service"),
        (("--seed", "-1"), 2, "'--seed'"),
        (("--relevant-from", "nan"), 2, "expected a finite number, got nan"),
        (("--threshold", "inf"), 2, "expected a finite number, got inf"),
        (("--save-scores", "scores.txt"), 1, "scores are written as .npy"),
        (("--split", "valid"), 1, "judgments.test.csv: no query of split valid"),
        (("--bootstrap", "10"), 2, "'--bootstrap'"),
        (("--compare", "a=absent.npy"), 1, "absent.npy: can't be read"),
        (("--report", str(SHOP)), 1, "expected a new folder, or an earlier report"),
    ],
)
def test_evaluate_refuses(arguments: tuple[str, ...], code: int, expected: str) -> None:
    ended = evaluate(*arguments)
    assert ended.returncode == code
    assert expected in " ".join(ended.stderr.replace("│", " ").split())
