"""Checkpoint -> bundle: graphs, gate, int8, golden rows, manifest; published whole or never."""

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pydantic import TypeAdapter, ValidationError

from export.bundle_graphs import BundleGraphs, gated_graphs
from export.checkpoint import Checkpoint
from export.errors import ExportRefused
from export.golden import TOLERANCE, write_golden
from export.graphs import WEIGHTS_FILE
from export.pairs import Pairs
from export.parity import AUC_TOLERANCE, DECISIONS_TOLERANCE
from export.students.student import Segments, row_width
from model_store.bundle import GOLDEN_FILE, publish, write_manifest
from model_store.errors import BundleExists
from model_store.manifest import (
    BundleName,
    Calibration,
    Draft,
    Graph,
    GraphName,
    Manifest,
    OfflineMetrics,
    Precision,
    RowLayout,
    Thresholds,
    Version,
)
from model_store.registry import next_version
from model_store.student import OnnxStudent

GATE_PAIRS = 2_000  # compared; as many others give the int8 head its scales

# Keeps everything: for a bundle that is revised once it has scored judged pairs.
UNCHOSEN = Thresholds(default=0.0, price=0.0, sale=0.0, chosen_on="not chosen")


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What the caller decides about a bundle; without a version it gets the next whole number.

    Scale, thresholds and metrics come later where the exported student's own scores decide them.

    Raises:
        ExportRefused: a name or version that can't be a folder of the registry.
    """

    name: str
    version: str | None
    thresholds: Thresholds = UNCHOSEN
    calibration: Calibration = field(default_factory=Calibration)
    metrics: list[OfflineMetrics] = field(default_factory=list)
    int8_product: bool = False

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
        build, gate = gated_graphs(checkpoint, folder, gate_pairs, calibration_pairs)
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


def _check_product_precision(build: BundleGraphs, publication: Publication) -> None:
    if not publication.int8_product or ("product", "int8") in build.graphs:
        return
    measured = [entry for entry in build.parity if entry.graph == "product"][1:]
    why = "its weight matrices are too small to quantise"
    if measured:
        why = (
            f"ROC-AUC changed from {measured[0].auc_reference} to {measured[0].auc} and "
            f"{measured[0].decisions_changed:.2%} of the decisions changed"
        )
    raise ExportRefused(
        f"product: int8 rows were asked for, but {why} (changes of at most {AUC_TOLERANCE} and "
        f"{DECISIONS_TOLERANCE:.1%} pass): export with float32 product rows"
    )


def _draft(
    checkpoint: Checkpoint,
    publication: Publication,
    version: str,
    build: BundleGraphs,
    pairs: Pairs,
) -> Draft:
    run: dict[GraphName, Precision] = {
        "query": "int8" if ("query", "int8") in build.graphs else "float32",
        "product": "int8" if publication.int8_product else "float32",
        "head": "int8" if ("head", "int8") in build.graphs else "float32",
    }
    if build.kernel is not None:
        run["head"] = "native"
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
                files={each: build.file(name, each).name for each in precisions},
                run=run[name],
            )
            for name, precisions in build.precisions.items()
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
