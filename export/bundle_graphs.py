"""A bundle's graphs: float32, int8 and the fused head; what fails the gate is left out."""

from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort
from onnx import ModelProto

from export.checkpoint import Checkpoint
from export.golden import ODD_TEXTS, Graphs
from export.graphs import WEIGHTS_FILE, SharedWeights, trace_graphs, with_float32_rows
from export.kernel_weights import kernel_weights
from export.pairs import Pairs
from export.parity import (
    Float32Gate,
    Sample,
    check_float32,
    check_int8,
    check_native,
    passes,
    tile_independent,
)
from export.quantise import Tile, quantised_head, quantised_tower
from export.sessions import HeadRun, by_query, onnx_head, open_graph, product_rows, query_rows
from export.students.student import DenseHead
from model_store.head_kernel import HeadKernel, kernel_paths, read_head, write_head
from model_store.manifest import GraphName, Parity, Precision

GRAPH_NAMES: tuple[GraphName, ...] = ("query", "product", "head")


@dataclass
class BundleGraphs:
    """The graphs of a bundle's folder in the making, in every precision that has passed so far."""

    folder: Path
    models: dict[GraphName, ModelProto]
    weights: SharedWeights
    graphs: Graphs
    parity: list[Parity]
    kernel: HeadKernel | None = None

    def file(self, name: GraphName, precision: Precision) -> Path:
        """Where it lies."""
        if precision == "native":
            return self.folder / "head.native.npz"
        return self.folder / (f"{name}.onnx" if precision == "float32" else f"{name}.int8.onnx")

    def add(self, name: GraphName, precision: Precision, model: ModelProto) -> ort.InferenceSession:
        """Saves and opens a graph."""
        path = self.file(name, precision)
        self.weights.save(model, path)
        self.graphs[name, precision] = open_graph(path)
        return self.graphs[name, precision]

    @property
    def heads(self) -> dict[Precision, HeadRun]:
        """The head in every precision that the bundle has."""
        heads: dict[Precision, HeadRun] = {
            precision: onnx_head(graph)
            for (name, precision), graph in self.graphs.items()
            if name == "head"
        }
        return heads if self.kernel is None else {**heads, "native": self.kernel.score}

    @property
    def precisions(self) -> dict[GraphName, list[Precision]]:
        """Those in which the bundle has each graph."""
        of_graphs = {
            name: [precision for graph, precision in self.graphs if graph == name]
            for name in GRAPH_NAMES
        }
        return {**of_graphs, "head": list(self.heads)}

    def remove(self, name: GraphName, precision: Precision) -> None:
        """Of a graph that failed the gate."""
        del self.graphs[name, precision]
        self.file(name, precision).unlink()


def gated_graphs(
    checkpoint: Checkpoint, folder: Path, gate_pairs: Pairs, calibration_pairs: Pairs
) -> tuple[BundleGraphs, Float32Gate]:
    """A student's graphs in float32, held against torch, and those in int8 that pass the gate.

    Args:
        checkpoint: whose student is traced.
        folder: of the bundle.
        gate_pairs: that are compared.
        calibration_pairs: others, which give the int8 head its scales.

    Raises:
        ExportRefused: a float32 graph failed the gate.
    """
    models = trace_graphs(checkpoint.student)
    weights = SharedWeights(folder / WEIGHTS_FILE, models["product"])
    build = BundleGraphs(folder, models, weights, {}, [])
    query, product, head = (build.add(name, "float32", models[name]) for name in GRAPH_NAMES)
    wide_path = folder / "product.gate.onnx"
    weights.save(with_float32_rows(models["product"]), wide_path)
    wide = open_graph(wide_path)
    wide_path.unlink()
    sample = Sample(checkpoint.tokenizer, gate_pairs, ODD_TEXTS)
    gate = check_float32(checkpoint.student, sample, query, product, wide, head)
    build.parity += gate.parity

    tiles = _tiles(Sample(checkpoint.tokenizer, calibration_pairs, []), query, product)
    int8 = {
        "query": quantised_tower(models["query"]),
        "product": quantised_tower(models["product"]),
        "head": quantised_head(models["head"], tiles),
    }
    for name in GRAPH_NAMES:
        model = int8[name]
        if model is None:
            continue
        graph = build.add(name, "int8", model)
        entry = check_int8(name, graph, sample, gate.rows, head)
        build.parity.append(entry)
        if not passes(entry) or (
            name == "head" and not tile_independent(onnx_head(graph), gate.rows)
        ):
            build.remove(name, "int8")
    _add_kernel(build, checkpoint.student.dense_head(), tiles, sample, gate)
    return build, gate


def _add_kernel(
    build: BundleGraphs,
    dense: DenseHead | None,
    tiles: list[Tile],
    sample: Sample,
    gate: Float32Gate,
) -> None:
    """The fused head beside the head graph, if it passes the gate of an int8 head."""
    if dense is None or not kernel_paths():
        return
    path = build.file("head", "native")
    write_head(path, kernel_weights(dense, tiles))
    kernel = HeadKernel(read_head(path), kernel_paths()[0])
    entry = check_native(kernel.score, sample, gate.rows, build.graphs["head", "float32"])
    build.parity.append(entry)
    if passes(entry) and tile_independent(kernel.score, gate.rows):
        build.kernel = kernel
    else:
        path.unlink()


def _tiles(
    sample: Sample, query: ort.InferenceSession, product: ort.InferenceSession
) -> list[Tile]:
    q = query_rows(query, sample.queries)
    P = product_rows(product, sample.titles, alone=False)
    return [
        (q[sample.query_row[members[:1]]], P[sample.title_row[members]])
        for members in by_query(sample.query_row)
    ]
