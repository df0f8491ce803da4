"""Pairs -> checkpoint -> bundle -> vectors -> figures, through the commands a team would type."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"


def winnow(folder: Path, *arguments: str) -> str:
    """Runs a command that must succeed; its standard output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), "WINNOW_BUNDLES": str(folder / "bundles")},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_pairs(path: Path, split: str, titles: dict[str, str], most: int) -> None:
    """Judgements of the shop as training pairs."""
    with (
        (SHOP / f"judgments.{split}.csv").open(encoding="utf-8", newline="") as judged,
        path.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["query", "title", "target"])
        for row, _ in zip(csv.DictReader(judged), range(most), strict=False):
            writer.writerow([row["query"], titles[row["product_id"]], float(row["relevance"]) / 3])


def test_from_pairs_to_figures(tmp_path: Path) -> None:
    with (SHOP / "products.csv").open(encoding="utf-8", newline="") as file:
        titles = {row["product_id"]: row["title"] for row in csv.DictReader(file)}
    write_pairs(tmp_path / "pairs.csv", "train", titles, most=3_000)
    write_pairs(tmp_path / "valid.csv", "valid", titles, most=1_500)
    trained = winnow(
        tmp_path,
        *("train", "--student", "bert2dnn", "--pairs", "pairs.csv", "--validation", "valid.csv"),
        *("--out", "checkpoint", "--epochs", "4", "--minimum-frequency", "4", "--json"),
    )
    assert json.loads(trained)[0]["number"] == 1
    judged = (
        "--judgments",
        str(SHOP / "judgments.test.csv"),
        "--products",
        str(SHOP / "products.csv"),
    )
    manifest = json.loads(
        winnow(
            tmp_path,
            *("export", "checkpoint", "--name", "mine", "--pairs", "valid.csv", "--json"),
            *("--dataset", "shop", "--split", "test", *judged),
        )
    )
    assert {entry["graph"] for entry in manifest["parity"]} == {"query", "product", "head"}
    assert manifest["calibration"]["fitted_on"].startswith("valid.csv")
    assert manifest["thresholds"]["default"] <= manifest["thresholds"]["price"]
    store = ("--store", f"lmdb:{tmp_path / 'rows'}")
    catalogue = str(SHOP / "products.csv")
    reject = ("--reject-file", str(tmp_path / "rejects.jsonl"))
    winnow(tmp_path, "index", catalogue, "--model", "mine@1", *store, *reject)
    winnow(tmp_path, "models", "activate", "mine", "1", *store)
    torch_auc = json.loads(winnow(tmp_path, "evaluate", "--checkpoint", "checkpoint", *judged))
    exact = ("--model", "mine", "--precision", "float32")
    bundle_auc = json.loads(winnow(tmp_path, "evaluate", *exact, *judged))
    assert bundle_auc["roc_auc"] == pytest.approx(torch_auc["roc_auc"], abs=1e-3)
    served_auc = json.loads(winnow(tmp_path, "evaluate", "--model", "mine", *judged))
    assert manifest["metrics"][0]["roc_auc"] == pytest.approx(served_auc["roc_auc"], abs=1e-6)
    assert served_auc["roc_auc"] == pytest.approx(torch_auc["roc_auc"], abs=2e-3)
