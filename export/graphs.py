"""A torch student as three ONNX graphs, and their weights on disk; nothing is measured here.

    query.onnx     token_ids, token_mask int64 [n, length] -> q float32 [n, d_q]
    product.onnx   token_ids, token_mask int64 [n, length] -> P float16 [n, d_p]
    head.onnx      q float32 [1, d_q], P float16 [n, d_p] -> score float32 [n]

The same student gives the same bytes on every export: whatever names a machine, a file or a moment
is removed.
"""

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from onnx import ModelProto, TensorProto, external_data_helper, helper, numpy_helper
from torch import Tensor, nn

from export.errors import ExportRefused
from export.students.student import Student, row_width
from model_store.manifest import GraphName

WEIGHTS_FILE = "vectors.weights"

_SHARED_FROM = 1024  # bytes; smaller tensors aren't worth a page
_PAGE = 4096  # tensors start on a page, so that ONNX Runtime can map them
_OPSET = 20
_LARGEST_PROTOBUF = 2**31


class _QueryGraph(nn.Module):
    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> Tensor:
        return self.student.query(token_ids, token_mask)


class _ProductGraph(nn.Module):
    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> Tensor:
        return self.student.product(token_ids, token_mask).to(torch.float16)


class _HeadGraph(nn.Module):
    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, q: Tensor, P: Tensor) -> Tensor:
        return torch.sigmoid(self.student.head(q, P.to(torch.float32)))


def trace_graphs(student: Student) -> dict[GraphName, ModelProto]:
    """The three graphs of a student in eval mode, weights inline.

    Raises:
        ExportRefused: the student is in training mode, or too large for one protobuf message.
    """
    length, rows = 7, 3  # any but 0 and 1, which the tracer would take for constants
    texts = (
        torch.ones((rows, length), dtype=torch.int64),
        torch.ones((rows, length), dtype=torch.int64),
    )
    text_axes = ({0: "n", 1: "length"}, {0: "n", 1: "length"})
    q = torch.zeros((1, row_width(student.query_segments)))
    P = torch.zeros((rows, row_width(student.product_segments)), dtype=torch.float16)
    return {
        "query": _trace(_QueryGraph(student), texts, ["token_ids", "token_mask"], "q", text_axes),
        "product": _trace(
            _ProductGraph(student), texts, ["token_ids", "token_mask"], "P", text_axes
        ),
        "head": _trace(_HeadGraph(student), (q, P), ["q", "P"], "score", ({}, {0: "n"})),
    }


def _trace(
    module: nn.Module,
    example: tuple[Tensor, Tensor],
    inputs: list[str],
    output: str,
    axes: tuple[dict[int, str], dict[int, str]],
) -> ModelProto:
    with quiet_exporter():
        program = torch.onnx.export(
            module.eval(),
            example,
            dynamo=True,
            opset_version=_OPSET,
            input_names=inputs,
            output_names=[output],
            dynamic_shapes=axes,
            verbose=False,
        )
    assert program is not None  # noqa: S101 (None is for the exporter we don't use)
    model: ModelProto = program.model_proto
    return stripped(model, output)


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Leaves out what the exporter says of its own insides and of packages nobody needs here."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)  # "torchvision is not installed"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"# The axis name", UserWarning)
            warnings.filterwarnings("ignore", r".*treespec, LeafSpec", FutureWarning)
            yield
    finally:
        log.setLevel(level)


def stripped(model: ModelProto, name: str) -> ModelProto:
    """The model without doc strings, stack traces, tool versions and inferred shapes.

    Inferred shapes go because they are not kept up to date when a graph is quantised.
    """
    graph = model.graph
    model.producer_name, graph.name = "winnow", name
    model.ClearField("producer_version")
    model.ClearField("doc_string")
    graph.ClearField("doc_string")
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        del part.metadata_props[:]
    return model


class SharedWeights:
    """One file of large tensors, each distinct content once, to which several graphs refer.

    Query and product side of a student share a table or an encoder; so do their files.
    """

    def __init__(self, path: Path, owner: ModelProto) -> None:
        """Writes the large tensors of `owner` (the product graph) to `path`, by name."""
        self._file = path.name
        self._place: dict[bytes, tuple[int, int]] = {}
        tensors = sorted(owner.graph.initializer, key=lambda tensor: tensor.name)
        with path.open("wb") as file:
            for tensor in tensors:
                raw = _raw(tensor)
                key = _content(raw)
                if len(raw) < _SHARED_FROM or key in self._place:
                    continue
                file.write(b"\0" * (-file.tell() % _PAGE))
                self._place[key] = (file.tell(), len(raw))
                file.write(raw)

    def save(self, model: ModelProto, path: Path) -> None:
        """Writes a graph beside the weights; tensors that lie there are not written again.

        Raises:
            ExportRefused: what remains inline is too large for one protobuf message.
        """
        lean = ModelProto()
        lean.CopyFrom(model)
        for tensor in lean.graph.initializer:
            raw = _raw(tensor)
            place = self._place.get(_content(raw)) if len(raw) >= _SHARED_FROM else None
            if place is not None:
                external_data_helper.set_external_data(tensor, self._file, *place)
                tensor.ClearField("raw_data")
        if lean.ByteSize() >= _LARGEST_PROTOBUF:
            raise ExportRefused(
                f"{path.name}: expected less than 2 GiB beside {self._file}, "
                f"got {lean.ByteSize()} bytes: use a smaller vocabulary"
            )
        path.write_bytes(lean.SerializeToString(deterministic=True))


def with_float32_rows(model: ModelProto) -> ModelProto:
    """The product graph with a second output `rows`: P before its cast to float16."""
    cast = next(node for node in model.graph.node if "P" in node.output)
    if cast.op_type != "Cast":
        raise ExportRefused(f"product: expected a Cast to float16 at the end, got {cast.op_type}")
    wide = ModelProto()
    wide.CopyFrom(model)
    rows = helper.make_node("Identity", [cast.input[0]], ["rows"])
    wide.graph.node.append(rows)
    shape = [dim.dim_param or dim.dim_value for dim in _shape(model)]
    wide.graph.output.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, shape))
    return wide


def _shape(model: ModelProto) -> Iterator[onnx.TensorShapeProto.Dimension]:
    return iter(model.graph.output[0].type.tensor_type.shape.dim)


def _raw(tensor: TensorProto) -> bytes:
    """The tensor's bytes; it keeps them as raw_data from now on."""
    if not tensor.HasField("raw_data"):
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    return bytes(tensor.raw_data)


def _content(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()
