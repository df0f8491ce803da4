"""A shorter encoder: what it learns of the whole, and who can start from it."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.errors import TrainingRefused
from distill.options import TrainOptions
from distill.pretrain_options import ShortenOptions
from distill.pretrained import load_encoder
from distill.shorten import SHORTENING_FILE, Shortened, shorten
from distill.start import start_student
from export.errors import EncoderRefused
from export.pairs import Pairs
from export.students.encoder import last_states
from export.students.pooling import pooled
from export.students.reprbert import ReprBert
from export.tokens import TokenRows
from model_store.wordpiece import TOKENIZER_FILE, WordPieceTokenizer
from tests.distill.families import write_encoder

QUICK = ShortenOptions(
    layers=1, epochs=2, batch_size=8, learning_rate=2e-3, held_out=0.1, save_every=3, seed=1
)


def _silent(phase: str, done: int, total: int | None) -> None: ...


@pytest.fixture(scope="module")
def texts(pairs: Pairs) -> list[str]:
    return list(dict.fromkeys(pairs.titles))[:200]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """A BERT of two layers."""
    return write_encoder("bert", tmp_path_factory.mktemp("encoders") / "bert", texts)


@pytest.fixture(scope="module")
def shortened(
    tmp_path_factory: pytest.TempPathFactory, encoder: Path, texts: list[str]
) -> Shortened:
    out = tmp_path_factory.mktemp("shortened") / "out"
    return shorten(encoder, texts, out, replace(QUICK, epochs=4), _silent, "cpu")


def _vectors(folder: Path, texts: list[str], layers: int | None = None) -> torch.Tensor:
    rows = TokenRows(WordPieceTokenizer(folder / TOKENIZER_FILE, 64, 64), texts, "product")
    token_ids, token_mask = rows.batch(np.arange(len(rows)))
    encoder = load_encoder(folder, layers).eval()
    with torch.inference_mode():
        return pooled(last_states(encoder, token_ids, token_mask), token_mask, "mean")


def test_its_vectors_become_those_of_the_whole(
    encoder: Path, shortened: Shortened, texts: list[str]
) -> None:
    whole, cut = _vectors(encoder, texts), _vectors(encoder, texts, layers=1)
    learned = _vectors(shortened.folder, texts)
    before = torch.cosine_similarity(cut, whole).mean()
    after = torch.cosine_similarity(learned, whole).mean()
    assert after > before + 0.02
    assert shortened.cosine_after > shortened.cosine_before
    facts = json.loads((shortened.folder / SHORTENING_FILE).read_text(encoding="utf-8"))
    assert facts["cosine_after"] == shortened.cosine_after
    assert facts["layers"] == 1
    assert facts["texts"] == len(texts)


def test_a_student_starts_from_it(shortened: Shortened, pairs: Pairs, tmp_path: Path) -> None:
    options = TrainOptions(encoder=shortened.folder, layers=1)
    start = start_student("reprbert", pairs, options, tmp_path)
    assert isinstance(start.student, ReprBert)
    mine = start.student.encoder.state_dict()
    theirs = load_encoder(shortened.folder).state_dict()
    assert mine.keys() <= theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


class _Stop(Exception):
    """Raised in the middle of a training."""


def test_a_stopped_one_ends_with_the_same_files(
    encoder: Path, tmp_path: Path, texts: list[str]
) -> None:
    whole = shorten(encoder, texts, tmp_path / "whole", QUICK, _silent, "cpu")
    seen = 0

    def stop(phase: str, done: int, total: int | None) -> None:
        nonlocal seen
        seen += phase.startswith("epoch") and done > 0
        if seen == 2:
            raise _Stop

    with pytest.raises(_Stop):
        shorten(encoder, texts, tmp_path / "stopped", QUICK, stop, "cpu")
    resumed = shorten(encoder, texts, tmp_path / "stopped", QUICK, _silent, "cpu")
    assert resumed.epochs == whole.epochs
    assert _digest(tmp_path / "stopped") == _digest(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped", "whole"]


def _digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_what_makes_no_sense_is_refused(encoder: Path, texts: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(TrainingRefused, match=r"layers: expected fewer than the 2 of .*, got 2"):
        shorten(encoder, texts, out, replace(QUICK, layers=2), _silent, "cpu")
    with pytest.raises(TrainingRefused, match="at least one held out, got 3 distinct ones"):
        shorten(encoder, texts[:3], out, QUICK, _silent, "cpu")
    with pytest.raises(TrainingRefused, match="layers: expected at least 1, got 0"):
        replace(QUICK, layers=0)
    with pytest.raises(TrainingRefused, match="pooling: expected mean or cls, got 'max'"):
        replace(QUICK, pooling="max")  # type: ignore[arg-type]
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in encoder.iterdir():
        if path.name != TOKENIZER_FILE:
            (bare / path.name).write_bytes(path.read_bytes())
    with pytest.raises(EncoderRefused, match=r"tokenizer\.json"):
        shorten(bare, texts, out, QUICK, _silent, "cpu")
    assert not out.exists()
