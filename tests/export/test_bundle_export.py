"""Whole exports: what is published is the checkpoint, and what is not right is not published."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from export.bundle_export import Exported, export_bundle
from export.checkpoint import Checkpoint, load_checkpoint
from export.errors import CheckpointRefused, ExportRefused
from export.pairs import Pairs
from export.scoring import score_pairs
from model_store.bundle import open_bundle
from model_store.errors import BundleExists
from model_store.student import OnnxStudent
from tests.export.small import KINDS, publication


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_scores_as_its_checkpoint(
    kind: str, trained: dict[str, Checkpoint], exported: dict[str, Exported], pairs: Pairs
) -> None:
    few = pairs.take(np.arange(60))
    expected = score_pairs(trained[kind].student, trained[kind].tokenizer, few)
    student = OnnxStudent.load(exported[kind].folder, precision="float32")
    P = student.encode_products(few.titles)
    got = [
        student.score(student.encode_query(query), P[row : row + 1])[0]
        for row, query in enumerate(few.queries)
    ]
    np.testing.assert_allclose(got, expected, atol=1e-3)  # the rows are float16


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_says_what_it_is(
    kind: str, trained: dict[str, Checkpoint], exported: dict[str, Exported], pairs: Pairs
) -> None:
    manifest = open_bundle(exported[kind].folder).manifest
    assert manifest == exported[kind].manifest
    assert (manifest.name, manifest.version, manifest.student) == (kind, "1", kind)
    assert manifest.tokenizer == trained[kind].spec
    assert manifest.product_row.segments == trained[kind].student.product_segments
    assert manifest.thresholds == publication(kind).thresholds
    assert manifest.metrics == []
    assert manifest.training["gate_pairs_sha256"] == pairs.sha256
    assert manifest.training.items() >= trained[kind].training.items()
    assert "vectors.weights" in manifest.vector_files
    assert set(manifest.tokenizer.files) <= set(manifest.vector_files)
    for name, graph in manifest.graphs.items():
        measured = [entry.precision for entry in manifest.parity if entry.graph == name]
        assert set(graph.files) <= set(measured)
        # The last one measured is the fastest; rows stay as they are unless asked for.
        assert graph.run == ("float32" if name == "product" else measured[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_golden_rows_cover_every_graph_and_odd_texts(
    kind: str, exported: dict[str, Exported]
) -> None:
    manifest = exported[kind].manifest
    with np.load(exported[kind].folder / "golden.npz", allow_pickle=False) as golden:
        arrays = {name: golden[name] for name in golden.files}
    expected = {
        f"{name}.{precision}"
        for name, graph in manifest.graphs.items()
        for precision in graph.files
    }
    assert arrays.keys() == expected | {"query_texts", "product_texts"}
    texts = arrays["query_texts"].tolist()
    assert "" in texts
    assert any("🎧" in text for text in texts)
    assert arrays["query.float32"].shape == (len(texts), manifest.d_q)
    assert arrays["product.float32"].dtype == np.float16
    assert arrays["head.float32"].shape == (len(texts), len(arrays["product_texts"]))
    for name in expected:
        assert np.isfinite(arrays[name]).all()


def test_int8_rows_when_asked_for_are_another_version_with_other_vectors(
    registry: Path, trained: dict[str, Checkpoint], exported: dict[str, Exported], pairs: Pairs
) -> None:
    asked = publication("deepdot", int8_product=True)
    manifest = export_bundle(trained["deepdot"], pairs, registry, asked).manifest
    assert (exported["deepdot"].manifest.version, manifest.version) == ("1", "2")
    assert manifest.graphs["product"].run == "int8"
    assert "product.int8.onnx" in manifest.vector_files
    assert manifest.vector_fingerprint != exported["deepdot"].manifest.vector_fingerprint


def test_a_version_is_immutable(
    registry: Path, trained: dict[str, Checkpoint], exported: dict[str, Exported], pairs: Pairs
) -> None:
    again = publication("deepdot", version=exported["deepdot"].manifest.version)
    with pytest.raises(BundleExists, match="deepdot 1 is published already"):
        export_bundle(trained["deepdot"], pairs, registry, again)
    assert {path.name for path in registry.iterdir()} == set(KINDS)


@pytest.fixture
def copy(tmp_path: Path, trained: dict[str, Checkpoint]) -> Path:
    """A BERT2DNN checkpoint that a test may change."""
    return Path(shutil.copytree(trained["bert2dnn"].folder, tmp_path / "checkpoint"))


def test_a_head_only_retrain_keeps_the_vector_fingerprint(
    copy: Path, tmp_path: Path, exported: dict[str, Exported], pairs: Pairs
) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["layers.0.weight"] *= 1.01
    save_file(tensors, copy / "model.safetensors")
    root = tmp_path / "bundles"
    again = export_bundle(load_checkpoint(copy), pairs, root, publication("bert2dnn")).manifest
    before = exported["bert2dnn"].manifest
    assert again.vector_fingerprint == before.vector_fingerprint
    assert again.bundle_fingerprint != before.bundle_fingerprint


def test_int8_rows_that_cannot_be_are_refused(
    tmp_path: Path, trained: dict[str, Checkpoint], pairs: Pairs
) -> None:
    asked = publication("bert2dnn", int8_product=True)
    with pytest.raises(ExportRefused, match="its weight matrices are too small"):
        export_bundle(trained["bert2dnn"], pairs, tmp_path, asked)
    assert list(tmp_path.iterdir()) == []


def test_a_student_that_is_not_finite_is_never_published(
    copy: Path, tmp_path: Path, pairs: Pairs
) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["W1_p.weight"][0, 0] = float("nan")
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(CheckpointRefused, match=r"W1_p\.weight: 1 of"):
        load_checkpoint(copy)


@pytest.mark.parametrize("name", ["", "Shop", "../shop", ".shop", "a" * 65])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    with pytest.raises(ExportRefused, match="expected up to 64 letters"):
        publication(name)


def test_pairs_of_one_class_cannot_be_compared_on(
    tmp_path: Path, trained: dict[str, Checkpoint], pairs: Pairs
) -> None:
    good = pairs.take(np.flatnonzero(pairs.labels))
    with pytest.raises(ExportRefused, match="expected relevant and irrelevant pairs"):
        export_bundle(trained["deepdot"], good, tmp_path, publication("shop"))
