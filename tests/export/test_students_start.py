"""How each kind starts: what it takes from the options and the encoder, and what it refuses."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distill.errors import TrainingRefused
from distill.options import TrainOptions
from distill.start import BAGS, ENCODERS, start_student
from export.checkpoint import load_checkpoint, save_checkpoint
from export.pairs import Pairs
from export.students import KINDS
from export.students.listbert import ListBert
from export.students.poly import Poly
from export.students.reprbert import ReprBert
from export.students.siamese import Siamese


def test_every_kind_can_be_started() -> None:
    assert set(BAGS) | set(ENCODERS) == set(KINDS)


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoders_first_layers_are_borrowed(
    kind: str, encoder_folder: Path, pairs: Pairs, tmp_path: Path
) -> None:
    options = TrainOptions(encoder=encoder_folder, layers=1)
    start = start_student(kind, pairs, options, tmp_path)
    assert start.spec.kind == "wordpiece"
    assert start.facts["layers"] == 1
    stored = load_file(encoder_folder / "model.safetensors")
    ours = {
        name.removeprefix("encoder."): tensor
        for name, tensor in start.student.state_dict().items()
        if name.startswith("encoder.")
    }
    assert "encoder.layer.0.output.dense.weight" in ours
    assert not any(name.startswith("encoder.layer.1") for name in ours)
    for name, tensor in ours.items():
        assert torch.equal(tensor, stored[f"bert.{name}"])


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_saved_and_loaded_before_its_first_step(
    kind: str, encoder_folder: Path, pairs: Pairs, tmp_path: Path
) -> None:
    options = TrainOptions(encoder=None if kind in BAGS else encoder_folder)
    torch.manual_seed(0)
    start = start_student(kind, pairs, options, tmp_path)
    save_checkpoint(start.student, start.spec, start.facts, tmp_path)
    loaded = load_checkpoint(tmp_path)
    assert loaded.student.config == start.student.config
    assert loaded.student.kind == kind
    ours, theirs = loaded.student.state_dict(), start.student.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_options_reach_their_students(encoder_folder: Path, pairs: Pairs, tmp_path: Path) -> None:
    def start(kind: str, **wanted: object) -> object:
        options = TrainOptions(encoder=encoder_folder, **wanted)  # type: ignore[arg-type]
        return start_student(kind, pairs, options, tmp_path).student

    poly = start("poly", codes=5, pooling="cls")
    assert isinstance(poly, Poly)
    assert (poly.config.codes, poly.config.pooling, poly.codes.shape) == (5, "cls", (5, 32))
    siamese = start("siamese", pooling="cls")
    assert isinstance(siamese, Siamese)
    assert siamese.config.pooling == "cls"
    listbert = start("listbert")
    assert isinstance(listbert, ListBert)
    assert listbert.config.pooling == "mean"
    reprbert = start("reprbert", layers=3, late=False, attention=False)
    assert isinstance(reprbert, ReprBert)
    assert (reprbert.config.late, reprbert.config.intermediate) == (False, True)
    assert not reprbert.config.attention
    assert reprbert.config.layers == [1, 2]


def test_the_first_scores_lie_where_a_sigmoid_can_learn(
    encoder_folder: Path, pairs: Pairs, tmp_path: Path
) -> None:
    for kind in ("siamese", "poly", "listbert"):
        torch.manual_seed(0)
        start = start_student(kind, pairs, TrainOptions(encoder=encoder_folder), tmp_path)
        texts = [
            torch.from_numpy(array)
            for side, of in (("query", pairs.queries[:32]), ("product", pairs.titles[:32]))
            for array in start.tokenizer.encode(of, "query" if side == "query" else "product")
        ]
        with torch.no_grad():
            logits = start.student.eval()(*texts)
        assert logits.abs().max() < 20


@pytest.mark.parametrize(
    ("kind", "wrong", "expected"),
    [
        ("siamese", {}, "siamese starts from an encoder"),
        ("bert2dnn", {"layers": 3}, "student bert2dnn takes no layers"),
        ("deepdot", {"codes": 4}, "student deepdot takes no codes"),
        ("siamese", {"late": False}, "siamese takes no late: leave it out, or train one of repr"),
        ("reprbert", {"pooling": "cls"}, "reprbert takes no pooling: .* siamese, poly, listbert"),
        ("listbert", {"codes": 4}, "listbert takes no codes"),
        ("poly", {"tokenizer": "wordpiece"}, "poly takes no tokenizer"),
        ("poly", {"maximum_vocabulary": 10}, "poly takes no maximum_vocabulary"),
        ("reprbert", {"late": False, "intermediate": False}, "expected late or intermediate"),
        ("reprbert", {"late": False, "layers": 1}, "at least 2 layers"),
        ("poly", {"codes": 2_049}, "query row of at most 65536 floats, got 2049 codes of 32"),
        ("bert2dnn", {"tokenizer": "wordpiece"}, "tokenizer wordpiece: expected as encoder"),
    ],
)
def test_what_a_kind_does_not_take_is_refused(
    kind: str,
    wrong: dict[str, object],
    expected: str,
    encoder_folder: Path,
    pairs: Pairs,
    tmp_path: Path,
) -> None:
    encoder = None if "encoder" in expected else encoder_folder
    options = TrainOptions(encoder=encoder, **wrong)  # type: ignore[arg-type]
    with pytest.raises(TrainingRefused, match=expected):
        start_student(kind, pairs, options, tmp_path)


@pytest.mark.parametrize("name", ["minimum_frequency", "maximum_vocabulary"])
def test_a_vocabulary_of_word_pieces_is_not_built(
    name: str, encoder_folder: Path, pairs: Pairs, tmp_path: Path
) -> None:
    options = TrainOptions(tokenizer="wordpiece", encoder=encoder_folder, **{name: 5})  # type: ignore[arg-type]
    with pytest.raises(TrainingRefused, match=f"{name}: the vocabulary of tokenizer wordpiece"):
        start_student("deepdot", pairs, options, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"tokenizer": "bpe"}, "tokenizer: expected cwub or wordpiece, got 'bpe'"),
        ({"pooling": "max"}, "pooling: expected mean or cls, got 'max'"),
        ({"codes": 0}, "codes: expected at least 1, got 0"),
        ({"maximum_vocabulary": 0}, "maximum_vocabulary: expected at least 1, got 0"),
    ],
)
def test_values_out_of_range_are_named(wrong: dict[str, object], expected: str) -> None:
    with pytest.raises(TrainingRefused, match=expected):
        TrainOptions(**wrong)  # type: ignore[arg-type]
