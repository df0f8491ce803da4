"""The three ONNX graphs: the student's numbers, the same bytes every time, weights once on disk."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

import export
from export.bundle_export import Exported
from export.checkpoint import Checkpoint
from export.graphs import WEIGHTS_FILE, SharedWeights, with_float32_rows
from tests.export.small import KINDS


def _session(model: ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "length"), [(1, 2), (1, 9), (5, 7), (3, 2)])
def test_towers_give_torchs_rows_for_any_shape(
    kind: str,
    rows: int,
    length: int,
    trained: dict[str, Checkpoint],
    traced: dict[str, dict[str, ModelProto]],
) -> None:
    random = np.random.default_rng(rows * length)
    ids = random.integers(4, 50, (rows, length))
    lengths = random.integers(2, length + 1, rows)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    feeds = {"token_ids": ids, "token_mask": mask}
    student = trained[kind].student
    with torch.no_grad():
        q, p = (
            tower(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
            for tower in (student.query, student.product)
        )
    (got_q,) = _session(traced[kind]["query"]).run(["q"], feeds)
    np.testing.assert_allclose(got_q, q, rtol=1e-5, atol=1e-5)
    wide = _session(with_float32_rows(traced[kind]["product"]))
    got_P, got_p = wide.run(["P", "rows"], feeds)
    np.testing.assert_allclose(got_p, p, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(got_P, got_p.astype(np.float16))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 2, 65])
def test_head_gives_torchs_scores_for_any_number_of_rows(
    kind: str,
    rows: int,
    trained: dict[str, Checkpoint],
    traced: dict[str, dict[str, ModelProto]],
    exported: dict[str, Exported],
) -> None:
    manifest = exported[kind].manifest
    random = np.random.default_rng(rows)
    q = random.standard_normal((1, manifest.d_q), dtype=np.float32)
    P = random.standard_normal((rows, manifest.d_p), dtype=np.float32).astype(np.float16)
    with torch.no_grad():
        logit = trained[kind].student.head(torch.from_numpy(q), torch.from_numpy(P).float())
    (scores,) = _session(traced[kind]["head"]).run(["score"], {"q": q, "P": P})
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, torch.sigmoid(logit).numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_exporting_twice_gives_the_same_bytes(
    kind: str,
    tmp_path: Path,
    traced: dict[str, dict[str, ModelProto]],
    exported: dict[str, Exported],
) -> None:
    weights = SharedWeights(tmp_path / WEIGHTS_FILE, traced[kind]["product"])
    for name, model in traced[kind].items():
        weights.save(model, tmp_path / f"{name}.onnx")
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (exported[kind].folder / path.name).read_bytes(), path.name


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_say_nothing_of_where_they_were_made(
    kind: str, exported: dict[str, Exported]
) -> None:
    checkout = str(Path(export.__file__).parent.parent)
    for path in sorted(exported[kind].folder.glob("*.onnx")):
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")  # numbers may look like anything
        text = str(model)
        for trace in (checkout, "/", "File ", ".py", "doc_string", "metadata_props", "pytorch"):
            assert trace not in text, (path.name, trace)
        assert not model.graph.value_info


def _external(path: Path) -> dict[str, dict[str, str]]:
    model = onnx.load(path, load_external_data=False)
    return {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
    }


@pytest.mark.parametrize(
    ("kind", "tensor"),
    [
        ("bert2dnn", "student.bag.E.weight"),
        ("deepdot", "student.bag.E.weight"),
        ("reprbert", "student.encoder.embeddings.word_embeddings.weight"),
    ],
)
def test_query_and_product_graph_share_one_table_on_disk(
    kind: str, tensor: str, exported: dict[str, Exported]
) -> None:
    folder = exported[kind].folder
    query, product = _external(folder / "query.onnx"), _external(folder / "product.onnx")
    assert query[tensor] == product[tensor]
    place = product[tensor]
    assert place["location"] == WEIGHTS_FILE
    assert int(place["offset"]) % 4096 == 0
    inline = (folder / "query.onnx").stat().st_size + (folder / "product.onnx").stat().st_size
    assert inline < (folder / WEIGHTS_FILE).stat().st_size


def test_int8_towers_share_the_table_too(exported: dict[str, Exported]) -> None:
    folder, table = exported["deepdot"].folder, "student.bag.E.weight"
    for name in ("query.int8.onnx", "product.int8.onnx"):
        assert _external(folder / name)[table] == _external(folder / "product.onnx")[table]


def test_equal_tensors_are_stored_once_and_small_ones_inline(tmp_path: Path) -> None:
    big, small = np.ones((32, 32), dtype=np.float32), np.ones(4, dtype=np.float32)
    tensors = [
        numpy_helper.from_array(array, name)
        for name, array in (("a", big), ("b", big), ("c", big + 1), ("d", small))
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [32, 32])]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [32, 32])
    nodes = [helper.make_node("Sum", ["x", "a", "b", "c"], ["y"])]
    graph = helper.make_graph(nodes, "sums", inputs, [output], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    SharedWeights(tmp_path / WEIGHTS_FILE, model).save(model, tmp_path / "sums.onnx")
    external = _external(tmp_path / "sums.onnx")
    assert external.keys() == {"a", "b", "c"}
    assert external["a"] == external["b"] != external["c"]
    assert (tmp_path / WEIGHTS_FILE).stat().st_size == 2 * 4096
    session = ort.InferenceSession(tmp_path / "sums.onnx", providers=["CPUExecutionProvider"])
    assert session.run(["y"], {"x": big})[0].tolist() == (big * 5).tolist()
