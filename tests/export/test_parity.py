"""The gate: lets through what agrees with torch, refuses what does not, and says where."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import ModelProto

from export.checkpoint import Checkpoint
from export.errors import ExportRefused
from export.golden import ODD_TEXTS
from export.graphs import SharedWeights, trace_graphs, with_float32_rows
from export.pairs import Pairs
from export.parity import Float32Gate, Sample, check_float32, passes
from export.sessions import open_graph
from export.students import build_student
from export.students.student import Student
from model_store.manifest import Parity
from tests.export.small import KINDS

Graphs = dict[str, ort.InferenceSession]


@pytest.fixture(scope="module")
def gate_pairs(pairs: Pairs) -> Pairs:
    """A few dozen are enough where only a verdict is wanted."""
    return pairs.take(np.arange(40))


def _graphs(models: Mapping[str, ModelProto], folder: Path) -> Graphs:
    folder.mkdir()
    models = {**models, "wide": with_float32_rows(models["product"])}
    weights = SharedWeights(folder / "vectors.weights", models["product"])
    for name, model in models.items():
        weights.save(model, folder / f"{name}.onnx")
    return {name: open_graph(folder / f"{name}.onnx") for name in models}


def _check(checkpoint: Checkpoint, student: Student, pairs: Pairs, graphs: Graphs) -> Float32Gate:
    sample = Sample(checkpoint.tokenizer, pairs, ODD_TEXTS)
    names = ("query", "product", "wide", "head")
    return check_float32(student, sample, *(graphs[name] for name in names))


@pytest.mark.parametrize("kind", KINDS)
def test_it_passes_the_students_own_graphs(
    kind: str,
    tmp_path: Path,
    trained: dict[str, Checkpoint],
    traced: dict[str, dict[str, ModelProto]],
    gate_pairs: Pairs,
) -> None:
    graphs = _graphs(traced[kind], tmp_path / "graphs")
    gate = _check(trained[kind], trained[kind].student, gate_pairs, graphs)
    assert [entry.graph for entry in gate.parity] == ["query", "product", "head"]
    for entry in gate.parity:
        assert entry.max_score_difference <= 1e-5
        assert entry.auc == pytest.approx(entry.auc_reference, abs=1e-3)
        assert entry.pairs == 40 + len(ODD_TEXTS) ** 2
        assert entry.decisions_changed == pytest.approx(0, abs=1e-3)
    assert gate.equal_float16 > 0.95


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory, trained: dict[str, Checkpoint]) -> Graphs:
    """Graphs of another deep-dot student; its head is one bias, so another bias."""
    torch.manual_seed(9)
    other = build_student("deepdot", trained["deepdot"].student.config.model_dump()).eval()
    other.load_state_dict(other.state_dict() | {"b": torch.tensor(0.5)})
    models: dict[str, ModelProto] = dict(trace_graphs(other).items())
    return _graphs(models, tmp_path_factory.mktemp("foreign") / "graphs")


@pytest.mark.parametrize("name", ["query", "product", "head"])
def test_it_names_the_graph_of_another_student(
    name: str,
    tmp_path: Path,
    trained: dict[str, Checkpoint],
    traced: dict[str, dict[str, ModelProto]],
    foreign: Graphs,
    gate_pairs: Pairs,
) -> None:
    graphs = _graphs(traced["deepdot"], tmp_path / "graphs") | {name: foreign[name]}
    if name == "product":
        graphs["wide"] = foreign["wide"]
    with pytest.raises(ExportRefused, match=rf"^{name}\.onnx: expected .* got"):
        _check(trained["deepdot"], trained["deepdot"].student, gate_pairs, graphs)


def test_rows_beyond_float16_are_refused(
    tmp_path: Path,
    trained: dict[str, Checkpoint],
    traced: dict[str, dict[str, ModelProto]],
    gate_pairs: Pairs,
) -> None:
    checkpoint = trained["bert2dnn"]
    state = checkpoint.student.state_dict()
    table = state["bag.E.weight"] * 1e7
    large = build_student("bert2dnn", checkpoint.student.config.model_dump()).eval()
    large.load_state_dict(state | {"bag.E.weight": table})
    models = {}
    for name, model in traced["bert2dnn"].items():
        models[name] = ModelProto()
        models[name].CopyFrom(model)
        for tensor in models[name].graph.initializer:
            if tensor.name == "student.bag.E.weight":
                tensor.raw_data = table.numpy().tobytes()
    graphs = _graphs(models, tmp_path / "graphs")
    with pytest.raises(ExportRefused, match=r"product\.onnx: .*must stay below 65504"):
        _check(checkpoint, large, gate_pairs, graphs)


@pytest.mark.parametrize(
    ("auc", "changed", "passed"),
    [
        (0.8, 0.0, True),
        (0.8019, 0.0049, True),
        (0.7979, 0.0, False),
        (0.8021, 0.0, False),
        (0.8, 0.0051, False),
        (None, 0.0, False),
        (0.8, None, False),
    ],
)
def test_int8_runs_within_small_changes_of_auc_and_of_decisions(
    *, auc: float | None, changed: float | None, passed: bool
) -> None:
    entry = Parity(
        graph="head",
        precision="int8",
        pairs=10,
        max_score_difference=0.1,
        mean_score_difference=0.1,
        spearman=None,
        auc_reference=0.8,
        auc=auc,
        decisions_changed=changed,
    )
    assert passes(entry) is passed
