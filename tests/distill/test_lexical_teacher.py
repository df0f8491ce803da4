"""Lexical teachers: they learn, repeat themselves, come back from disk, refuse what is damaged."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.errors import TeacherRefused, TrainingRefused
from distill.labelling import open_scorer
from distill.lexical_options import LexicalOptions
from distill.lexical_teach import TaughtLexical, teach_lexical
from distill.lexical_teacher import LexicalTeacher
from distill.teacher import load_teacher
from distill.teacher_file import teacher_kind
from distill.teacher_onnx import OnnxTeacher, open_teacher
from evaluation.metrics import roc_auc
from export.pairs import Pairs

ROOT = Path(__file__).parents[2]
Parts = tuple[Pairs, Pairs]

QUICK = LexicalOptions(seed=1, models=2, rounds=60, patience=20, leaf_pairs=10, learning_rate=0.1)


def _silent(phase: str, done: int, total: int | None) -> None: ...


def _digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def _teach(parts: Parts, out: Path, options: LexicalOptions = QUICK) -> TaughtLexical:
    return teach_lexical(*parts, ["a title that no pair has"], out, options, _silent, 1)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, parts: Parts) -> TaughtLexical:
    return _teach(parts, tmp_path_factory.mktemp("taught") / "words")


@pytest.fixture
def copied(taught: TaughtLexical, tmp_path: Path) -> Path:
    """A copy of the teacher, to be damaged."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in taught.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_it_learns(taught: TaughtLexical, parts: Parts) -> None:
    """Validation queries are none of the training's: half of the pairs have their query's words."""
    valid = parts[1]
    teacher = LexicalTeacher.load(taught.folder, 1)
    logits = teacher.logits(valid.queries, valid.titles)
    assert logits.dtype == np.float32
    assert roc_auc(valid.labels, logits) == taught.roc_auc
    assert taught.roc_auc > 0.9
    assert taught.roc_auc == teacher.description.training["validation_roc_auc"]
    # Targets are 0.9 and 0.1: the logits are log odds of them.
    assert logits[valid.labels].mean() == pytest.approx(np.log(9), abs=0.8)
    assert logits[~valid.labels].mean() == pytest.approx(-np.log(9), abs=0.8)


def test_misspelt_words_are_above_other_titles(taught: TaughtLexical) -> None:
    teacher = LexicalTeacher.load(taught.folder, 1)
    near, far = teacher.logits(
        ["gardn hosse"] * 2, ["steel garden hose kit", "phone case cover usb"]
    )
    assert near > far


def test_chinese_and_empty_texts_are_finite(taught: TaughtLexical) -> None:
    teacher = LexicalTeacher.load(taught.folder, 1)
    texts = ["红色手机", "手机", "", " ", "!?", "\x00", "x" * 3000, "a " * 500, "12", "🙂"]
    queries = [text for text in texts for _ in texts]
    assert np.isfinite(teacher.logits(queries, texts * len(texts))).all()
    one, other = teacher.logits(["红色手机"] * 2, ["手机 红色 steel", "paint brush steel"])
    assert one > other
    assert teacher.logits([], []).shape == (0,)


def test_company_does_not_change_a_logit(taught: TaughtLexical, parts: Parts) -> None:
    teacher = LexicalTeacher.load(taught.folder, 1)
    some = parts[1].take(np.arange(40))
    whole = teacher.logits(some.queries, some.titles)
    alone = [
        teacher.logits([query], [title])[0]
        for query, title in zip(some.queries, some.titles, strict=True)
    ]
    assert np.array(alone).tobytes() == whole.tobytes()
    backwards = teacher.logits(some.queries[::-1], some.titles[::-1])
    assert backwards[::-1].tobytes() == whole.tobytes()


def test_same_seed_same_files_other_seed_other_logits(
    taught: TaughtLexical, parts: Parts, tmp_path: Path
) -> None:
    again = _teach(parts, tmp_path / "again")
    assert _digest(again.folder) == _digest(taught.folder)
    assert _hash(again.folder) == _hash(taught.folder)
    other = _teach(parts, tmp_path / "other", replace(QUICK, seed=9))
    assert _hash(other.folder) != _hash(taught.folder)
    queries, titles = parts[1].queries, parts[1].titles
    one, two = (LexicalTeacher.load(each.folder, 1) for each in (taught, other))
    assert not np.array_equal(one.logits(queries, titles), two.logits(queries, titles))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "other"]


def test_a_stopped_writing_leaves_nothing_in_the_way(
    taught: TaughtLexical, parts: Parts, tmp_path: Path
) -> None:
    left = tmp_path / "words.unfinished"
    left.mkdir()
    (left / "model-7.txt").write_text("half", encoding="utf-8")
    assert _digest(_teach(parts, tmp_path / "words").folder) == _digest(taught.folder)
    assert not left.exists()


def test_binary_targets_and_facts(parts: Parts, tmp_path: Path) -> None:
    options = replace(QUICK, binary=True, models=1, rounds=20)
    taught = _teach(parts, tmp_path / "words", options)
    facts = taught.description.training
    assert facts["binary"] is True
    assert facts["pairs"] == len(parts[0])
    assert facts["catalogue"] == len({*parts[0].titles}) + 1
    assert [model.seed for model in taught.models] == [1]
    assert facts["rounds"] == str(taught.models[0].rounds)


def test_each_kind_is_opened_as_what_it_is(taught: TaughtLexical, tmp_path: Path) -> None:
    assert teacher_kind(taught.folder) == "lexical"
    assert teacher_kind(tmp_path) is None
    for scorer in (open_teacher(taught.folder, None, 1), open_scorer(taught.folder, "cpu", 1)):
        assert isinstance(scorer, LexicalTeacher)
    with pytest.raises(TeacherRefused, match=r"not the teacher\.json of a cross-encoder:"):
        load_teacher(taught.folder, "cpu")
    with pytest.raises(TeacherRefused, match=r"not the teacher\.json of a cross-encoder-onnx"):
        OnnxTeacher.load(taught.folder)


def test_labelling_needs_no_torch(taught: TaughtLexical) -> None:
    code = (
        "import sys; from pathlib import Path; from distill.labelling import open_scorer\n"
        "print(open_scorer(Path(sys.argv[1]), None, 1).logits(['lamp'], ['red lamp'])[0])\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(taught.folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.isfinite(float(done.stdout))


@pytest.mark.parametrize("name", ["model-0.txt", "model-1.txt", "vocabulary.json", "vectors.npz"])
def test_damaged_files_are_refused(copied: Path, name: str) -> None:
    whole = (copied / name).read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-1] + b"!", b""):
        (copied / name).write_bytes(damaged)
        with pytest.raises(TeacherRefused, match=f"{name}: damaged: expected sha256"):
            LexicalTeacher.load(copied)
    (copied / name).unlink()
    with pytest.raises(TeacherRefused, match=f"{name}: can't be read: No such file"):
        LexicalTeacher.load(copied)


def test_files_that_are_whole_but_wrong_are_refused(copied: Path) -> None:
    for content, expected in ((b"tree\nversion=v4\n", "not trees of LightGBM"), (b"", "not trees")):
        (copied / "model-0.txt").write_bytes(content)
        _sign(copied, "model-0.txt")
        with pytest.raises(TeacherRefused, match=f"model-0.txt: {expected}"):
            LexicalTeacher.load(copied)


def test_teacher_json_of_other_features_or_files_is_refused(copied: Path) -> None:
    path = copied / "teacher.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    for change, expected in (
        ({"features": [*whole["features"][1:], "new"]}, "1 unknown ones .'new'., lacks 1"),
        ({"files": {}}, "files: expected model-0.txt, model-1.txt, vectors.npz"),
        ({"format_version": 2}, "not the teacher.json of a lexical"),
        ({"models": []}, "not the teacher.json of a lexical"),
    ):
        path.write_text(json.dumps(whole | change), encoding="utf-8")
        with pytest.raises(TeacherRefused, match=expected):
            open_teacher(copied)


def test_trainings_that_make_no_sense_are_refused(
    taught: TaughtLexical, parts: Parts, tmp_path: Path
) -> None:
    with pytest.raises(TrainingRefused, match="exists already; training never overwrites"):
        _teach(parts, taught.folder)
    one_class = replace(parts[0], targets=np.ones_like(parts[0].targets))
    with pytest.raises(TrainingRefused, match="expected relevant and irrelevant training pairs"):
        _teach((one_class, parts[1]), tmp_path / "words")
    for options in ({"models": 0}, {"rounds": 0}, {"learning_rate": 1.0}, {"leaves": 1}):
        with pytest.raises(TrainingRefused, match=f"{next(iter(options))}: expected"):
            replace(QUICK, **options)
    assert list(tmp_path.iterdir()) == []


def _hash(folder: Path) -> str:
    return LexicalTeacher.load(folder, 1).sha256


def _sign(folder: Path, name: str) -> None:
    """Makes teacher.json agree with a file that was changed."""
    path = folder / "teacher.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(document), encoding="utf-8")
