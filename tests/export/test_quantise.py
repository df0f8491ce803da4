"""int8 graphs: where there are any, and that a score is the same in every tile."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto
from onnxruntime.quantization import QuantType, quantize_dynamic

from export.bundle_export import Exported
from export.parity import Rows, tile_independent
from export.sessions import onnx_head, open_graph


def _rows(exported: Exported, count: int) -> Rows:
    """Rows such as a request has: the golden ones, repeated with a little noise."""
    with np.load(exported.folder / "golden.npz", allow_pickle=False) as golden:
        q, P = golden["query.float32"], golden["product.float32"]
    noise = np.random.default_rng(0).normal(1.0, 0.1, (count, P.shape[1]))
    return Rows(q[-1:], (np.resize(P, noise.shape) * noise).astype(np.float16))


@pytest.mark.parametrize("kind", ["bert2dnn", "reprbert"])
def test_int8_scores_are_the_same_bit_by_bit_in_every_tile(
    kind: str, exported: dict[str, Exported]
) -> None:
    head = open_graph(exported[kind].folder / "head.int8.onnx")
    rows = _rows(exported[kind], 300)
    assert tile_independent(onnx_head(head), rows)
    (whole,) = head.run(["score"], {"q": rows.q, "P": rows.P})
    order = np.random.default_rng(1).permutation(300)
    (shuffled,) = head.run(["score"], {"q": rows.q, "P": rows.P[order]})
    np.testing.assert_array_equal(shuffled, whole[order])


def test_dynamic_scales_would_not_do(
    tmp_path: Path, traced: dict[str, dict[str, ModelProto]], exported: dict[str, Exported]
) -> None:
    onnx.save(traced["reprbert"]["head"], tmp_path / "head.onnx")
    quantize_dynamic(tmp_path / "head.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QInt8)
    dynamic = onnx_head(open_graph(tmp_path / "int8.onnx"))
    assert not tile_independent(dynamic, _rows(exported["reprbert"], 64))


@pytest.mark.parametrize("kind", ["bert2dnn", "reprbert"])
def test_int8_scores_keep_their_resolution(kind: str, exported: dict[str, Exported]) -> None:
    rows = _rows(exported[kind], 2_000)
    head = open_graph(exported[kind].folder / "head.int8.onnx")
    (scores,) = head.run(["score"], {"q": rows.q, "P": rows.P})
    # An int8 result would leave 256 of them at most.
    assert len(np.unique(scores)) > 1_000


@pytest.mark.parametrize(
    ("kind", "graphs"),
    [
        ("bert2dnn", {"query": False, "product": False, "head": True}),
        ("deepdot", {"query": True, "product": True, "head": False}),
    ],
)
def test_only_graphs_with_large_matrices_have_an_int8_variant(
    kind: str, graphs: dict[str, bool], exported: dict[str, Exported]
) -> None:
    for name, has in graphs.items():
        assert (exported[kind].folder / f"{name}.int8.onnx").exists() == has
    measured = {
        entry.graph for entry in exported[kind].manifest.parity if entry.precision == "int8"
    }
    assert measured == {name for name, has in graphs.items() if has}
