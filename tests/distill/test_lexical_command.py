"""A lexical teacher from the command line and in a recipe: taught, labelled with, stacked."""

import csv
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cli.main import _TRAINING_ONLY, app
from distill.errors import DistillError, RecipeRefused
from distill.labels import read_labels
from distill.lexical_judged import NEIGHBOURS
from distill.lexical_retrieval import RETRIEVAL
from distill.lexical_teacher import LexicalTeacher
from distill.pipeline import follow, plan, stages
from distill.recipe_file import read_recipe
from distill.stages.run import RecipeRun
from distill.stages.stage import Stage, Taken
from evaluation.judgments import split_of
from export.pairs import Pairs
from tests.distill.tiny_recipe import RECIPE, write_tiny

ROOT = Path(__file__).parents[2]
QUICK = ("--models", "2", "--rounds", "40", "--threads", "1")

WORDS = """
[[teacher]]
name = "words"
architecture = "lexical"
models = 2
rounds = 40
"""


def winnow(*arguments: str | Path) -> Result:
    """Runs the command in this process."""
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, pairs: Pairs) -> Path:
    path = tmp_path_factory.mktemp("judged") / "judged.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "title", "relevance"])
        for query, title, relevant in zip(pairs.queries, pairs.titles, pairs.labels, strict=True):
            writer.writerow([query, title, 3 if relevant else 1])
    return path


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, judged: Path) -> Path:
    """A teacher that the command taught."""
    folder = tmp_path_factory.mktemp("taught")
    products = folder / "products.txt"
    products.write_text("one more lamp\n", encoding="utf-8")
    told = ("--grades", "1:3", "--target-column", "relevance", "--products", products, "--json")
    out = folder / "words"
    done = winnow(
        *("teach", "--architecture", "lexical", "--pairs", judged, "--out", out), *told, *QUICK
    )
    assert done.exit_code == 0, done.stderr
    figures = json.loads(done.stdout)
    assert [model["seed"] for model in figures["models"]] == [0, 1]
    assert figures["roc_auc"] > 0.9
    assert "seed of the model" in done.stderr
    return out


def test_teach_learns_its_split_in_the_terms_of_the_products(taught: Path, pairs: Pairs) -> None:
    facts = LexicalTeacher.load(taught, 1).description.training
    assert facts["pairs"] == sum(split_of(query) == "train" for query in pairs.queries)
    train = {
        title
        for query, title in zip(pairs.queries, pairs.titles, strict=True)
        if split_of(query) == "train"
    }
    assert facts["catalogue"] == len(train | {"one more lamp"})


def test_label_and_score_with_it(taught: Path, judged: Path, pairs: Pairs, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    told = ("--pairs", judged, "--out", out, "--threads", "1", "--json")
    done = winnow("label", "--teacher", taught, *told)
    assert done.exit_code == 0, done.stderr
    teacher = LexicalTeacher.load(taught, 1)
    assert json.loads(done.stdout)["teacher_sha256"] == teacher.sha256
    assert np.array_equal(read_labels(out), teacher.logits(pairs.queries, pairs.titles))
    judgments = ("--judgments", judged, "--relevant-from", "2", "--split", "test", "--json")
    scored = winnow("teacher", "score", taught, taught, *judgments, "--threads", "1")
    assert scored.exit_code == 0, scored.stderr
    assert json.loads(scored.stdout)["stacked"]["roc_auc"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--architecture", "lexical", "--epochs", "3"), "--epochs is for --architecture cross-"),
        (("--encoder", "x", "--rounds", "3"), "--rounds is for --architecture lexical"),
        (("--encoder", "x", "--look-up"), "--look-up is for --architecture lexical"),
        ((), "--encoder: expected a folder, package:NAME or OWNER/NAME for a cross-encoder"),
    ],
)
def test_options_of_the_other_architecture_are_refused(
    judged: Path, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    done = winnow("teach", "--pairs", judged, "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert expected in " ".join(done.stderr.replace("│", " ").split())


class _Silence:
    def begins(self, stage: Stage, why: str | None) -> None: ...
    def phase(self, phase: str, done: int, total: int | None) -> None: ...
    def ends(self, taken: Taken) -> None: ...


def _run(recipe: Path) -> RecipeRun:
    return RecipeRun(read_recipe(recipe), recipe.parent / "work", recipe.parent / "bundles")


def test_a_recipe_labels_with_it_as_it_is(tmp_path: Path) -> None:
    """Its labels beside those of an encoder's teacher, which is left untaught here."""
    run = _run(write_tiny(tmp_path, RECIPE.replace("[transfer]", f"{WORDS}\n[transfer]")))
    titles = [stage.title for stage in stages(run)]
    assert {"teacher:words", "labels:words", "labels-judged:words", "judge:words"} <= {*titles}
    assert [title for title in titles if title.startswith("convert")] == ["convert:cross"]
    assert run.recipe.stacks == {"teachers": ("cross", "words")}
    every = {stage.title: stage for stage in stages(run)}
    taken = follow(run, ("data",), _Silence())
    assert [each.stage.title for each in taken] == ["data"]
    for title in ("teacher:words", "transfer", "labels:words", "judge:words"):
        every[title].run(_Silence().phase)
        assert all(path.exists() for path in every[title].outputs())
    auc = every["teacher:words"].result()["validation ROC-AUC"]
    assert isinstance(auc, float)
    assert auc > 0.7
    teacher = LexicalTeacher.load(run.teacher("words"), 1)
    catalogue = {*run.data.products.titles}
    assert teacher.description.training["catalogue"] == len(catalogue)
    logits = np.load(run.at("test", "words.npy"))
    test = run.data.splits["test"]
    assert np.array_equal(logits, teacher.logits(test.queries, test.titles))
    assert every["labels:words"].result()["pairs"]


def test_teachers_are_compared_without_a_student(tmp_path: Path) -> None:
    other = WORDS.replace("words", "letters").replace("rounds = 40", "look_up = true")
    recipe = RECIPE[: RECIPE.index("[[teacher]]")] + WORDS + other
    stacked = '[report]\nresamples = 100\nstacks = { both = ["words", "letters"] }\n'
    run = _run(write_tiny(tmp_path, f"{recipe}[transfer]\npseudo_queries = 10\n{stacked}"))
    taken = {each.stage.title: each.result for each in follow(run, (), _Silence())}
    assert not [title for title in taken if title.startswith(("labels", "student", "publish"))]
    report = json.loads((run.at("report-tiny") / "report.json").read_text(encoding="utf-8"))
    assert {"words", "letters", "both"} <= {each["scorer"] for each in report["scorers"]}
    facts = [LexicalTeacher.load(run.teacher(name), 1).description for name in ("words", "letters")]
    assert [each.training.get("look_up") for each in facts] == [None, True]
    assert {*facts[1].features} - {*facts[0].features} == {*RETRIEVAL, *NEIGHBOURS}


def test_an_option_of_it_takes_its_stages_alone_again(tmp_path: Path) -> None:
    recipe = RECIPE.replace("[transfer]", f"{WORDS}\n[transfer]")
    before = {each.stage.title: each.stage for each in plan(_run(write_tiny(tmp_path, recipe)), ())}
    changed = recipe.replace("rounds = 40", "rounds = 41")
    after = {each.stage.title: each.stage for each in plan(_run(write_tiny(tmp_path, changed)), ())}
    other = [title for title in before if before[title].options != after[title].options]
    assert other == ["teacher:words"]


def test_an_encoder_is_an_input_of_its_stage(tmp_path: Path) -> None:
    """Of a recipe that names none, the stages are what they were."""
    recipe = RECIPE.replace("[transfer]", f"{WORDS}\n[transfer]")
    inputs = []
    for text in (recipe, recipe.replace("rounds = 40", 'encoder = "new:small"')):
        run = _run(write_tiny(tmp_path, text))
        stage = next(each for each in stages(run) if each.title == "teacher:words")
        inputs.append(set(stage.inputs))
    assert inputs[1] - inputs[0] == {"the encoder"}


def test_teach_takes_an_encoder_and_looks_up(
    judged: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    graded = ("--grades", "1:3", "--target-column", "relevance")
    told = (*graded, "--encoder", encoder_folder, "--look-up")
    out = tmp_path / "words"
    done = winnow(
        *("teach", "--architecture", "lexical", "--pairs", judged, "--out", out), *told, *QUICK
    )
    assert done.exit_code == 0, done.stderr
    teacher = LexicalTeacher.load(out, 1)
    assert {"sentence_cosine", *RETRIEVAL, *NEIGHBOURS} <= {*teacher.description.features}
    assert np.isfinite(teacher.logits(["gardn hose", ""], ["hose", "lamp"])).all()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("rounds = 40", "epochs = 3"), "teacher 'words': epochs: unknown key"),
        (("rounds = 40", "rounds = 0"), "teacher 'words': rounds: expected at least 1, got 0"),
        (
            ("rounds = 40", 'encoder = "new:other"'),
            "that the recipe makes before (new:small, teacher:cross), got",
        ),
        (("models = 2\nrounds = 40", 'encoder = "new:small"\nfolder = "x"'), "either encoder (to"),
        (("rounds = 40", 'folder = "x"'), "x is trained already: leave out all options"),
        (('"lexical"', '"trees"'), "architecture: expected 'cross-encoder' or 'lexical'"),
        (('encoder = "teacher:cross"', 'encoder = "teacher:words"'), "got 'teacher:words'"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(
    tmp_path: Path, change: tuple[str, str], expected: str
) -> None:
    recipe = RECIPE.replace("[transfer]", f"{WORDS}\n[transfer]").replace(*change)
    with pytest.raises(DistillError) as refused:
        _run(write_tiny(tmp_path, recipe))
    assert isinstance(refused.value, RecipeRefused)
    assert expected in str(refused.value)


@pytest.mark.parametrize("missing", ["lightgbm", "rapidfuzz", "sklearn"])
def test_what_the_extra_train_would_install_is_asked_for(missing: str) -> None:
    absent = "import sys; sys.modules[sys.argv.pop(1)] = None; from cli.main import main; main()"
    told = ("teach", "--architecture", "lexical", "--pairs", "pairs.csv", "--out", "teacher")
    ended = subprocess.run(
        [sys.executable, "-c", absent, missing, *told],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        f"error: this command needs {missing}: pip install 'winnow-relevance[train]'\n"
    )


def test_every_module_of_the_extra_train_is_known() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [re.split("[<>=]", each)[0] for each in project["optional-dependencies"]["train"]]
    installed_by = packages_distributions()
    known = [name for module in _TRAINING_ONLY for name in installed_by[module]]
    assert {_normalised(name) for name in known} == {_normalised(name) for name in asked}


def _normalised(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()
