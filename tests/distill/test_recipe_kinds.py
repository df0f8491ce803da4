"""Stages and students that the small recipe of test_distill.py has not, each taken once."""

import csv
import json
from pathlib import Path

import pytest

from distill.context_files import CATALOGUE_FILE, QUERIES_FILE
from distill.errors import RecipeRefused
from distill.labels import PairsFile
from distill.pipeline import follow, stages
from distill.recipe_data import LABELS
from distill.recipe_file import read_recipe
from distill.stages.run import RecipeRun
from distill.stages.stage import Taken
from distill.stages.students import graph_of, in_context
from evaluation.judgments import split_of
from evaluation.tables import rows
from export.checkpoint import load_checkpoint
from export.pairs import read_pairs
from model_store.bundle import open_bundle
from tests.command import winnow
from tests.distill.test_distill import Silent
from tests.distill.tiny_recipe import write_tiny

RECIPE = """
name = "kinds"

[data]
judgments = "judgments.csv"
products = "products.csv"
relevant_from = 2.0
least_grade = 0.0
most_grade = 3.0

[[encoder]]
name = "small"
layers = 2
width = 32
heads = 2
feed_forward = 64
positions = 64
vocabulary = 200

[[pretrain]]
name = "small"
encoder = "new:small"
epochs = 1

[[shorten]]
name = "short"
encoder = "pretrained:small"
layers = 1
epochs = 1

[[teacher]]
name = "words"
architecture = "lexical"
models = 1
rounds = 60

[[teacher]]
name = "points"
encoder = "pretrained:small"
epochs = 1
learning_rate = 2e-3
head_learning_rate = 2e-3

[[teacher]]
name = "lists"
encoder = "teacher:points"
loss = "listnet"
epochs = 1
learning_rate = 2e-3
head_learning_rate = 2e-3
scorer = "float32"
label_pairs = 3_000

[transfer]
pairs_per_query = 16
pseudo_queries = 400

[wide.log]
path = "log.csv"
rule = "clicks"

[labels]
scorer = "pytorch"

[[student]]
name = "siamese"
kind = "siamese"
encoder = "shortened:short"
labels = ["words"]
layers = 1
epochs = 1
encoder_learning_rate = 1e-3
publish = false

[[student]]
name = "poly"
like = "siamese"
kind = "poly"
codes = 2

[[student]]
name = "listbert"
like = "siamese"
kind = "listbert"
labels = ["lists"]
objective = "listwise"
list_size = 8
pointwise_weight = 0.5
max_pairs = 2_000

[[student]]
name = "drfc"
kind = "bert2dnn"
labels = ["words"]
objective = "pairwise"
epochs = 1
fine_tune = { epochs = 1, hard_weight = 1.0 }
publish = false

[[student]]
name = "drdd"
kind = "deepdot"
clicks = true
wide = true
objective = "pairwise"
epochs = 2
learning_rate = 3e-3
fine_tune = { epochs = 2, learning_rate = 1e-3 }
publish = false

[[student]]
name = "neighbours"
kind = "bert2dnn"
labels = ["words"]
epochs = 3
learning_rate = 3e-3
context = { keep_from = 0.4, neighbours = 2, words = 4 }

[report]
resamples = 100
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[RecipeRun, dict[str, Taken]]:
    folder = tmp_path_factory.mktemp("kinds")
    recipe = write_tiny(folder, RECIPE)
    write_log(folder)
    run = RecipeRun(read_recipe(recipe), folder / "work", folder / "bundles", device="cpu")
    return run, {each.stage.title: each for each in follow(run, (), Silent())}


def write_log(folder: Path) -> None:
    """What judged products were clicked: the better, the oftener, and never half of the time."""
    with (folder / "log.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(("query", "product_id", "shown", "clicked", "ordered"))
        for row in rows(folder / "judgments.csv"):
            clicked = round(10 * row.number("relevance"))
            table.writerow((row.text("query"), row.text("product_id"), 100, clicked, 0))


def test_every_stage_is_taken(made: tuple[RecipeRun, dict[str, Taken]]) -> None:
    assert all(each.why == "new" for each in made[1].values())
    assert {"pretrain:small", "shorten:short", "fine-tune:drfc", "context:neighbours"} <= {*made[1]}
    report = json.loads((made[0].at("report-kinds") / "report.json").read_text(encoding="utf-8"))
    assert {each["scorer"] for each in report["scorers"]} >= {
        *("words", "points", "lists", "siamese", "poly", "listbert", "drfc", "drdd", "neighbours")
    }


def test_no_encoder_is_made_that_nobody_begins_with(tmp_path: Path) -> None:
    kinds = ("encoder", "pretrain", "shorten")
    encoders = []
    for begins_with in ("shortened:short", "new:small"):
        recipe = write_tiny(tmp_path, RECIPE.replace("shortened:short", begins_with))
        write_log(tmp_path)
        run = RecipeRun(read_recipe(recipe), tmp_path / "work", tmp_path / "bundles")
        encoders.append([each.title for each in stages(run) if each.kind in kinds])
    assert encoders == [
        ["encoder:small", "pretrain:small", "shorten:short"],
        ["encoder:small", "pretrain:small"],  # a teacher begins with it
    ]


@pytest.mark.parametrize(
    ("folder", "kind", "objective"),
    [
        ("students/siamese", "siamese", "Pointwise"),
        ("students/poly", "poly", "Pointwise"),
        ("students/listbert", "listbert", "Listwise"),
        ("students/drfc", "bert2dnn", "Pairwise"),
        ("fine-tuned/drfc", "bert2dnn", "Pointwise"),
        ("students/drdd", "deepdot", "Pairwise"),
        ("fine-tuned/drdd", "deepdot", "Pointwise"),
    ],
)
def test_students_are_what_the_recipe_says(
    made: tuple[RecipeRun, dict[str, Taken]], folder: str, kind: str, objective: str
) -> None:
    checkpoint = load_checkpoint(made[0].work / folder)
    assert checkpoint.student.kind == kind
    assert checkpoint.training["objective"] == objective.lower()


def test_a_teacher_labels_no_more_pairs_than_it_is_told(
    made: tuple[RecipeRun, dict[str, Taken]],
) -> None:
    run, taken = made
    pairs = sum(1 for _ in PairsFile(run.transfer).texts())
    assert pairs > 4096  # a shard
    assert taken["labels:words"].result["pairs"] == pairs
    assert taken["labels:lists"].result["pairs"] == 3_000
    shards = {name: len([*run.at("labels", name).glob("*.npy")]) for name in ("words", "lists")}
    assert shards == {"words": 2, "lists": 1}
    assert load_checkpoint(run.at("students", "listbert")).training["pairs"] == 2_000


def test_a_teacher_may_label_in_another_precision_than_the_others(
    made: tuple[RecipeRun, dict[str, Taken]],
) -> None:
    run, taken = made
    assert [title for title in taken if title.startswith("convert")] == ["convert:lists"]
    report = json.loads((run.at("report-kinds") / "report.json").read_text(encoding="utf-8"))
    (section,) = (each for each in report["sections"] if each["title"] == "Teachers as they label")
    assert [row[0::2][:2] for row in section["rows"]] == [["lists", "float32"]]


def test_variants_of_another_objective_differ_by_its_name(
    made: tuple[RecipeRun, dict[str, Taken]],
) -> None:
    run, _ = made
    report = json.loads((run.at("report-kinds") / "report.json").read_text(encoding="utf-8"))
    (section,) = (each for each in report["sections"] if each["title"] == "Variants")
    differs = {row[0]: row[1] for row in section["rows"]}
    assert differs["poly"] == "codes 16 -> 2, kind siamese -> poly"
    assert differs["listbert"].endswith("max_pairs none -> 2000, objective pointwise -> listwise")
    assert "list_size" not in differs["listbert"]


def test_clicks_are_learned_without_a_teacher_then_judgements(
    made: tuple[RecipeRun, dict[str, Taken]],
) -> None:
    run, taken = made
    logged = list(rows(run.wide))
    assert {row.text("target") for row in logged} == {"0", "0.1", "0.2", "0.3"}
    assert {split_of(row.text("query")) for row in logged} == {"train"}
    first, second = (
        load_checkpoint(run.at(folder, "drdd")).training for folder in ("students", "fine-tuned")
    )
    assert "teachers" not in first
    assert "teachers" not in second
    assert (first["pairs"], second["pairs"]) == (len(logged), taken["data"].result["train"])
    assert second["hard_weight"] == 0.0
    auc = taken["student:drdd"].result["validation ROC-AUC"]
    assert isinstance(auc, float)
    assert auc > 0.6  # chance is 0.5, and nobody has told it what is relevant
    assert not any(title.startswith("labels-wide") for title in taken)


def test_what_is_indexed_for_a_student_in_context_is_what_it_was_measured_on(
    made: tuple[RecipeRun, dict[str, Taken]],
) -> None:
    run, _ = made
    table = run.recipe.student[-1]
    manifest = open_bundle(run.bundles / "kinds-neighbours" / "1").manifest
    assert manifest.training["context.neighbours"] == 2
    titles = {row.text("product_id"): row.text("title") for row in rows(run.data.files["products"])}
    catalogue = {
        row.text("product_id"): row.text("title")
        for row in rows(run.at("context", "neighbours", CATALOGUE_FILE))
    }
    assert catalogue.keys() == titles.keys()
    shown = {titles[product_id]: text for product_id, text in catalogue.items()}
    judged = read_pairs(run.judged("test"), LABELS)
    measured = in_context(run, table, judged)
    assert measured.titles == [shown[title] for title in judged.titles]
    assert measured.titles != judged.titles
    queries = {
        row.text("query"): row.text("text")
        for row in rows(run.at("context", "neighbours", QUERIES_FILE))
    }
    assert {split_of(query) for query in queries} == {"train"}
    assert set(queries) == set(graph_of(run, table).query_spellings)
    assert any(text.startswith(f"{query} [SEP] ") for query, text in queries.items())


def test_a_student_in_context_without_product_ids_is_refused_before_the_work(
    tmp_path: Path,
) -> None:
    text = RECIPE.replace('products = "products.csv"\n', "")
    recipe = write_tiny(tmp_path, text)
    write_log(tmp_path)
    titles = {row.text("product_id"): row.text("title") for row in rows(tmp_path / "products.csv")}
    judged = list(rows(tmp_path / "judgments.csv"))
    with (tmp_path / "judgments.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(("query", "title", "relevance"))
        for row in judged:
            title = titles[row.text("product_id")]
            table.writerow((row.text("query"), title, row.text("relevance")))

    def run() -> RecipeRun:
        return RecipeRun(read_recipe(recipe), tmp_path / "work", tmp_path / "bundles", device="cpu")

    with pytest.raises(RecipeRefused, match=r"student 'neighbours' in context: .*publish = false"):
        follow(run(), ("data",), Silent())
    assert not (tmp_path / "work").exists()
    recipe.write_text(text.replace("context =", "publish = false\ncontext ="), encoding="utf-8")
    (data,) = follow(run(), ("data",), Silent())
    assert sum(int(count or 0) for count in data.result.values()) == len(judged)


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
def test_bare_texts_are_said_to_be_bare_to_a_student_in_context(
    made: tuple[RecipeRun, dict[str, Taken]], command: str
) -> None:
    run, _ = made
    files = ("--judgments", run.data.files["judgments"], "--products", run.data.files["products"])
    told = ("--split", "valid", "--bundles", run.bundles, "--bootstrap", "100")
    dry = ("--dry-run",) if command == "calibrate" else ()
    ran = winnow(command, "--model", "kinds-neighbours@1", *files, *told, *dry)
    assert ran.returncode == 0, ran.stderr
    assert "reads texts with those of up to 2 neighbours" in " ".join(ran.stderr.split())
