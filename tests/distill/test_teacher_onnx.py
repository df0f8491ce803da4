"""Converted teachers: the same scores as PyTorch, refused where they aren't."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distill.cross_encoder import CrossEncoder
from distill.errors import TeacherRefused
from distill.pair_tokens import PairTokenizer
from distill.pretrained import load_encoder, load_tokenizer
from distill.teach import teach
from distill.teach_options import Loss, TeachOptions
from distill.teacher import Teacher, load_teacher, save_teacher
from distill.teacher_conversion import TOLERANCE, Conversion, convert_teacher
from distill.teacher_file import HeadConfig, Scale, TeacherFile
from distill.teacher_onnx import OnnxTeacher, open_teacher
from evaluation.metrics import roc_auc
from export.pairs import Pairs
from tests.distill.families import FAMILIES, write_encoder

ROOT = Path(__file__).parents[2]
Parts = tuple[Pairs, Pairs]


def _silent(phase: str, done: int, total: int | None) -> None: ...


def _taught(encoder: Path, parts: Parts, out: Path, loss: Loss = "pointwise") -> Teacher:
    options = TeachOptions(
        loss=loss,
        epochs=3,
        batch_size=32,
        learning_rate=2e-3,
        head_learning_rate=1e-3,
    )
    teach(encoder, *parts, out, options, _silent, "cpu")
    return load_teacher(out, "cpu")


@pytest.fixture(scope="module")
def teacher(
    tmp_path_factory: pytest.TempPathFactory, parts: Parts, encoder_folder: Path
) -> Teacher:
    """Listwise, so that its scale is not (1, 0)."""
    return _taught(encoder_folder, parts, tmp_path_factory.mktemp("taught") / "t", "approxndcg")


@pytest.fixture(scope="module")
def converted(
    tmp_path_factory: pytest.TempPathFactory, teacher: Teacher, parts: Parts
) -> Conversion:
    """That teacher in float32; tests change copies of its folder."""
    out = tmp_path_factory.mktemp("converted") / "onnx"
    return convert_teacher(teacher, parts[1], out, precision="float32", threads=1)


def test_float32_gives_pytorchs_logits(
    teacher: Teacher, converted: Conversion, parts: Parts
) -> None:
    assert converted.largest_difference < 1e-3
    ours = OnnxTeacher.load(converted.folder, threads=1).logits(parts[1].queries, parts[1].titles)
    theirs = teacher.logits(parts[1].queries, parts[1].titles)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert np.abs(ours - theirs).max() == pytest.approx(converted.largest_difference)


def test_int8_keeps_the_auc_and_says_what_it_found(
    teacher: Teacher, parts: Parts, tmp_path: Path
) -> None:
    found = convert_teacher(teacher, parts[1], tmp_path / "onnx", threads=1)
    scorer = OnnxTeacher.load(tmp_path / "onnx", threads=1)
    logits = scorer.logits(parts[1].queries, parts[1].titles)
    assert logits.dtype == np.float32
    assert roc_auc(parts[1].labels, logits) == found.roc_auc_onnx
    assert abs(found.roc_auc_onnx - found.roc_auc_torch) <= TOLERANCE
    assert 0 < found.largest_difference < np.ptp(logits) / 10
    facts = json.loads((tmp_path / "onnx" / "teacher.json").read_text())
    assert facts["conversion"]["roc_auc_onnx"] == found.roc_auc_onnx
    assert facts["teacher_sha256"] == teacher.sha256 != scorer.sha256
    assert found.onnx_pairs_per_s > 0 < found.torch_pairs_per_s
    graph = (tmp_path / "onnx" / "graph.onnx").read_bytes()
    assert b"DynamicQuantizeLinear" in graph
    again = OnnxTeacher.load(tmp_path / "onnx", threads=1)
    assert again.sha256 == scorer.sha256
    np.testing.assert_array_equal(again.logits(parts[1].queries, parts[1].titles), logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_converts(family: str, parts: Parts, tmp_path: Path) -> None:
    few = (parts[0].take(np.arange(100)), parts[1])
    encoder = write_encoder(family, tmp_path / "encoder", few[0].titles)
    teacher = _taught(encoder, few, tmp_path / "teacher")
    found = convert_teacher(teacher, few[1], tmp_path / "onnx", precision="float32", threads=1)
    assert found.largest_difference < 1e-3
    # Lengths and numbers of pairs that tracing has not seen.
    scorer = OnnxTeacher.load(tmp_path / "onnx", threads=1)
    for count in (1, 2, 7):
        queries, titles = few[1].queries[:count], few[1].titles[:count]
        np.testing.assert_allclose(
            scorer.logits(queries, titles), teacher.logits(queries, titles), atol=1e-3
        )


def test_a_graph_that_loses_auc_is_refused(
    encoder_folder: Path, parts: Parts, tmp_path: Path
) -> None:
    """Logits of random weights lie so close together that int8 puts them in another order."""
    network = load_encoder(encoder_folder)
    model = CrossEncoder(network, network.config, HeadConfig())
    description = TeacherFile(pair_tokens=32, head=HeadConfig(), scale=Scale(), training={})
    (tmp_path / "random").mkdir()
    tokenizer = PairTokenizer(load_tokenizer(encoder_folder), None)
    save_teacher(model, tokenizer, description, tmp_path / "random")
    teacher = load_teacher(tmp_path / "random", "cpu")
    (tmp_path / "onnx.unfinished").mkdir()  # as a killed command leaves it
    (tmp_path / "onnx.unfinished" / "graph.onnx").touch()
    with pytest.raises(TeacherRefused, match=r"int8: expected a ROC-AUC within 0\.003 of"):
        convert_teacher(teacher, parts[1], tmp_path / "onnx", threads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["random"]
    convert_teacher(teacher, parts[1], tmp_path / "onnx", precision="float32", threads=1)


def test_conversion_never_overwrites(teacher: Teacher, parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(TeacherRefused, match="exists already"):
        convert_teacher(teacher, parts[1], tmp_path)


def test_either_kind_is_opened(teacher: Teacher, converted: Conversion, tmp_path: Path) -> None:
    taught = tmp_path / "taught"
    taught.mkdir()
    save_teacher(teacher.model, teacher.tokenizer, teacher.description, taught)
    shutil.copytree(converted.folder, tmp_path / "onnx")
    assert open_teacher(taught, device="cpu").sha256 == teacher.sha256
    assert isinstance(open_teacher(tmp_path / "onnx", threads=1), OnnxTeacher)
    with pytest.raises(TeacherRefused, match=r"not the teacher\.json of a cross-encoder-onnx"):
        OnnxTeacher.load(taught)
    with pytest.raises(TeacherRefused, match=r"can't be read .* `winnow teach`"):
        open_teacher(tmp_path)
    (tmp_path / "onnx" / "graph.onnx").write_bytes(b"not a graph")
    with pytest.raises(TeacherRefused, match="not a whole ONNX graph"):
        open_teacher(tmp_path / "onnx")
    (tmp_path / "onnx" / "tokenizer.json").unlink()
    with pytest.raises(TeacherRefused, match=r"tokenizer\.json: not a tokenizer"):
        open_teacher(tmp_path / "onnx")


def test_labelling_with_a_graph_needs_no_torch(teacher: Teacher, converted: Conversion) -> None:
    code = (
        "import sys, pathlib; from distill.teacher_onnx import open_teacher; "
        "print(open_teacher(pathlib.Path(sys.argv[1])).logits(['red'], ['usb cable'])[0]); "
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(converted.folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    logit, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    assert float(logit) == pytest.approx(teacher.logits(["red"], ["usb cable"])[0], abs=1e-3)
