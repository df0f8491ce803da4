"""Lexical teachers with an encoder: features of its vectors, and folders that carry it along."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from distill import lexical_meaning
from distill.errors import TeacherRefused
from distill.lexical_catalogue import Catalogue, learn_catalogue
from distill.lexical_features import FEATURES
from distill.lexical_meaning import MEANING, Meaning
from distill.lexical_options import LexicalOptions
from distill.lexical_teach import TaughtLexical, teach_lexical
from distill.lexical_teacher import LexicalTeacher
from distill.token_graph import token_encoder_files
from distill.token_vectors import TokenEncoder
from export.errors import EncoderRefused
from export.pairs import Pairs

ROOT = Path(__file__).parents[2]
TITLES = ["red lamp with steel shade", "blue phone case", "garden hose kit", "lamp"]
Parts = tuple[Pairs, Pairs]

QUICK = LexicalOptions(seed=1, models=1, rounds=20, patience=20, leaf_pairs=10, learning_rate=0.1)


def _silent(phase: str, done: int, total: int | None) -> None: ...


@pytest.fixture(scope="module")
def files(encoder_folder: Path) -> dict[str, bytes]:
    return token_encoder_files(encoder_folder)


@pytest.fixture(scope="module")
def catalogue(files: dict[str, bytes]) -> Catalogue:
    encoder = TokenEncoder(files, 1)
    return learn_catalogue(encoder.vectors(TITLES), encoder.vocabulary)


@pytest.fixture(scope="module")
def few(parts: Parts) -> Parts:
    """Enough pairs to grow trees on."""
    return parts[0].take(np.arange(400)), parts[1]


@pytest.fixture(scope="module")
def taught(
    tmp_path_factory: pytest.TempPathFactory, few: Parts, encoder_folder: Path
) -> TaughtLexical:
    return _teach(few, encoder_folder, tmp_path_factory.mktemp("taught") / "words")


def _teach(few: Parts, encoder: Path, out: Path) -> TaughtLexical:
    return teach_lexical(*few, ["lamp shade"], out, QUICK, _silent, 1, encoder)


def _rows(files: dict[str, bytes], catalogue: Catalogue, threads: int = 1) -> NDArray[np.float32]:
    """Each of TITLES beside each, [4, 4, M]."""
    meaning = Meaning(TokenEncoder(files, threads), catalogue)
    matrix = meaning.matrix([title for title in TITLES for _ in TITLES], TITLES * len(TITLES))
    return matrix.reshape(len(TITLES), len(TITLES), len(MEANING))


def test_a_text_is_nearest_to_itself(files: dict[str, bytes], catalogue: Catalogue) -> None:
    rows = _rows(files, catalogue)
    for name in (*MEANING[:3], "middle_mean", "last_weight", "last_least", "middle_last"):
        column = rows[:, :, MEANING.index(name)]
        assert np.diag(column) == pytest.approx(1.0, abs=2e-3)
        assert (column <= np.diag(column)[:, np.newaxis] + 2e-3).all()
    assert np.diag(rows[:, :, MEANING.index("middle_gap")]) == pytest.approx(0.0, abs=0.02)
    assert np.diag(rows[:, :, MEANING.index("middle_last_place")]) == pytest.approx(1.0)


def test_head_ends_where_the_rest_is_named(files: dict[str, bytes]) -> None:
    encoder = TokenEncoder(files, 1)
    red_lamp = len(encoder.vectors(["red lamp"])[0].pieces)
    for title in ("red lamp with case", "red lamp, blue", "red lamp (2 Pack)", "red lamp"):
        assert encoder.vectors([title])[0].head == red_lamp
    assert encoder.vectors(["with case"])[0].head == len(encoder.vectors(["with case"])[0].pieces)


def test_company_threads_and_memory_change_nothing(
    files: dict[str, bytes], catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _rows(files, catalogue)
    assert _rows(files, catalogue, threads=3).tobytes() == whole.tobytes()
    monkeypatch.setattr(lexical_meaning, "_MOST_KEPT", 1)
    meaning = Meaning(TokenEncoder(files, 1), catalogue)
    for number, query in reversed([*enumerate(TITLES)]):
        alone = [meaning.matrix([query], [title])[0] for title in TITLES]
        assert np.array(alone).tobytes() == whole[number].tobytes()


def test_texts_without_tokens_have_no_numbers(
    files: dict[str, bytes], catalogue: Catalogue
) -> None:
    meaning = Meaning(TokenEncoder(files, 1), catalogue)
    assert np.isnan(meaning.matrix(["", " ", "lamp"], ["lamp", "lamp", ""])).all()
    long = meaning.matrix(["lamp " * 300, "椅子", "🙂"], ["red " * 500, "lamp", "lamp"])
    assert np.isfinite(long).all()
    assert meaning.matrix([], []).shape == (0, len(MEANING))


def test_it_comes_back_with_its_encoder(taught: TaughtLexical, few: Parts) -> None:
    teacher = LexicalTeacher.load(taught.folder, 1)
    described = teacher.description
    assert described.features == (*FEATURES, *MEANING)
    assert {"encoder.onnx", "encoder_tokenizer.json", "meaning.npz"} <= {*described.files}
    assert described.training["encoder_sha256"]
    valid = few[1]
    whole = teacher.logits(valid.queries, valid.titles)
    assert taught.roc_auc > 0.8
    assert np.isfinite(teacher.logits(["", "椅子"], ["lamp", ""])).all()
    alone = [
        LexicalTeacher.load(taught.folder, 1).logits([query], [title])[0]
        for query, title in zip(valid.queries[:3], valid.titles[:3], strict=True)
    ]
    assert np.array(alone).tobytes() == whole[:3].tobytes()


def test_same_encoder_same_files(
    taught: TaughtLexical, few: Parts, encoder_folder: Path, tmp_path: Path
) -> None:
    again = _teach(few, encoder_folder, tmp_path / "again")
    assert again.description == taught.description


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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("encoder.onnx", "encoder.onnx: not a whole ONNX graph"),
        ("encoder_tokenizer.json", "encoder_tokenizer.json: not a tokenizer"),
        ("meaning.npz", "meaning.npz: not a whole .npz"),
    ],
)
def test_damaged_files_are_refused(
    taught: TaughtLexical, tmp_path: Path, name: str, expected: str
) -> None:
    for path in taught.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes(b"half")
    with pytest.raises(TeacherRefused, match=f"{name}: damaged: expected sha256"):
        LexicalTeacher.load(tmp_path)
    described = json.loads((tmp_path / "teacher.json").read_bytes())
    described["files"][name] = hashlib.sha256(b"half").hexdigest()
    (tmp_path / "teacher.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(TeacherRefused, match=expected):
        LexicalTeacher.load(tmp_path)


def test_a_folder_without_an_encoder_is_refused(few: Parts, tmp_path: Path) -> None:
    with pytest.raises(EncoderRefused, match=r"expected the config\.json of an encoder"):
        _teach(few, tmp_path, tmp_path / "words")
    assert list(tmp_path.iterdir()) == []
