"""`winnow pretrain`, `winnow teach` and `winnow teacher` as a person and a script meet them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from distill.errors import TrainingRefused
from distill.graded_pairs import Grades, parse_grades, read_graded_pairs
from distill.stack import stacked_probability
from distill.teacher import load_teacher, read_description
from distill.teacher_onnx import OnnxTeacher
from evaluation.judgments import split_of
from evaluation.metrics import roc_auc
from export.errors import PairsRefused
from export.pairs import PairColumns, Pairs
from tests.command import winnow
from tests.distill.families import write_encoder
from tests.distill.learnable import learnable_pairs, write_learner

GRADES = ("--grades", "1:3", "--relevant-from", "2.33", "--target-column", "relevance")


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Pairs that a teacher learns something from."""
    return learnable_pairs()


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, pairs: Pairs) -> Path:
    """Judgements as a shop has them: grades 1, 2, 2.33 and 3, relevant from 2.33."""
    path = tmp_path_factory.mktemp("judged") / "judged.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "title", "relevance"])
        for query, title, target in zip(pairs.queries, pairs.titles, pairs.targets, strict=True):
            grade = (1, 2, 2.33, 3)[np.searchsorted((0.2, 0.5, 0.8), target)]
            writer.writerow([query, title, grade])
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, pairs: Pairs) -> Path:
    folder = tmp_path_factory.mktemp("encoders") / "bert"
    return write_encoder("bert", folder, [*pairs.queries, *pairs.titles])


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, pairs: Pairs, judged: Path) -> Path:
    """A teacher that the command taught."""
    out = tmp_path_factory.mktemp("taught") / "teacher"
    encoder = write_learner(pairs, out.with_name("encoder"))
    rates = ("--learning-rate", "3e-3", "--head-learning-rate", "3e-3")
    told = ("--epochs", "4", "--device", "cpu", "--json")
    done = winnow(
        *("teach", "--encoder", encoder, "--pairs", judged, "--out", out), *GRADES, *rates, *told
    )
    assert done.returncode == 0, done.stderr
    epochs = json.loads(done.stdout)
    assert [each["epoch"] for each in epochs] == [1, 2, 3, 4]
    best = max(epochs, key=lambda each: each["roc_auc"])
    assert best["best"]
    assert read_description(out).training["validation_roc_auc"] == best["roc_auc"]
    assert "validation ROC-AUC" in done.stderr
    return out


def test_teach_learns_the_grades_of_its_split(taught: Path, judged: Path) -> None:
    facts = read_description(taught).training
    with judged.open(encoding="utf-8", newline="") as file:
        splits = [split_of(row["query"]) for row in csv.DictReader(file)]
    assert facts["pairs"] == splits.count("train")
    assert facts["validation_pairs"] == splits.count("valid")
    assert facts["relevant_from"] == pytest.approx(0.665)


def test_score_writes_what_evaluate_reads(taught: Path, judged: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.npy"
    told = ("--judgments", judged, "--relevant-from", "2.33", "--split", "test", "--json")
    done = winnow("teacher", "score", taught, taught, *told, "--device", "cpu", "--out", out)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    pairs = read_graded_pairs(judged, PairColumns(target="relevance"), Grades(1, 3))
    test = pairs.take(np.flatnonzero([split_of(query) == "test" for query in pairs.queries]))
    logits = load_teacher(taught, "cpu").logits(test.queries, test.titles)
    scores = np.load(out)
    np.testing.assert_allclose(scores, stacked_probability([logits]), atol=1e-6)
    auc = roc_auc(test.targets >= 0.665, logits)
    assert figures["stacked"]["roc_auc"] == pytest.approx(auc, abs=1e-4)
    assert figures[str(taught)]["pairs"] == len(test)


def test_convert_keeps_the_teacher(taught: Path, judged: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8"
    told = ("--pairs", judged, "--split", "valid", "--threads", "1", "--json")
    done = winnow("teacher", "convert", taught, "--out", out, *GRADES, *told)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["roc_auc_torch"] > 0.95  # it isn't by chance that int8 keeps the order
    assert abs(figures["roc_auc_onnx"] - figures["roc_auc_torch"]) <= 0.003
    assert figures["pairs"] == read_description(taught).training["validation_pairs"]
    assert np.isfinite(OnnxTeacher.load(out).logits(["red"], ["usb cable"])).all()
    scored = winnow("teacher", "score", out, "--judgments", judged, "--relevant-from", "2.33")
    assert scored.returncode == 0, scored.stderr
    assert "roc_auc" in scored.stderr


def test_pretrain_writes_an_encoder(encoder: Path, judged: Path, tmp_path: Path) -> None:
    out = tmp_path / "pretrained"
    told = ("--text-column", "title", "--text-column", "query", "--epochs", "1", "--json")
    done = winnow(
        *("pretrain", "--encoder", encoder, "--texts", judged, "--out", out, "--device", "cpu"),
        *("--learning-rate", "1e-3", "--whole-words"),
        *told,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["head_was_new"]
    assert figures["loss_after"] < figures["loss_before"]
    assert "had no masked-LM head" in done.stderr
    again = winnow("pretrain", "--encoder", out, "--texts", judged, "--out", out, *told)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_shorten_writes_an_encoder(encoder: Path, judged: Path, tmp_path: Path) -> None:
    out = tmp_path / "short"
    command = (
        *("shorten", "--encoder", encoder, "--texts", judged, "--out", out, "--device", "cpu"),
        *("--text-column", "title", "--layers", "1", "--epochs", "2", "--held-out", "0.1"),
    )
    done = winnow(*command, "--learning-rate", "1e-3", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["cosine_after"] > figures["cosine_before"]
    assert json.loads((out / "config.json").read_text())["num_hidden_layers"] == 1
    again = winnow(*command)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_errors_are_one_line(encoder: Path, judged: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    for command, expected in (
        (("teach", "--encoder", encoder, "--pairs", judged, *out), "no column 'target'"),
        (
            ("teach", "--encoder", encoder, "--pairs", judged, *out, *GRADES[4:]),
            "expected 'relevance' from 0 to 1, got",
        ),
        (
            ("teach", "--encoder", encoder, "--pairs", judged, *out, *GRADES, "--epochs", "0"),
            "epochs: expected at least 1, got 0",
        ),
        (
            ("teach", "--encoder", "no such", "--pairs", judged, *out, *GRADES),
            "no such: expected a folder with config.json, package:NAME, or OWNER/NAME",
        ),
        (("teacher", "convert", encoder, *out, "--pairs", judged, *GRADES), "teacher.json"),
        (
            ("pretrain", "--encoder", encoder, "--texts", judged, *out),
            "expected the columns that hold texts to be named",
        ),
    ):
        done = winnow(*command)
        assert done.returncode == 1, (command, done.stderr)
        line = done.stderr.strip().splitlines()[-1]
        assert line.startswith("error: ")
        assert expected in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "1", "3:1", "1:1", "a:b", "1:inf", "nan:2"])
def test_scales_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(TrainingRefused, match=r"grades: expected LOWEST:HIGHEST, such as 1:3"):
        parse_grades(text)


def test_grades_become_their_place_on_the_scale(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("query\ttitle\ttarget\na\tb\t1\na\tc\t2.5\na\td\t3\n", encoding="utf-8")
    pairs = read_graded_pairs(path, PairColumns(), parse_grades("1:3"))
    assert pairs.targets.tolist() == [0.0, 0.75, 1.0]
    with pytest.raises(PairsRefused, match=r"line 4: expected 'target' from 1 to 2\.7, got 3"):
        read_graded_pairs(path, PairColumns(), parse_grades("1:2.7"))
    path.write_text("query\ttitle\ttarget\n", encoding="utf-8")
    with pytest.raises(PairsRefused, match="at least one pair, found none"):
        read_graded_pairs(path, PairColumns(), parse_grades("0:1"))
