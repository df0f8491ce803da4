"""int8 graphs: the head with fixed scales, query and product with scales of the text at hand.

A score must not depend on the tile it is computed in. Dynamic quantisation takes one scale per
tensor and run, so in the head the scale, and with it every score, would depend on the other
candidates of the tile. The head therefore gets scales fixed at export from real rows; query and
product graphs run one text at a time, where there are no others.
"""

import math
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, ValueInfoProto, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from export.graphs import stripped
from export.rounding import Rounding

_OPS = ["MatMul", "Gemm"]
_NARROW = 4096  # values of a weight matrix below which int8 saves nothing
_LARGEST = 64  # of an int8 weight with `reduce_range`
_WORTH_IT = 2**18  # values of all matrices below which a text takes microseconds either way

Tile = tuple[NDArray[np.float32], NDArray[np.float16]]
"""A query row q [1, d_q] and product rows P [n, d_p]."""


class _Tiles(CalibrationDataReader):  # type: ignore[misc]
    """Feeds tiles to ONNX Runtime's calibration."""

    def __init__(self, tiles: Sequence[Tile]) -> None:
        self._feeds = iter([{"q": q, "P": P} for q, P in tiles])

    def get_next(self) -> dict[str, object] | None:
        return next(self._feeds, None)


def quantised_head(model: ModelProto, tiles: Sequence[Tile]) -> ModelProto | None:
    """The head with int8 weights per channel and activation scales fixed by `tiles`.

    The last, narrow layer stays float32: an int8 result has 256 levels, and a thousand candidates
    would share a few hundred scores. None where there is no weight matrix (deep-dot's product).
    """
    wide, narrow = _matrices(model)
    if not wide:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.onnx"
        quantize_static(
            _prepared(model),
            path,
            _Tiles(tiles),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPS,
            nodes_to_exclude=narrow,
            per_channel=True,
            reduce_range=True,  # 7-bit weights: no saturation on CPUs without VNNI
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Percentiles and entropy came out no closer to float32 on real rows.
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"MatMulConstBOnly": True},
        )
        int8 = onnx.load(path)
    _round_for_rows(int8, model, wide, tiles)
    return stripped(int8, model.graph.name)


def quantised_tower(model: ModelProto) -> ModelProto | None:
    """The query or product graph with int8 weights per channel and scales taken at run time.

    None where the weight matrices are too small to be worth it (BERT2DNN's).
    """
    wide, narrow = _matrices(model)
    if sum(wide.values()) < _WORTH_IT:
        return None
    return dynamically_quantised(model, narrow)


def dynamically_quantised(model: ModelProto, left_out: Sequence[str] = ()) -> ModelProto:
    """A graph with int8 weights per channel and scales taken at run time, but for some nodes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        quantize_dynamic(
            _prepared(model),
            path,
            op_types_to_quantize=_OPS,
            nodes_to_exclude=list(left_out),
            per_channel=True,
            reduce_range=True,  # 7-bit weights: no saturation on CPUs without VNNI
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return stripped(onnx.load(path), model.graph.name)


def _round_for_rows(
    int8: ModelProto, model: ModelProto, wide: Iterable[str], tiles: Sequence[Tile]
) -> None:
    """Rounds the wide matrices of a quantised head anew: for what they multiply (rounding.py)."""
    nodes = [node for node in model.graph.node if node.name in wide]
    inputs = _computed(model, {node.input[0] for node in nodes}, tiles)
    floats = {tensor.name: tensor for tensor in model.graph.initializer}
    quantised = {tensor.name: tensor for tensor in int8.graph.initializer}
    for node in nodes:
        read, name = node.input[:2]
        transposed = any(each.name == "transB" and each.i for each in node.attribute)
        weights = numpy_helper.to_array(floats[name])
        scale = numpy_helper.to_array(quantised[f"{name}_scale"])
        rounded = Rounding(inputs[read]).of(weights.T if transposed else weights, scale, _LARGEST)
        tensor = quantised[f"{name}_quantized"]
        laid = np.ascontiguousarray(rounded.T if transposed else rounded)
        tensor.CopyFrom(numpy_helper.from_array(laid, tensor.name))


def _computed(
    model: ModelProto, values: Iterable[str], tiles: Sequence[Tile]
) -> dict[str, NDArray[np.float32]]:
    """What a head computes on its way for all pairs of the tiles, float32 [pairs, .] by name."""
    names = sorted(values)
    watched = ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(ValueInfoProto(name=name) for name in names)
    session = ort.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    runs = [session.run(names, {"q": q, "P": P}) for q, P in tiles]
    return dict(zip(names, map(np.concatenate, zip(*runs, strict=True)), strict=True))


def _matrices(model: ModelProto) -> tuple[dict[str, int], list[str]]:
    """Nodes that multiply by a weight matrix, with its size, and those where it is narrow."""
    size = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    nodes = {
        node.name: size[node.input[1]]
        for node in model.graph.node
        if node.op_type in _OPS and node.input[1] in size
    }
    wide = {name: values for name, values in nodes.items() if values >= _NARROW}
    return wide, [name for name in nodes if name not in wide]


def _prepared(model: ModelProto) -> ModelProto:
    """A copy marked as pre-processed: the exporter has folded its constants already."""
    copy = ModelProto()
    copy.CopyFrom(model)
    add_pre_process_metadata(copy)
    return copy
