"""A recipe: what it may say, how it is refused, and what of its data may be learned from."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.data_table import Data
from distill.errors import RecipeRefused, TransferRefused
from distill.objectives import Listwise, Pointwise
from distill.recipe_data import LABELS, TARGETS, RecipeData
from distill.recipe_file import read_recipe
from distill.recipe_tables import FineTune
from evaluation.judgments import query_key, split_of
from export.pairs import read_pairs
from indexing.catalogue import Entry

EXAMPLES = Path(__file__).parents[2] / "examples"

SMALL = """
name = "small"
seed = 4

[data]
judgments = "judged.csv"
relevant_from = 2

[[teacher]]
name = "minilm"
encoder = "package:some_package"
epochs = 2

[[student]]
name = "bag"
kind = "bert2dnn"
epochs = 7
minimum_frequency = 3
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a recipe and gives its path."""

    def run(text: str, name: str = "recipe.toml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return run


def test_options_stand_beside_the_other_keys(write: Write) -> None:
    file = read_recipe(write(SMALL))
    recipe = file.recipe
    (teacher,), (student,) = recipe.teacher, recipe.student
    assert teacher.options.epochs == 2
    assert teacher.options.batch_size == 32  # TeachOptions' own
    assert student.options.epochs == 7
    assert student.options.minimum_frequency == 3
    assert student.descends_on == Pointwise()
    assert recipe.labels_of(student) == ("minilm",)
    assert recipe.bundle_of(student) == "small-bag"
    assert recipe.seed_of(student) == 4
    assert file.work_name == "small"


def test_tables_of_a_student(write: Write) -> None:
    text = SMALL + (
        'objective = "listwise"\nlist_size = 9\nseed = 11\nlabels_alone = true\n'
        "[student.fine_tune]\nepochs = 1\nhard_weight = 0.25\n"
        "[student.context]\ndropout = 0.1\nneighbours = 3\n"
    )
    recipe = read_recipe(write(text)).recipe
    (student,) = recipe.student
    assert student.descends_on == Listwise(list_size=9)
    assert student.fine_tune == FineTune(epochs=1, hard_weight=0.25)
    assert student.fine_tune.over(student.options).epochs == 1
    assert student.fine_tune.over(student.options).batch_size == student.options.batch_size
    assert student.labels_alone is not None
    assert student.labels_alone.over(student.options) == student.options
    assert student.context is not None
    assert student.context.options.neighbours == 3
    assert recipe.seed_of(student) == 11


def test_a_student_like_another(write: Write) -> None:
    text = SMALL + (
        "labels_alone = true\ntemperature = 2.0\n"
        '[[student]]\nname = "warm"\nlike = "bag"\ntemperature = 5.0\nepochs = 1\n'
        '[[student]]\nname = "third"\nlike = "warm"\n'
    )
    bag, warm, third = read_recipe(write(text)).recipe.student
    assert (warm.kind, warm.options.minimum_frequency) == (bag.kind, 3)
    assert (warm.temperature, warm.options.epochs) == (5.0, 1)
    assert warm.labels_alone is None  # trained once, beside the student that asks for it
    assert (third.like, third.temperature) == ("warm", 5.0)


def test_an_objective_of_its_own_comes_without_the_options_of_the_other(write: Write) -> None:
    text = SMALL + (
        'objective = "listwise"\nlist_size = 9\n'
        '[[student]]\nname = "pairs"\nlike = "bag"\nobjective = "pointwise"\n'
    )
    _, pairs = read_recipe(write(text)).recipe.student
    assert pairs.descends_on == Pointwise()


def test_a_recipe_adds_teachers_to_those_it_shares(write: Write) -> None:
    write(SMALL, "base.toml")
    text = (
        'name = "more"\nshares = "base.toml"\n'
        '[[teacher]]\nname = "other"\nencoder = "x/y"\n'
        '[[student]]\nname = "dot"\nkind = "deepdot"\nlabels = ["other"]\n'
    )
    recipe = read_recipe(write(text)).recipe
    assert [each.name for each in recipe.teacher] == ["minilm", "other"]
    assert recipe.stacks == {"teachers": ("minilm", "other")}
    assert recipe.against == "teachers"
    report = '[report]\nagainst = "other"\n[report.stacks]\nboth = ["other", "minilm"]\n'
    recipe = read_recipe(write(text + report)).recipe
    assert recipe.stacks == {"both": ("other", "minilm")}
    assert recipe.against == "other"


def test_recipes_share_what_comes_before_the_students(write: Write) -> None:
    base = write(SMALL, "base.toml")
    text = 'name = "more"\nshares = "base.toml"\n[[student]]\nname = "dot"\nkind = "deepdot"\n'
    whole, more = read_recipe(base), read_recipe(write(text))
    assert more.recipe.teacher == whole.recipe.teacher
    assert more.recipe.data == whole.recipe.data
    assert more.recipe.seed == 4
    assert [each.name for each in more.recipe.student] == ["dot"]
    assert more.work_name == "small"
    assert more.recipe.bundle_of(more.recipe.student[0]) == "more-dot"
    with pytest.raises(RecipeRefused, match=r"seed: base\.toml decides it: leave it out"):
        read_recipe(write("seed = 5\n" + text))
    with pytest.raises(RecipeRefused, match="expected the name of a recipe beside it"):
        read_recipe(write(text.replace("base.toml", "../base.toml")))


WRONG = {
    "not TOML": ("name =", r"recipe\.toml: not TOML"),
    "unknown key": (SMALL + "epoch = 3", r"student 'bag': epoch: unknown key: did you mean epochs"),
    "unknown table": (SMALL + "[[studnet]]", r"studnet: unknown key: did you mean student"),
    "wrong type": (
        SMALL + 'patience = "2"',
        r"student 'bag': patience: expected a valid integer, got '2'",
    ),
    "out of range": (
        SMALL + "learning_rate = 2.0",
        r"student 'bag': learning_rate: expected above 0 and below 1, got 2.0",
    ),
    "missing": (SMALL.replace('kind = "bert2dnn"', ""), r"student 'bag': kind: missing"),
    "a teacher's option": (
        SMALL.replace("epochs = 2", 'epochs = 2\nloss = "hinge"'),
        r"teacher 'minilm': loss: expected 'pointwise', 'ranknet'",
    ),
    "an option of another objective": (
        SMALL + "list_size = 8",
        r"student 'bag': list_size: unknown key",
    ),
    "a gathered table": (
        SMALL + "[student.options]\nepochs = 3",
        r"options: unknown key: options stand beside",
    ),
    "an option decided elsewhere": (
        SMALL + 'device = "cpu"',
        r"student 'bag': device: unknown key",
    ),
    "unknown teacher": (
        SMALL + 'labels = ["bert"]',
        r"student 'bag': labels: expected teachers of this recipe, or students above \(minilm\), "
        "got 'bert'",
    ),
    "a student that labels for itself": (
        SMALL + 'labels = ["bag"]',
        r"student 'bag': labels: .* students above \(minilm\), got 'bag'",
    ),
    "wide pairs that nobody makes": (
        SMALL + "wide = true",
        r"student 'bag': wide: expected a table \[wide\], .* got none",
    ),
    "behaviour of pairs that nobody has seen": (
        SMALL + "behaviour = true",
        r"student 'bag': behaviour: expected a log that marks what was wanted",
    ),
    "behaviour of a log that is not looked for": (
        SMALL + 'behaviour = true\n[transfer.log]\npath = "log.csv"',
        r"student 'bag': behaviour: expected a log that marks what was wanted",
    ),
    "pairs that a teacher does not label": (
        SMALL.replace("epochs = 2", "label_pairs = 9") + "max_pairs = 10",
        r"student 'bag': max_pairs: expected at most 9, the label_pairs of .*'minilm', got 10",
    ),
    "all pairs, of which a teacher labels some": (
        SMALL.replace("epochs = 2", "label_pairs = 9"),
        r"student 'bag': max_pairs: expected at most 9, .*, got none",
    ),
    "one teacher under two names": (
        SMALL
        + SMALL[SMALL.index("[[teacher]]") : SMALL.index("[[student]]")].replace(
            'name = "minilm"', 'name = "again"\nseed = 4'
        ),
        r"teacher 'again': expected another one than 'minilm', got the same under two names",
    ),
    "clicks that nobody has logged": (
        SMALL + "clicks = true",
        r"student 'bag': clicks: expected a log .* got pairs that nobody has seen",
    ),
    "clicks of a log that is read by another rule": (
        SMALL + 'clicks = true\n[transfer.log]\npath = "log.csv"',
        r"student 'bag': clicks: expected a log .* with rule = \"clicks\"",
    ),
    "clicks and labels": (
        SMALL
        + 'clicks = true\nlabels = ["minilm"]\n[transfer.log]\npath = "log.csv"\nrule = "clicks"',
        r"student 'bag': clicks: expected neither labels nor",
    ),
    "clicks, and a weight beside soft labels": (
        SMALL
        + "clicks = true\nfine_tune = { hard_weight = 0.5 }\n"
        + '[transfer.log]\npath = "log.csv"\nrule = "clicks"',
        r"student 'bag': fine_tune: hard_weight: expected none",
    ),
    "clicks as labels": (
        SMALL + 'clicks = true\n[transfer.log]\npath = "log.csv"\nrule = "clicks"',
        r"student 'bag': clicks: expected the objective pairwise, .* got pointwise, .*: write "
        r'objective = "pairwise"$',
    ),
    "clicks as labels, over lists": (
        SMALL + 'clicks = true\nobjective = "listwise"\n[transfer]\nfile = "pairs.csv"',
        r"student 'bag': clicks: expected the objective pairwise, .* got listwise",
    ),
    "a stack of strangers": (
        SMALL + '[report.stacks]\nboth = ["minilm", "bert"]',
        r"report: stacks: both: expected teachers of this recipe \(minilm\), got 'bert'",
    ),
    "against nobody": (
        SMALL + '[report]\nagainst = "bert"',
        r"report: against: expected a stack or teacher \(minilm\), got 'bert'",
    ),
    "a student called like its teacher": (
        SMALL.replace('"bag"', '"minilm"'),
        r"expected distinct names of stacks, teachers, baselines and students, got 'minilm'",
    ),
    "two of a name": (
        SMALL + '[[student]]\nname = "bag"\nkind = "deepdot"',
        r"student: expected distinct names, got 'bag' twice",
    ),
    "like nobody": (
        SMALL + '[[student]]\nname = "x"\nlike = "y"',
        r"student 'x': like: expected a student above it \(bag\), got 'y'",
    ),
    "an encoder that nobody makes": (
        SMALL.replace("package:some_package", "new:small"),
        r"teacher 'minilm': encoder: expected one that the recipe makes before \(there is none\)",
    ),
    "a teacher that starts from itself": (
        SMALL.replace("package:some_package", "teacher:minilm"),
        r"teacher 'minilm': encoder: expected one that the recipe makes before",
    ),
    "a teacher of two sources": (
        SMALL.replace("epochs = 2", 'folder = "there"'),
        r"teacher 'minilm': expected either encoder \(to learn with\), or folder",
    ),
    "a lexical teacher in int8": (
        SMALL.replace('encoder = "package:some_package"', 'architecture = "lexical"').replace(
            "epochs = 2", 'scorer = "int8"'
        ),
        r"teacher 'minilm': scorer: a lexical teacher labels as it is",
    ),
    "two ways to split": (
        SMALL.replace("relevant_from", 'train = "x.csv"\nrelevant_from'),
        r"data: expected either judgments .* or train, valid and test",
    ),
    "two ways to targets": (
        SMALL.replace("relevant_from", "targets = {1 = 0.5}\nleast_grade = 0\nrelevant_from"),
        r"data: expected either targets, or least_grade and most_grade",
    ),
    "targets that fall": (
        SMALL.replace("relevant_from", "targets = {1 = 0.5, 2 = 0.4}\nrelevant_from"),
        r"data: targets: expected targets that rise",
    ),
    "two transfer sets": (
        SMALL + '[transfer]\nfile = "x.csv"\npairs_per_query = 5',
        r"transfer: expected one of log, file, or options",
    ),
    "a name that is no folder": (SMALL.replace('"bag"', '"../bag"'), r"name: string should match"),
    "a temperature without end": (SMALL + "temperature = inf", r"temperature: .*finite number"),
    "like many": (
        SMALL + '[[student]]\nname = "x"\nlike = ["bag"]',
        r"student 'x': like: expected a student above it \(bag\), got \['bag'\]",
    ),
    "a name of many": (
        SMALL.replace('name = "bag"', 'name = ["bag"]') + '[[student]]\nname = "x"\nlike = "y"',
        r"like: expected a student above it",
    ),
    "labels of one teacher, twice": (
        SMALL + 'labels = ["minilm", "minilm"]',
        r"student 'bag': labels: expected each name once, got 'minilm' twice",
    ),
    "labels of an order": (
        SMALL
        + 'objective = "listwise"\n[[student]]\nname = "x"\nkind = "deepdot"\nlabels = ["bag"]\n'
        + "[wide]",
        r"student 'x': labels: expected what says how probable relevance is, but 'bag' learns an "
        r"order of products alone \(objective listwise\): give it a second stage",
    ),
    "a date": (SMALL + "temperature = 2026-11-21", r"expected no dates and times"),
    "no teacher": (
        SMALL[: SMALL.index("[[teacher]]")] + SMALL[SMALL.index("[[student]]") :],
        r"teacher: missing",
    ),
    "a student that is no table": (
        SMALL[: SMALL.index("[[student]]")] + '[student]\nname = "bag"',
        r"student: expected tables \[\[student\]\]",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_its_table_and_key(write: Write, case: str) -> None:
    text, message = WRONG[case]
    with pytest.raises(RecipeRefused, match=message):
        read_recipe(write(text))


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeRefused, match="can't be read: No such file"):
        read_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(EXAMPLES.glob("*/*.toml")) if path.name != "shop.toml"],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_the_examples_are_recipes(path: Path) -> None:
    assert read_recipe(path).recipe.teacher


def test_the_examples_bundles_are_told_apart() -> None:
    recipes = [
        read_recipe(path).recipe for path in EXAMPLES.glob("*/*.toml") if path.name != "shop.toml"
    ]
    names = [
        recipe.bundle_of(each) for recipe in recipes for each in recipe.student if each.publish
    ]
    assert len(names) == len(set(names))
    assert {"shop-bert2dnn", "shop-deepdot", "shop-reprbert"} <= set(names)


@pytest.mark.parametrize(
    ("wide", "keys", "learns"),
    [
        ("[wide]", "", False),
        ("[wide]", "wide = true", True),
        ("[wide]", 'labels = ["bag"]', True),
        ("[wide]", 'labels = ["minilm", "bag"]', True),
        ("", 'labels = ["bag"]', False),
    ],
)
def test_whose_pairs_a_student_learns(write: Write, wide: str, keys: str, learns: bool) -> None:
    dot = f'[[student]]\nname = "dot"\nkind = "deepdot"\n{keys}\n'
    recipe = read_recipe(write(f"{SMALL}{dot}{wide}\n")).recipe
    bag, dot_table = recipe.student
    assert not recipe.learns_widely(bag)
    assert recipe.learns_widely(dot_table) is learns


def data(**changes: object) -> Data:
    return Data.model_validate({"judgments": Path("j.csv"), "relevant_from": 2.0, **changes})


def test_targets_of_grades() -> None:
    assert [data().target_of(grade) for grade in (0, 1.99, 2, 3)] == [0.0, 0.0, 1.0, 1.0]
    line = data(least_grade=1.0, most_grade=3.0)
    assert [line.target_of(grade) for grade in (1.0, 2.33, 3.0)] == [0.0, pytest.approx(0.665), 1.0]
    table = data(targets={0.0: 0.1, 2.0: 0.8})
    assert [table.target_of(grade) for grade in (0, 2)] == [0.1, 0.8]
    with pytest.raises(ValueError, match=r"one of the grades in targets \(0, 2\), got 1"):
        table.target_of(1)
    with pytest.raises(ValueError, match="least_grade, 1, to most_grade, 3, got 0"):
        line.target_of(0)


@given(st.lists(st.floats(1, 3), min_size=2, max_size=2, unique=True).map(sorted), st.floats(0, 1))
def test_a_better_grade_never_has_a_lower_target(ends: list[float], place: float) -> None:
    least, most = ends
    line = data(least_grade=least, most_grade=most)
    between = min(most, least + place * (most - least))
    assert 0.0 == line.target_of(least) <= line.target_of(between) <= line.target_of(most) == 1.0


QUERIES = [f"query {number}" for number in range(60)]


def write_judged(path: Path, queries: list[str]) -> None:
    """Two products of each query, the first relevant; product i's title is "title i"."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["query", "product_id", "title", "relevance"])
        for number, query in enumerate(queries):
            rows.writerow([query, f"a{number}", f"title {number}", 3])
            rows.writerow([query, f"b{number}", f"other {number}", 1])


@pytest.fixture
def by_rule(tmp_path: Path) -> RecipeData:
    """One file, split by the rule."""
    write_judged(tmp_path / "j.csv", QUERIES)
    return RecipeData(data(least_grade=1.0, most_grade=3.0), tmp_path)


@pytest.fixture
def by_file(tmp_path: Path) -> RecipeData:
    """A file per split, against the rule: what it calls valid or test is train here."""
    train = [query for query in QUERIES if split_of(query) != "train"]
    rest = [query for query in QUERIES if split_of(query) == "train"]
    for name, queries in (("train", train), ("valid", rest[:5]), ("test", rest[5:])):
        write_judged(tmp_path / f"{name}.csv", queries)
    files = {name: Path(f"{name}.csv") for name in ("train", "valid", "test")}
    return RecipeData(data(judgments=None, **files), tmp_path)


def test_the_rule_splits_one_file(by_rule: RecipeData) -> None:
    for split, judged in by_rule.splits.items():
        assert {split_of(query) for query in judged.queries} == {split}
    assert sum(map(len, by_rule.splits.values())) == 2 * len(QUERIES)


def test_pairs_are_written_with_targets_and_labels(by_rule: RecipeData, tmp_path: Path) -> None:
    by_rule.write_pairs("valid", tmp_path / "valid.csv")
    judged = by_rule.splits["valid"]
    targets, labels = (read_pairs(tmp_path / "valid.csv", each) for each in (TARGETS, LABELS))
    assert targets.queries == judged.queries
    assert targets.titles == judged.titles
    assert np.array_equal(targets.targets, (judged.relevance - 1) / 2)
    assert np.array_equal(labels.labels, judged.labels)
    assert 0.0 < by_rule.relevant_target() < 1.0


def test_nothing_of_valid_and_test_is_learned_from(by_file: RecipeData) -> None:
    found = by_file.transfer_queries(None)
    train = {query_key(query) for query in by_file.splits["train"].queries}
    assert {query_key(query) for query in found.texts} == train
    assert set(found.judged) == train
    assert found.held_out == len(by_file.held_out)
    assert by_file.held_out <= found.known  # no made query may be one of them
    held_out = by_file.splits["test"].queries[0].upper().replace(" ", "  ")
    with pytest.raises(TransferRefused, match=r"transfer: has 'QUERY\s+\d+', a query of valid or"):
        by_file.check_unseen(["new", held_out], "transfer")
    by_file.check_unseen(by_file.splits["train"].queries, "transfer")
    texts = by_file.texts
    assert not {query_key(text) for text in texts} & by_file.held_out
    assert "title 0" in texts


def test_a_query_in_two_splits_is_refused(tmp_path: Path) -> None:
    for name, queries in (("train", ["a", "b"]), ("valid", ["c"]), ("test", ["d", " A "])):
        write_judged(tmp_path / f"{name}.csv", queries)
    files = {name: Path(f"{name}.csv") for name in ("train", "valid", "test")}
    with pytest.raises(RecipeRefused, match="' A ' in train and test"):
        _ = RecipeData(data(judgments=None, **files), tmp_path).splits


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeRefused, match=re.escape(str(tmp_path / "j.csv"))):
        RecipeData(data(), tmp_path)


def test_products_without_ids_are_no_catalogue(by_rule: RecipeData, tmp_path: Path) -> None:
    by_rule.check_ids("student 'bag'")
    titles = {product.entry_id: product.text for product in entries(by_rule)}
    assert len(titles) == 2 * len(QUERIES)
    path = tmp_path / "j.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("product_id", "sku"), encoding="utf-8")
    unnamed = RecipeData(data(), tmp_path)
    with pytest.raises(
        RecipeRefused, match=r"student 'bag': .* in column 'product_id', got none for 120 of 120: "
    ):
        unnamed.check_ids("student 'bag'")
    named = RecipeData(data(id_column="sku"), tmp_path)
    named.check_ids("student 'bag'")
    assert {product.entry_id: product.text for product in entries(named)} == titles


def entries(found: RecipeData) -> list[Entry]:
    return [row for row in found.catalogue() if isinstance(row, Entry)]


def test_targets_that_say_nothing_of_relevance_are_refused(tmp_path: Path) -> None:
    write_judged(tmp_path / "j.csv", QUERIES)
    flat = data(targets={3.0: 0.5, 1.0: 0.5})
    with pytest.raises(RecipeRefused, match=r"targets of relevant grades \(from 2\) above"):
        RecipeData(flat, tmp_path).relevant_target()
