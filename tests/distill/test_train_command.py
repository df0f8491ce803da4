"""`winnow train` and `winnow context` as they are typed: two stages, context, refusals."""

import csv
import json
from dataclasses import fields
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from cli.main import app
from distill.errors import DistillError
from distill.objectives import Listwise, Pairwise, Pointwise
from distill.options import TrainOptions
from evaluation.judgments import split_of
from export.checkpoint import load_checkpoint
from export.pairs import Pairs


def _winnow(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "300"})


def _said(result: Result) -> str:
    """What a person reads, without the frame around it."""
    text = result.stderr if result.exception is None or result.exit_code == 2 else ""
    return " ".join(f"{text} {result.exception}".replace("│", " ").split())


@pytest.fixture
def judged(tmp_path: Path, pairs: Pairs) -> Path:
    """The pairs, with a teacher's target and, of most, a human label."""
    path = tmp_path / "judged.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["query", "title", "target", "people"])
        for row, query in enumerate(pairs.queries):
            hard = "" if row % 5 == 0 else int(pairs.labels[row])
            rows.writerow([query, pairs.titles[row], f"{pairs.targets[row]:g}", hard])
    return path


def test_two_stages(tmp_path: Path, judged: Path) -> None:
    one = ("--epochs", 1, "--batch-size", 64, "--device", "cpu", "--json")
    first = _winnow(
        *("train", "--student", "deepdot", "--pairs", judged, "--out", tmp_path / "first", *one),
        *("--objective", "pairwise", "--validate-every", 3, "--patience", 9, "--max-pairs", 600),
    )
    assert first.exit_code == 0, first.output
    validations = json.loads(first.stdout)
    assert [each["step"] for each in validations] == [3, validations[1]["step"]]
    assert "validation ROC-AUC" in first.stderr
    second = _winnow(
        *("train", "--start", tmp_path / "first", "--pairs", judged, *one),
        *("--out", tmp_path / "second", "--hard-weight", 0.5, "--hard-column", "people"),
    )
    assert second.exit_code == 0, second.output
    facts = load_checkpoint(tmp_path / "second").training
    assert facts["hard_weight"] == 0.5
    assert facts["start.objective"] == "pairwise"
    with judged.open(encoding="utf-8", newline="") as file:
        by_people = [split_of(row["query"]) for row in csv.DictReader(file) if row["people"]]
    assert facts["hard_pairs"] == by_people.count("train")
    assert facts["validation_pairs"] == by_people.count("valid")
    assert load_checkpoint(tmp_path / "second").student.kind == "deepdot"


def _of_splits(judged: Path, out: Path, splits: set[str]) -> Path:
    """The rows of some splits' queries, in a file of their own."""
    with judged.open(encoding="utf-8", newline="") as file:
        names, *every = csv.reader(file)
    with out.open("w", encoding="utf-8", newline="") as file:
        kept = (row for row in every if split_of(row[0]) in splits)
        csv.writer(file).writerows([names, *kept])
    return out


def test_context_and_what_comes_of_it(tmp_path: Path, judged: Path) -> None:
    catalogue, out = tmp_path / "products.csv", tmp_path / "context"
    with judged.open(encoding="utf-8", newline="") as file:
        titles = [row["title"] for row in csv.DictReader(file)]
    lines = "".join(f"p{number},{title}\n" for number, title in enumerate(titles[:50]))
    learned = _of_splits(judged, tmp_path / "learned.csv", {"train"})
    valid = _of_splits(judged, tmp_path / "valid.csv", {"valid", "test"})
    catalogue.write_text("product_id,title\n" + lines, encoding="utf-8")
    made = _winnow(
        *("context", "--pairs", learned, "--out", out, "--catalogue", catalogue, "--json"),
        *("--evaluate", valid, "--neighbours", 2, "--dropout", 0.5, "--hard-column", "people"),
    )
    assert made.exit_code == 0, made.output
    report = json.loads(made.stdout)
    assert [each["file"] for each in report["files"]] == [
        *("pairs.csv", "evaluate/valid.csv", "catalogue.csv", "queries.csv"),
    ]
    assert "query" in made.stderr
    trained = _winnow(
        *("train", "--student", "bert2dnn", "--pairs", out / "pairs.csv", "--epochs", 1),
        *("--validation", out / "evaluate" / "valid.csv", "--out", tmp_path / "student"),
        *("--hard-weight", 0.5, "--hard-column", "hard"),
    )
    assert trained.exit_code == 0, trained.output
    # Split by what stands in the file, a query and the same in context would be two queries.
    alone = ("--epochs", 1, "--device", "cpu", "--out", tmp_path / "alone")
    refused = _winnow("train", "--student", "bert2dnn", "--pairs", out / "pairs.csv", *alone)
    assert refused.exit_code == 1
    assert "its queries stand in context" in _said(refused)
    again = _winnow("context", "--pairs", judged, "--out", out)
    assert "exists already" in str(again.exception)


def test_validation_pairs_are_of_other_queries(tmp_path: Path, judged: Path) -> None:
    told = ("train", "--student", "deepdot", "--out", tmp_path / "student", "--epochs", 1)
    same = _winnow(*told, "--pairs", judged, "--validation", judged)
    assert "which stands in both: split by query" in str(same.exception)
    none = _winnow(*told, "--pairs", _of_splits(judged, tmp_path / "transfer.csv", {"train"}))
    assert "give judged pairs to validate on (--validation)" in str(none.exception)


def _parameters() -> set[str]:
    command = get_command(app)
    context = command.make_context("winnow", ["train"], resilient_parsing=True)
    train = command.get_command(context, "train")  # type: ignore[attr-defined]
    return {parameter.name for parameter in train.params}


def test_every_option_can_be_typed() -> None:
    options = {field.name for field in fields(TrainOptions)}
    for objective in (Pointwise, Pairwise, Listwise):
        options |= {field.name for field in fields(objective)}
    assert options <= _parameters()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "expected --student, or --start with a checkpoint"),
        (
            ("--student", "deepdot", "--margin", "2"),
            "--margin is for --objective pairwise, not pointwise: leave it out",
        ),
        (
            ("--student", "deepdot", "--objective", "listwise", "--hard-weight", "0.5"),
            "--hard-weight is for --objective pointwise, not listwise",
        ),
        (("--student", "deepdot", "--hard-weight", "0.5"), "name its --hard-column, or give"),
        (("--student", "deepdot", "--hard-column", "people"), "has no weight: add --hard-weight"),
        (("--student", "deepdot", "--temperature", "2"), "temperature: softens the labels"),
        (("--student", "deepdot", "--behaviour"), "behaviour: puts a 1 in place of"),
        (("--student", "deepdot", "--labels", "nowhere"), "can't be read"),
        (("--student", "deepdot", "--max-pairs", "0"), "max_pairs: expected at least 1, got 0"),
        (("--student", "deepdot", "--layers", "3"), "student deepdot takes no layers"),
        (("--student", "deepdot", "--device", "abacus"), "device 'abacus': expected one that"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, judged: Path, arguments: tuple[str, ...], expected: str
) -> None:
    ended = _winnow("train", "--pairs", judged, "--out", tmp_path / "out", *arguments)
    assert ended.exit_code != 0
    assert expected in _said(ended)
    assert ended.exit_code == 2 or isinstance(ended.exception, DistillError)
    assert [path.name for path in tmp_path.iterdir()] == ["judged.csv"]
