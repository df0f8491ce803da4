"""Checkpoint -> bundle: graphs, gate, int8, golden rows, manifest; published whole or never."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime as ort
from onnx import ModelProto
from pydantic import TypeAdapter, ValidationError

from export.checkpoint import Checkpoint
from export.errors import ExportRefused
from export.golden import ODD_TEXTS, TOLERANCE, Graphs, write_golden
from export.graphs import WEIGHTS_FILE, SharedWeights, trace_graphs, with_float32_rows
from export.kernel_weights import kernel_weights
from export.pairs import Pairs
from export.parity import (
    AUC_TOLERANCE,
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
from export.students.student import DenseHead, Segments, row_width
from model_store.bundle import GOLDEN_FILE, publish, write_manifest
from model_store.errors import BundleExists
from model_store.head_kernel import HeadKernel, kernel_paths, read_head, write_head
from model_store.manifest import (
    BundleName,
    Calibration,
    Draft,
    Graph,
    GraphName,
    Manifest,
    OfflineMetrics,
    Parity,
    Precision,
    RowLayout,
    Thresholds,
    Version,
)
from model_store.registry import next_version
from model_store.student import OnnxStudent

GATE_PAIRS = 2_000  # compared; as many others give the int8 head its scales

_NAMES: tuple[GraphName, ...] = ("query", "product", "head")


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What the caller decides about a bundle; without a version it gets the next whole number.

    Raises:
        ExportRefused: a name or version that can't be a folder of the registry.
    """

    name: str
    version: str | None
    thresholds: Thresholds
    calibration: Calibration
    metrics: list[OfflineMetrics]
    int8_product: bool

    def __post_init__(self) -> None:
        """Checks both names before any work is done."""
        try:
            TypeAdapter(BundleName).validate_python(self.name)
            TypeAdapter(Version | None).validate_python(self.version)
        except ValidationError as error:
            raise ExportRefused(
                f"{self.name!r}, version {self.version!r}: expected up to 64 letters, digits and "
                "_ . - (a name in lower case), starting with a letter or digit"
            ) from error


@dataclass(frozen=True)
class Exported:
    """A published bundle, and what the gate measured, also of int8 graphs that it left out."""

    folder: Path
    manifest: Manifest
    equal_float16: float  # share of product row values that are torch's, bit by bit


@dataclass
class _Build:
    """A bundle's folder in the making."""

    folder: Path
    models: dict[GraphName, ModelProto]
    weights: SharedWeights
    graphs: Graphs
    parity: list[Parity]
    kernel: HeadKernel | None = None

    def file(self, name: GraphName, precision: Precision) -> Path:
        if precision == "native":
            return self.folder / "head.native.npz"
        return self.folder / (f"{name}.onnx" if precision == "float32" else f"{name}.int8.onnx")

    def add(self, name: GraphName, precision: Precision, model: ModelProto) -> ort.InferenceSession:
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

    def remove(self, name: GraphName, precision: Precision) -> None:
        del self.graphs[name, precision]
        self.file(name, precision).unlink()


def export_bundle(
    checkpoint: Checkpoint, pairs: Pairs, root: Path, publication: Publication
) -> Exported:
    """Publishes `checkpoint` under `root`, after every graph was held against torch on `pairs`.

    Args:
        checkpoint: from `load_checkpoint`.
        pairs: judged pairs that the student was not trained on; a sample is used.
        root: the registry's folder.
        publication: name, thresholds and what else the caller decides.

    Raises:
        ExportRefused: a graph failed the gate, or asked-for int8 rows did. Nothing is published.
        BundleExists: the version is published already.
    """
    root.mkdir(parents=True, exist_ok=True)
    version = publication.version or next_version(root, publication.name)
    if (root / publication.name / version).exists():
        raise BundleExists(f"{publication.name} {version} is published already: name another")
    gate_pairs, calibration_pairs = _sample(pairs)
    with TemporaryDirectory(dir=root, prefix=".export-") as temporary:
        folder = Path(temporary) / version
        folder.mkdir()
        for name in checkpoint.spec.files:
            shutil.copyfile(checkpoint.folder / name, folder / name)
        build, gate = _float32_graphs(checkpoint, folder, gate_pairs, calibration_pairs)
        _check_product_precision(build, publication)
        write_golden(
            folder / GOLDEN_FILE, build.graphs, build.heads, checkpoint.tokenizer, gate_pairs
        )
        draft = _draft(checkpoint, publication, version, build, pairs)
        manifest = write_manifest(folder, draft)
        OnnxStudent.load(folder)  # what a server will do with it
        published = publish(folder, root)
    return Exported(published, manifest, gate.equal_float16)


def _sample(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """Pairs to compare on, and others for the scales of the int8 head; the same on every run."""
    rows = np.random.default_rng(0).permutation(len(pairs))[: 2 * GATE_PAIRS]
    gate, calibration = (pairs.take(np.sort(rows[first::2])) for first in (0, 1))
    relevant = int(gate.labels.sum())
    if not 0 < relevant < len(gate) or not len(calibration):
        raise ExportRefused(
            f"{pairs.source}: expected relevant and irrelevant pairs (target >= 0.5 and below) to "
            f"compare on, got {relevant} relevant of {len(gate)}: give more pairs"
        )
    return gate, calibration


def _float32_graphs(
    checkpoint: Checkpoint, folder: Path, gate_pairs: Pairs, calibration_pairs: Pairs
) -> tuple[_Build, Float32Gate]:
    models = trace_graphs(checkpoint.student)
    weights = SharedWeights(folder / WEIGHTS_FILE, models["product"])
    build = _Build(folder, models, weights, {}, [])
    query, product, head = (build.add(name, "float32", models[name]) for name in _NAMES)
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
    for name in _NAMES:
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
    build: _Build,
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


def _check_product_precision(build: _Build, publication: Publication) -> None:
    if not publication.int8_product or ("product", "int8") in build.graphs:
        return
    measured = [entry for entry in build.parity if entry.graph == "product"][1:]
    why = "its weight matrices are too small to quantise"
    if measured:
        why = f"ROC-AUC changed from {measured[0].auc_reference} to {measured[0].auc}"
    raise ExportRefused(
        f"product: int8 rows were asked for, but {why} (a change of at most {AUC_TOLERANCE} "
        "passes): export with float32 product rows"
    )


def _draft(
    checkpoint: Checkpoint, publication: Publication, version: str, build: _Build, pairs: Pairs
) -> Draft:
    run: dict[GraphName, Precision] = {
        "query": "int8" if ("query", "int8") in build.graphs else "float32",
        "product": "int8" if publication.int8_product else "float32",
        "head": "int8" if ("head", "int8") in build.graphs else "float32",
    }
    if build.kernel is not None:
        run["head"] = "native"
    built: dict[GraphName, list[Precision]] = {
        name: [precision for graph, precision in build.graphs if graph == name] for name in _NAMES
    }
    built["head"] = list(build.heads)
    student = checkpoint.student
    return Draft(
        format_version=1,
        name=publication.name,
        version=version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        student=student.kind,
        tokenizer=checkpoint.spec,
        query_row=_layout(student.query_segments),
        product_row=_layout(student.product_segments),
        row_dtype="float16",
        graphs={
            name: Graph(
                files={precision: build.file(name, precision).name for precision in built[name]},
                run=run[name],
            )
            for name in _NAMES
        },
        vector_files=[
            build.file("product", run["product"]).name,
            WEIGHTS_FILE,
            *checkpoint.spec.files,
        ],
        score_scale="probability",
        calibration=publication.calibration,
        thresholds=publication.thresholds,
        golden_tolerance=TOLERANCE,
        parity=build.parity,
        metrics=publication.metrics,
        training={
            **checkpoint.training,
            "gate_pairs_file": pairs.source,
            "gate_pairs_sha256": pairs.sha256,
        },
    )


def _layout(segments: Segments) -> RowLayout:
    return RowLayout(width=row_width(segments), segments=segments)
