"""A bundle is whole, unchanged and its own, or it is refused in one clear sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from model_store.bundle import MANIFEST_FILE, open_bundle, publish, revise, write_manifest
from model_store.errors import BundleDamaged, BundleExists, BundleNotFound, BundleRefused
from model_store.manifest import (
    Draft,
    bundle_fingerprint,
    parse_manifest,
    query_fingerprint,
    vector_fingerprint,
)
from model_store.registry import (
    DEFAULT_ROOT,
    activate,
    bundle_folder,
    find,
    next_version,
    published,
    rollback_target,
)
from model_store.student import OnnxStudent

NAME = "shop-bert2dnn"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A registry with one published student."""
    shutil.copytree(DEFAULT_ROOT / NAME, tmp_path / "bundles" / NAME)
    return tmp_path / "bundles"


@pytest.fixture
def folder(root: Path) -> Path:
    """Its active version."""
    return bundle_folder(root, NAME)


def edit(folder: Path, **changes: object) -> None:
    """Changes fields of a manifest by hand, as nobody should."""
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("name", ["shop-bert2dnn", "shop-deepdot", "shop-reprbert"])
def test_the_shipped_bundles_are_whole_and_their_golden_rows_agree(name: str) -> None:
    for precision in ("float32", "int8"):
        student = OnnxStudent.load(bundle_folder(DEFAULT_ROOT, name), precision=precision)
        assert student.manifest.metrics[0].dataset == "examples/shop"


def test_the_shipped_bundles_are_small() -> None:
    total = sum(path.stat().st_size for path in DEFAULT_ROOT.rglob("*") if path.is_file())
    assert total < 15_000_000


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound, match=r"no manifest\.json"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("file", ["head.onnx", "product.onnx", "vectors.weights", "golden.npz"])
def test_a_truncated_file_is_named_with_expected_and_got(folder: Path, file: str) -> None:
    size = (folder / file).stat().st_size
    (folder / file).write_bytes((folder / file).read_bytes()[:-1])
    with pytest.raises(BundleDamaged, match=rf"{file}: expected {size} bytes, got {size - 1}"):
        open_bundle(folder)


def test_a_changed_byte_is_found(folder: Path) -> None:
    content = bytearray((folder / "head.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "head.onnx").write_bytes(content)
    with pytest.raises(BundleDamaged, match=r"head\.onnx: expected sha256"):
        open_bundle(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "query.onnx").unlink()
    with pytest.raises(BundleDamaged, match=r"query\.onnx: missing"):
        open_bundle(folder)


def test_a_foreign_file_is_refused(folder: Path) -> None:
    (folder / "extra.bin").write_bytes(b"x")
    with pytest.raises(BundleDamaged, match=r"foreign file extra\.bin"):
        open_bundle(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    shutil.move(folder / "head.onnx", outside)
    (folder / "head.onnx").symlink_to(outside)
    with pytest.raises(BundleDamaged, match=r"head\.onnx: a link"):
        open_bundle(folder)


def test_a_path_in_the_manifest_cannot_leave_the_folder(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["files"]["../../etc/passwd"] = {"bytes": 1, "sha256": "0" * 64}
    edit(folder, files=manifest["files"])
    with pytest.raises(BundleRefused, match="files"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format_version": 2}, "format_version"),
        ({"surprise": 1}, "surprise"),
        ({"row_dtype": "float64"}, "row_dtype"),
        ({"thresholds": {"default": 2}}, "thresholds"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(
    folder: Path, change: dict[str, object], expected: str
) -> None:
    edit(folder, **change)
    with pytest.raises(BundleRefused, match=expected):
        open_bundle(folder)


@pytest.mark.parametrize("change", [{"student": "other"}, {"created": "1970-01-01"}])
def test_a_manifest_edited_by_hand_is_found(folder: Path, change: dict[str, object]) -> None:
    edit(folder, **change)
    with pytest.raises(BundleDamaged, match="edited by hand"):
        open_bundle(folder)


def test_golden_rows_that_differ_are_refused_with_the_difference(folder: Path) -> None:
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        arrays = {name: golden[name] for name in golden.files}
    arrays["head.float32"] = arrays["head.float32"] + np.float32(0.1)
    np.savez(folder / "golden.npz", **arrays)
    _rewrite(folder)
    with pytest.raises(BundleRefused, match=r"golden rows of head .* at most .* got 0\.1"):
        OnnxStudent.load(folder, precision="float32")


def test_a_graph_that_is_no_graph_is_refused(folder: Path) -> None:
    (folder / "head.onnx").write_bytes(b"this is no protobuf" * 100)
    _rewrite(folder)
    with pytest.raises(BundleDamaged, match=r"head\.onnx: ONNX Runtime can't load it"):
        OnnxStudent.load(folder, precision="float32")


def test_a_vocabulary_with_more_tokens_than_the_table_has_is_refused(folder: Path) -> None:
    hashes = np.fromfile(folder / "vocabulary.u64", dtype="<u8")
    np.append(hashes, np.uint64(2**64 - 1)).astype("<u8").tofile(folder / "vocabulary.u64")
    _rewrite(folder)
    with pytest.raises(BundleDamaged, match=rf"fails on token {len(hashes)}, the last one of"):
        OnnxStudent.load(folder)


def test_weights_outside_the_folder_are_never_read(folder: Path) -> None:
    """The graph names a file one folder up; checksums and manifest are all in order."""
    content = (folder / "product.onnx").read_bytes()
    outside = b"../rs.weights.x"  # of the same length: the protobuf stays well formed
    assert content.count(b"vectors.weights") >= 1
    shutil.copy(folder / "vectors.weights", folder / outside.decode())
    (folder / "product.onnx").write_bytes(content.replace(b"vectors.weights", outside))
    _rewrite(folder)
    with pytest.raises(BundleDamaged, match=r"product\.onnx: ONNX Runtime can't load it"):
        OnnxStudent.load(folder)


def _rewrite(folder: Path) -> None:
    """A new manifest over changed files: everything in order but the content itself."""
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes(), "test")
    fields = {name: getattr(manifest, name) for name in Draft.model_fields}
    write_manifest(folder, Draft.model_validate(fields))


def test_publishing_is_once_and_whole(root: Path, folder: Path, tmp_path: Path) -> None:
    staging = Path(shutil.copytree(folder, tmp_path / "staging"))
    with pytest.raises(BundleExists, match="published already"):
        publish(staging, root)
    (staging / "head.onnx").unlink()
    with pytest.raises(BundleDamaged):
        publish(staging, root / "elsewhere")
    assert not (root / "elsewhere").exists()


def test_a_revision_keeps_the_vectors_and_changes_the_bundle(root: Path, folder: Path) -> None:
    before = open_bundle(folder).manifest
    thresholds = before.thresholds.model_copy(update={"price": 0.75})
    revised = revise(folder, root, {"version": "3", "thresholds": thresholds})
    after = open_bundle(revised).manifest
    assert after.thresholds.price == 0.75
    assert after.vector_fingerprint == before.vector_fingerprint
    assert after.bundle_fingerprint != before.bundle_fingerprint
    OnnxStudent.load(revised)
    assert [path.name for path in root.iterdir()] == [NAME]  # no staging folder is left


def test_the_vector_fingerprint_follows_the_rows_and_nothing_else(folder: Path) -> None:
    manifest = open_bundle(folder).manifest
    assert vector_fingerprint(manifest) == manifest.vector_fingerprint
    assert bundle_fingerprint(manifest) == manifest.bundle_fingerprint
    head_only = manifest.files | {"head.onnx": manifest.files["query.onnx"]}
    same = manifest.model_copy(update={"files": head_only, "student": "other", "name": "x"})
    assert vector_fingerprint(same) == manifest.vector_fingerprint
    weights = manifest.files | {"vectors.weights": manifest.files["query.onnx"]}
    shorter = manifest.tokenizer.model_copy(update={"product_tokens": 3})
    for changed in ({"files": weights}, {"tokenizer": shorter}):
        assert vector_fingerprint(manifest.model_copy(update=changed)) != (
            manifest.vector_fingerprint
        )


def test_the_query_fingerprint_follows_the_query_rows_and_nothing_else() -> None:
    manifest = open_bundle(bundle_folder(DEFAULT_ROOT, "shop-reprbert")).manifest
    fingerprint = query_fingerprint(manifest, "int8")
    assert fingerprint != query_fingerprint(manifest, "float32")
    assert fingerprint != manifest.vector_fingerprint
    assert len(fingerprint) == 64
    another = manifest.files["golden.npz"]
    unrelated = ("head.onnx", "product.onnx", "product.int8.onnx", "query.onnx", "golden.npz")
    same = manifest.model_copy(
        update={
            "files": manifest.files | dict.fromkeys(unrelated, another),
            "tokenizer": manifest.tokenizer.model_copy(update={"product_tokens": 3}),
            "product_row": manifest.query_row.model_copy(update={"width": 3, "segments": {}}),
            "name": "x",
        }
    )
    assert query_fingerprint(same, "int8") == fingerprint
    changes: list[dict[str, object]] = [
        {"files": manifest.files | {name: another}}
        for name in ("query.int8.onnx", "vectors.weights", "tokenizer.json")
    ]
    changes.append({"tokenizer": manifest.tokenizer.model_copy(update={"query_tokens": 3})})
    changes.append({"query_row": manifest.query_row.model_copy(update={"segments": {}})})
    for change in changes:
        assert query_fingerprint(manifest.model_copy(update=change), "int8") != fingerprint


def test_the_registry_activates_and_rolls_back(root: Path, folder: Path) -> None:
    revise(folder, root, {"version": "3"})
    revise(folder, root, {"version": "10"})
    assert find(root, NAME).versions == ["1", "3", "10"]
    assert find(root, NAME).current == "1"
    assert next_version(root, NAME) == "11"
    activate(root, NAME, "10")
    assert bundle_folder(root, NAME).name == "10"
    assert rollback_target(root, NAME) == "1"
    activate(root, NAME, "1")
    assert rollback_target(root, NAME) == "10"
    with pytest.raises(BundleNotFound, match=r"no version '4'; published: 1, 3, 10"):
        activate(root, NAME, "4")


def test_a_registry_without_the_name_lists_those_there_are(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound, match=f"published here: {NAME}"):
        find(root, "nobody")
    assert published(tmp_path / "absent") == []
    (root / NAME / "current").unlink()
    with pytest.raises(BundleNotFound, match="no active version"):
        bundle_folder(root, NAME)
    with pytest.raises(BundleNotFound, match="no earlier active version"):
        rollback_target(root, NAME)
