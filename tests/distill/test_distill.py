"""A whole recipe, small: what it makes, what makes it again, and that a kill costs nothing."""

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from distill.errors import RecipeRefused, TeacherRefused, TransferRefused
from distill.labels import PairsFile
from distill.pipeline import follow, plan
from distill.recipe_data import SPLITS
from distill.recipe_file import read_recipe
from distill.stages.run import RecipeRun
from distill.stages.stage import Stage, Taken, path_sha256
from evaluation.errors import NoCleanSeparation
from evaluation.judgments import split_of
from evaluation.tables import rows
from export.checkpoint import load_checkpoint
from export.errors import EncoderRefused
from model_store.bundle import open_bundle
from model_store.registry import find
from tests.distill.tiny_recipe import write_tiny

ROOT = Path(__file__).parents[2]
STUDENTS = ("bag", "repr")  # those that are published


class Silent:
    """The progress nobody listens to."""

    def begins(self, stage: Stage, why: str | None) -> None: ...
    def phase(self, phase: str, done: int, total: int | None) -> None: ...
    def ends(self, taken: Taken) -> None: ...


@dataclass(frozen=True)
class Shop:
    """A folder with data, a recipe, its work and its registry."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "tiny.toml"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def bundles(self) -> Path:
        return self.folder / "bundles"

    def run(self, device: str = "cpu") -> RecipeRun:
        return RecipeRun(read_recipe(self.recipe), self.work, self.bundles, device=device)

    def follow(self, *until: str, device: str = "cpu") -> dict[str, Taken]:
        return {each.stage.title: each for each in follow(self.run(device), until, Silent())}

    def edited(self, before: str, after: str) -> "Shop":
        """The same shop with another recipe."""
        text = self.recipe.read_text(encoding="utf-8")
        assert text.count(before) == 1
        self.recipe.write_text(text.replace(before, after), encoding="utf-8")
        return self

    def copy(self, folder: Path) -> "Shop":
        shutil.copytree(self.folder, folder)
        return Shop(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, dict[str, Taken]]:
    """A recipe followed to its end; tests work on copies."""
    shop = Shop(tmp_path_factory.mktemp("whole"))
    write_tiny(shop.folder)
    return shop, shop.follow()


@pytest.fixture
def done(whole: tuple[Shop, dict[str, Taken]], tmp_path: Path) -> Shop:
    return whole[0].copy(tmp_path / "copy")


def test_every_stage_is_taken_in_its_order(whole: tuple[Shop, dict[str, Taken]]) -> None:
    _, taken = whole
    assert list(taken) == [
        "data",
        "encoder:small",
        "teacher:cross",
        "convert:cross",
        "transfer",
        "wide",
        "labels:cross",
        "labels-wide:cross",
        "labels-judged:cross",
        "student:bag",
        "student:repr",
        "student:bag-warm",
        "fine-tune:repr",
        "labels-wide:repr",
        "student:bag-assisted",
        "labels-alone:bag",
        *(f"{kind}:{name}" for kind in ("export", "calibrate", "publish") for name in STUDENTS),
        "judge:cross",
        "report:tiny",
    ]
    assert all(each.why == "new" for each in taken.values())
    for name in STUDENTS:
        auc = taken[f"publish:{name}"].result["test ROC-AUC"]
        assert isinstance(auc, float)
        assert auc > 0.7  # chance is 0.5


def test_judged_pairs_without_a_title_are_counted(
    whole: tuple[Shop, dict[str, Taken]], tmp_path: Path
) -> None:
    shop = Shop(tmp_path)
    write_tiny(shop.folder)
    products = shop.folder / "products.csv"
    kept = products.read_text(encoding="utf-8").splitlines(keepends=True)[:-100]
    products.write_text("".join(kept), encoding="utf-8")
    titled = {row.text("product_id") for row in rows(products)}
    judged = list(rows(shop.folder / "judgments.csv"))
    left = [row.text("query") for row in judged if row.text("product_id") in titled]
    splits = Counter(map(split_of, left))
    assert len(titled) == 140
    assert shop.follow("data")["data"].result == {
        "train": splits["train"],
        "valid": splits["valid"],
        "test": splits["test"],
        "judgements without a title left out": len(judged) - len(left),
    }
    assert list(whole[1]["data"].result) == list(SPLITS)  # where every product has one


def test_nothing_is_taken_twice(done: Shop) -> None:
    assert {each.why for each in done.follow().values()} == {None}
    assert [each.why for each in plan(done.run(), ())] == [None] * 24
    for name in STUDENTS:
        assert find(done.bundles, f"tiny-{name}").versions == ["1"]


def test_nothing_learned_from_has_a_query_of_valid_or_test(
    whole: tuple[Shop, dict[str, Taken]],
) -> None:
    work = whole[0].work
    transfer = [query for query, _ in PairsFile(work / "transfer.csv.gz").texts()]
    judged = [query for query, _ in PairsFile(work / "judged" / "train.csv").texts()]
    assert len(transfer) > 4096  # two shards of labels
    assert {split_of(query) for query in (*transfer, *judged)} == {"train"}
    sources = {row.text("source") for row in rows(work / "transfer.csv.gz")}
    assert {"judged", "bm25", "random", "neighbour", "pseudo"} == sources


def test_a_student_and_a_teacher_label_more_pairs_for_another_student(
    whole: tuple[Shop, dict[str, Taken]],
) -> None:
    shop, taken = whole
    transfer, wide = (
        sum(1 for _ in PairsFile(shop.work / f"{name}.csv.gz").texts())
        for name in ("transfer", "wide")
    )
    bag, assisted = (
        load_checkpoint(shop.work / "students" / name).training for name in ("bag", "bag-assisted")
    )
    assert (bag["teachers"], bag["pairs"]) == ("cross", transfer)
    assert (assisted["teachers"], assisted["pairs"]) == ("repr, cross", wide)
    assert wide > transfer
    assert taken["labels-wide:repr"].result["pairs"] == wide


def test_a_bundle_says_where_it_comes_from(whole: tuple[Shop, dict[str, Taken]]) -> None:
    shop, _ = whole
    manifest = open_bundle(shop.bundles / "tiny-repr" / "1").manifest
    facts = manifest.training
    run = shop.run()
    assert facts["recipe"] == "tiny"
    assert facts["recipe_sha256"] == run.file.sha256
    assert facts["recipe_seed"] == facts["seed"] == facts["teacher.cross.seed"] == 3
    for name in ("judgments", "products", "transfer", "teacher.cross"):
        key = "teacher.cross.sha256" if name == "teacher.cross" else f"{name}_sha256"
        assert len(str(facts[key])) == 64
    assert facts["version.torch"] == facts["torch"]
    assert facts["hard_weight"] == 0.5  # the second stage's own, and the first one's behind it
    assert facts["start.hard_weight"] == 0.0
    assert facts["start.teachers"] == "cross"
    (metrics,) = manifest.metrics
    judged = [row.text("query") for row in rows(shop.folder / "judgments.csv")]
    pairs = [split_of(query) for query in judged].count("test")
    assert (metrics.dataset, metrics.split, metrics.pairs) == ("tiny", "test", pairs)
    assert "recall=0.9" in manifest.thresholds.chosen_on
    assert manifest.calibration.fitted_on.startswith("tiny, split valid")


def test_the_report_has_a_line_for_everything(whole: tuple[Shop, dict[str, Taken]]) -> None:
    shop, _ = whole
    folder = shop.work / "report-tiny"
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    scorers = {each["scorer"]: each for each in report["scorers"]}
    assert list(scorers) == [
        "cross",
        "bag",
        "bag, labels alone",
        "repr",
        "repr, before fine-tuning",
        "bag-warm",
        "bag-assisted",
        "overlap",
        "bm25",
    ]
    assert scorers["cross"]["ratio"] is None
    ratio = scorers["repr"]["ratio"]["roc_auc"]
    figures = (scorers[name]["figures"]["roc_auc"]["value"] for name in ("repr", "cross"))
    assert ratio["low"] <= ratio["value"] == pytest.approx(next(figures) / next(figures))
    assert {each["student"] for each in report["agreement"]} >= {"bag", "repr"}
    sections = {each["title"]: each for each in report["sections"]}
    assert list(sections) == [
        "Students",
        "Distillation against the labels alone",
        "Fine-tuning",
        "Variants",
        "The published bundle against PyTorch",
        "Teachers as they label",
        "Where it comes from",
    ]
    assert sections["Variants"]["rows"][0][:2] == ["bag-warm", "temperature 1.0 -> 2.0"]
    (curve,) = report["curves"]
    assert curve["name"] == "by_temperature"
    assert [point["x"] for point in curve["curves"]["bag"]] == [1.0, 2.0]
    for plot in report["plots"]:
        assert (folder / plot).stat().st_size > 1000
    assert "## Students" in (folder / "report.md").read_text(encoding="utf-8")


def test_the_served_bundle_decides_as_the_checkpoint(whole: tuple[Shop, dict[str, Taken]]) -> None:
    report = json.loads((whole[0].work / "report-tiny" / "report.json").read_text(encoding="utf-8"))
    served = next(each for each in report["sections"] if "bundle against" in each["title"])
    for row in served["rows"]:
        difference = float(row[4].split()[0])
        assert abs(difference) <= 0.002
        assert all(float(cell.rstrip("%")) <= 2.0 for cell in row[5:])  # of 140 pairs


def test_a_changed_option_takes_its_stage_and_those_after_it(done: Shop) -> None:
    taken = done.edited("temperature = 2.0", "temperature = 3.0").follow()
    again = {title: each.why for title, each in taken.items() if each.why is not None}
    assert again == {
        "student:bag-warm": "temperature was 2.0, is 3.0",
        "report:tiny": "students/bag-warm changed",
    }


TEACHER_ALONE = """
[[teacher]]
name = "cross"
folder = "work/teachers/cross"

[transfer]
pseudo_queries = 10

[labels]
scorer = "float32"

[report]
resamples = 100
"""


@pytest.fixture
def compared(done: Shop) -> Shop:
    """The teacher that the recipe has made, in a report without a student."""
    text = done.recipe.read_text(encoding="utf-8")
    before = text[: text.index("[[encoder]]")]
    done.recipe.write_text(before + TEACHER_ALONE, encoding="utf-8")
    done.follow()
    return done


def test_another_scorer_takes_the_report_again(compared: Shop) -> None:
    report = compared.work / "report-tiny" / "report.json"

    def labels_in() -> list[str]:
        sections = json.loads(report.read_text(encoding="utf-8"))["sections"]
        (section,) = (each for each in sections if each["title"] == "Teachers as they label")
        return [row[2] for row in section["rows"]]

    assert labels_in() == ["float32"]
    taken = compared.edited('scorer = "float32"', 'scorer = "int8"').follow()
    again = [title for title, each in taken.items() if each.why is not None]
    assert again == ["convert:cross", "judge:cross", "report:tiny"]
    assert labels_in() == ["int8"]


def test_another_catalogue_takes_the_report_again(compared: Shop) -> None:
    """Its words are what BM25 weighs, though no judged pair has changed."""
    with (compared.folder / "products.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"more{number},red lamp {number}\n" for number in range(100))
    taken = compared.follow()
    again = {title: each.why for title, each in taken.items() if each.why is not None}
    assert again == dict.fromkeys(("data", "report:tiny"), "products changed")


def test_pairs_that_no_student_learns_are_not_made(done: Shop) -> None:
    def sets() -> set[str]:
        return {each.stage.title for each in plan(done.run(), ())} & {"transfer", "wide"}

    assert sets() == {"transfer", "wide"}
    text = done.recipe.read_text(encoding="utf-8")
    assisted, report = text.index('[[student]]\nname = "bag-assisted"'), text.index("[report]")
    done.recipe.write_text(text[:assisted] + text[report:], encoding="utf-8")
    assert sets() == {"transfer"}  # what learned the wide set is gone
    done.recipe.write_text(text[: text.index("[[student]]")] + text[report:], encoding="utf-8")
    assert sets() == set()


@pytest.mark.parametrize(
    ("stage", "made"),
    [
        ("teacher:cross", "teachers/cross"),
        ("student:bag", "students/bag"),
        ("fine-tune:repr", "fine-tuned/repr"),
        ("labels-alone:bag", "labels-alone/bag"),
    ],
)
def test_every_training_runs_on_the_device_that_is_named(done: Shop, stage: str, made: str) -> None:
    shutil.rmtree(done.work / made)
    with pytest.raises(TeacherRefused, match="device 'nowhere'"):
        done.follow(stage, device="nowhere")


def test_a_published_version_is_never_overwritten(done: Shop) -> None:
    before = (done.bundles / "tiny-bag" / "1" / "manifest.json").read_bytes()
    taken = done.edited("[report]", '[calibrate]\nprice = "recall=0.8"\n[report]').follow()
    again = [title for title, each in taken.items() if each.why is not None]
    assert again == [
        *(f"{kind}:{name}" for kind in ("calibrate", "publish") for name in STUDENTS),
        "report:tiny",
    ]
    assert find(done.bundles, "tiny-bag").versions == ["1", "2"]
    assert (done.bundles / "tiny-bag" / "1" / "manifest.json").read_bytes() == before
    one, two = (open_bundle(done.bundles / "tiny-bag" / each).manifest for each in "12")
    assert one.vector_fingerprint == two.vector_fingerprint
    assert one.thresholds.price < two.thresholds.price


def test_a_student_that_misses_its_target_is_named_and_the_others_go_on_without_it(
    done: Shop,
) -> None:
    out_of_reach = '[calibrate]\nprice = "precision=0.999"\n[report]'
    done.edited("[report]", out_of_reach)
    with pytest.raises(NoCleanSeparation, match=r"student 'bag': .*sort mode price.*publish = fal"):
        done.follow()
    for name in STUDENTS:
        done.edited(f'name = "{name}"\n', f'name = "{name}"\npublish = false\n')
    taken = done.follow()
    assert [title for title, each in taken.items() if each.why is not None] == ["report:tiny"]


def test_another_grade_is_another_ndcg_of_the_published_version(tmp_path: Path) -> None:
    """Though it is on the same side of relevant_from, so that no judged pair's target changes."""
    shop = Shop(tmp_path)
    write_tiny(shop.folder)
    shop.edited("targets = { 3 = 0.95, 2 = 0.8, 1 = 0.2, 0 = 0.05 }\n", "")
    shop.follow("publish:bag")
    path = shop.folder / "judgments.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    regraded = [
        f"{line[:-1]}3" if line.endswith(",2") and split_of(line.split(",")[0]) == "test" else line
        for line in lines
    ]
    assert regraded != lines
    path.write_text("\n".join(regraded) + "\n", encoding="utf-8")
    taken = shop.follow("publish:bag")
    again = {title: each.why for title, each in taken.items() if each.why is not None}
    read = ("data", "encoder:small", "transfer", "publish:bag")  # what reads that file, no more
    assert again == dict.fromkeys(read, "judgments changed")
    (one,), (two,) = (open_bundle(shop.bundles / "tiny-bag" / v).manifest.metrics for v in "12")
    assert one.ndcg_at_10 != two.ndcg_at_10
    assert (one.roc_auc, one.dataset_sha256) == (two.roc_auc, two.dataset_sha256)


def test_the_same_bundle_is_not_published_twice(done: Shop) -> None:
    """As if the command had been killed between publication and the stage's file."""
    shutil.rmtree(done.work / "published")
    taken = done.follow()
    assert [each.why for each in taken.values() if each.why is not None] == [
        "bag.json is gone",
        "repr.json is gone",
    ]
    assert find(done.bundles, "tiny-bag").versions == ["1"]


def test_until_takes_a_stage_and_what_it_is_made_from(done: Shop) -> None:
    done.edited('[[student]]\nname = "bag"', '[[student]]\nname = "bag"\npatience = 1')
    assert list(done.follow("teacher")) == ["data", "encoder:small", "teacher:cross"]
    taken = done.follow("student:bag", "labels-alone:bag")
    assert taken["student:bag"].why == "patience was 2, is 1"
    assert list(taken) == [
        "data",
        "encoder:small",
        "teacher:cross",
        "convert:cross",
        "transfer",
        "labels:cross",
        "student:bag",
        "labels-alone:bag",
    ]
    every = [each.stage.title for each in plan(done.run(), ())]
    assert [each.stage.title for each in plan(done.run(), ("report",))] == every
    assert find(done.bundles, "tiny-bag").versions == ["1"]
    with pytest.raises(RecipeRefused, match=r"expected a stage of this recipe, data, .*got 'x'"):
        done.follow("x")


def test_a_transfer_set_with_a_test_query_is_refused(done: Shop) -> None:
    held_out = next(query for query, _ in PairsFile(done.work / "judged" / "test.csv").texts())
    given = done.folder / "given.csv"
    given.write_text(f"query,title\nred lamp,red lamp 2\n{held_out.upper()},red lamp\n")
    text = done.recipe.read_text(encoding="utf-8")
    start, end = text.index("[transfer]"), text.index("[labels]")
    changed = f'{text[:start]}[transfer]\nfile = "given.csv"\n{text[end:]}'
    done.recipe.write_text(changed, encoding="utf-8")
    with pytest.raises(TransferRefused, match=r"given\.csv: has '.*', a query of valid or test"):
        done.follow("transfer")


def with_behaviour(shop: Shop, given: str) -> None:
    """A student of pairs in a file that counts as right what somebody wanted."""
    (shop.folder / "given.csv").write_text(given)
    text = shop.recipe.read_text(encoding="utf-8").replace("temperature = 2.0", "behaviour = true")
    start, end = text.index("[transfer]"), text.index("[wide]")
    changed = f'{text[:start]}[transfer]\nfile = "given.csv"\n{text[end:]}'
    shop.recipe.write_text(changed, encoding="utf-8")


def test_what_somebody_wanted_is_right_for_a_student_that_says_so(done: Shop) -> None:
    titles = [row.text("title") for row in rows(done.folder / "products.csv")]
    lines = [f"red lamp,{title},{number % 2 or ''}" for number, title in enumerate(titles)]
    with_behaviour(done, "\n".join(("query,title,behaviour", *lines)))
    done.follow("student:bag", "student:bag-warm")
    soft, hard = (
        load_checkpoint(done.work / "students" / name).training for name in ("bag", "bag-warm")
    )
    assert (soft["behaviour"], hard["behaviour"]) == (False, True)
    assert soft["pairs_sha256"] != hard["pairs_sha256"]


def test_behaviour_that_a_transfer_set_does_not_mark_is_refused_before_the_work(
    done: Shop,
) -> None:
    with_behaviour(done, "query,title\nred lamp,red lamp 2\n")
    with pytest.raises(
        RecipeRefused, match=r"'bag-warm': expected a column 'behaviour' of given\.csv"
    ):
        plan(done.run(), ())


def test_a_log_gives_no_query_of_valid_or_test_where_these_are_files(tmp_path: Path) -> None:
    """Each file has what the split rule would give to another one."""
    shop = Shop(tmp_path)
    write_tiny(shop.folder)
    judged = list(rows(shop.folder / "judgments.csv"))
    elsewhere = {"valid": "train", "test": "valid", "train": "test"}
    for split, file in elsewhere.items():
        with (shop.folder / f"{file}.csv").open("w", encoding="utf-8", newline="") as out:
            table = csv.writer(out)
            table.writerow(judged[0].fields)
            table.writerows(
                each.fields.values() for each in judged if split_of(each.text("query")) == split
            )
    with (shop.folder / "log.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(("query", "product_id", "shown", "clicked", "ordered"))
        table.writerows((each.text("query"), each.text("product_id"), 9, 1, 1) for each in judged)
    text = shop.recipe.read_text(encoding="utf-8")
    start, end = text.index("[transfer]"), text.index("[wide]")
    changed = text[:start] + '[transfer.log]\npath = "log.csv"\n' + text[end:]
    files = "".join(f'{file} = "{file}.csv"\n' for file in elsewhere.values())
    shop.recipe.write_text(
        changed.replace('judgments = "judgments.csv"\n', files), encoding="utf-8"
    )
    shop.follow("transfer")
    taken = {query for query, _ in PairsFile(shop.work / "transfer.csv.gz").texts()}
    assert taken == {each.text("query") for each in rows(shop.folder / "train.csv")}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('kind = "bert2dnn"', 'kind = "bert3dnn"', "student 'bag': unknown student 'bert3dnn'"),
        ('kind = "bert2dnn"', 'kind = "bert2dnn"\nlayers = 3', "takes no layers"),
        (
            'encoder = "teacher:cross"',
            "",
            "student 'repr': encoder: expected one for kind reprbert",
        ),
        ("new:small", "package:not_installed", "expected an installed package"),
        ("new:small", "./nowhere", "teacher 'cross': encoder: expected .*nowhere, which is not"),
        (
            'encoder = "teacher:cross"',
            'encoder = "./nowhere"',
            "student 'repr': encoder: expected .*nowhere, which is not there",
        ),
        ("[report]", '[[teacher]]\nname = "b"\nfolder = "b"\n[report]', "teacher 'b': folder: exp"),
        (
            "[transfer]\npairs_per_query = 12\npairs_per_made_query = 6\npseudo_queries = 500",
            '[transfer]\nfile = "pairs.csv"',
            r"transfer: file: expected .*pairs\.csv, which is not there",
        ),
    ],
)
def test_what_can_be_known_before_the_work_is_refused_before_it(
    done: Shop, before: str, after: str, message: str
) -> None:
    done.edited(before, after)
    with pytest.raises((RecipeRefused, EncoderRefused), match=message):
        done.follow("data")


KILLS: dict[str, Callable[[Path], bool]] = {
    "while it teaches": lambda work: (
        work / "teachers" / "cross.partial" / "state.safetensors"
    ).exists(),
    "between two shards": lambda work: (work / "labels" / "cross" / "000000.npy").exists(),
    "while it trains": lambda work: (
        work / "students" / "bag.partial" / "state.safetensors"
    ).exists(),
}


def test_a_killed_command_goes_on_to_the_same_bundles(
    whole: tuple[Shop, dict[str, Taken]], tmp_path: Path
) -> None:
    shop = Shop(tmp_path)
    write_tiny(shop.folder)
    shop.edited('name = "repr"', 'name = "repr"\npublish = false')  # its export takes long
    command = [sys.executable, "-c", "from cli.main import main; main()", "distill"]
    command += [str(shop.recipe), "--work", str(shop.work), "--bundles", str(shop.bundles)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for reached in KILLS.values():
        process = subprocess.Popen([*command, "--device", "cpu"], env=environment)
        while not reached(shop.work):
            assert process.poll() is None, "the command ended before it could be killed"
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not shop.bundles.exists()
    begun = [path.name for path in (shop.work / "stages").glob("*.begun.json")]
    assert begun == ["student.bag.begun.json"]
    ended = subprocess.run(
        [*command, "--device", "cpu", "--json"], env=environment, capture_output=True, check=True
    )
    taken = {each["stage"]: each["why"] for each in json.loads(ended.stdout)}
    assert taken["labels:cross"] is None
    assert taken["student:bag"] == "it was stopped"
    assert taken["student:repr"] == "new"
    for name in ("students/bag", "students/bag-warm", "fine-tuned/repr", "labels-alone/bag"):
        assert path_sha256(whole[0].work / name) == path_sha256(shop.work / name), name
    one, other = (each.bundles / "tiny-bag" / "1" for each in (whole[0], shop))
    assert contents(one) == contents(other)
    report = json.loads((shop.work / "report-tiny" / "report.json").read_text(encoding="utf-8"))
    typed = shlex.join([*command[3:], "--device", "cpu", "--json"])
    assert report["command"] == f"winnow {typed}"


def contents(bundle: Path) -> dict[str, object]:
    """Everything in a bundle but the time of its making."""
    manifest = open_bundle(bundle).manifest
    files = {path.name: path.read_bytes() for path in bundle.iterdir() if path.suffix != ".json"}
    description = manifest.model_dump(mode="json", exclude={"created", "bundle_fingerprint"})
    description["training"].pop("recipe_sha256")  # the two recipes publish other students
    return {**files, "manifest": description}
