"""Bundles made to do harm, with checksums in order: refused in a sentence, at little cost."""

import io
import json
import pickle
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

from model_store.bundle import MANIFEST_FILE, open_bundle, write_manifest
from model_store.errors import BundleDamaged, BundleNotFound, BundleRefused, ModelStoreError
from model_store.head_kernel import read_head
from model_store.manifest import Draft, parse_manifest
from model_store.npz import MOST_BYTES, read_npz
from model_store.registry import DEFAULT_ROOT, bundle_folder
from model_store.student import OnnxStudent

NAME = "shop-deepdot"
PATHS = (
    *("../head.onnx", "../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "..", ".", "", ".hidden"),
    *("head.onnx\n", "head.onnx\x00", "C:head.onnx", "~/head.onnx", "%2e%2e", "x" * 129),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle to be changed."""
    shutil.copytree(DEFAULT_ROOT / NAME, tmp_path / "bundles" / NAME)
    return bundle_folder(tmp_path / "bundles", NAME)


def reseal(folder: Path) -> None:
    """A new manifest over changed files, as a forger would write it."""
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes(), "test")
    fields = {name: getattr(manifest, name) for name in Draft.model_fields}
    write_manifest(folder, Draft.model_validate(fields))


@pytest.mark.parametrize("path", PATHS)
def test_no_name_in_a_manifest_is_a_path(folder: Path, path: str) -> None:
    stated = json.loads((folder / MANIFEST_FILE).read_text())
    changes: list[Callable[[dict[str, object]], None]] = [
        lambda m: m["files"].update({path: {"bytes": 1, "sha256": "0" * 64}}),  # type: ignore[attr-defined]
        lambda m: m["graphs"]["head"]["files"].update({"float32": path}),  # type: ignore[index]
        lambda m: m["tokenizer"].update(files=[path]),  # type: ignore[attr-defined]
        lambda m: m.update(vector_files=[path]),
        lambda m: m.update(name=path),
        lambda m: m.update(version=path),
    ]
    for change in changes:
        manifest = json.loads(json.dumps(stated))
        change(manifest)
        (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
        with pytest.raises(BundleRefused):
            open_bundle(folder)


@pytest.mark.parametrize("name", ["../other", "/etc", "..", ".", "", "shop-deepdot/1"])
def test_no_name_or_version_that_is_asked_for_is_a_path(folder: Path, name: str) -> None:
    root = folder.parent.parent
    with pytest.raises(BundleNotFound):
        bundle_folder(root, name)
    if name:
        with pytest.raises(BundleNotFound):
            bundle_folder(root, NAME, name)
        (root / NAME / "current").write_text(name)
        with pytest.raises(BundleNotFound):
            bundle_folder(root, NAME)


@pytest.mark.parametrize("file", ["head.onnx", "golden.npz", "vectors.weights", MANIFEST_FILE])
def test_a_link_is_never_followed(folder: Path, tmp_path: Path, file: str) -> None:
    for target in (shutil.move(folder / file, tmp_path / "outside"), "/dev/zero", "/etc/passwd"):
        (folder / file).unlink(missing_ok=True)
        (folder / file).symlink_to(target)
        with pytest.raises(BundleDamaged, match=file):
            open_bundle(folder)


def test_a_manifest_without_end_is_not_read(folder: Path) -> None:
    with (folder / MANIFEST_FILE).open("r+b") as file:
        file.truncate(1 << 40)  # a hole: a terabyte on no disk
    with pytest.raises(BundleDamaged, match="at most 4194304 bytes"):
        open_bundle(folder)


def npz(path: Path, members: dict[str, bytes]) -> None:
    """A .npz of such members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def array(shape: tuple[int, ...], content: bytes, descr: str = "|u1") -> bytes:
    """A .npy that says it is so large and has so much in it."""
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(file, header)
    return file.getvalue() + content


class Harm:
    """What a pickle would do."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return Path.touch, (Path("harm-done"),)  # type: ignore[return-value]


BOMBS: dict[str, tuple[Callable[[], dict[str, bytes]], str]] = {
    "zip bomb": (
        lambda: {"a.npy": array((MOST_BYTES,), bytes(MOST_BYTES))},
        "expected at most",
    ),
    "many members": (
        lambda: {f"{i}.npy": array((2**24,), bytes(2**24)) for i in range(20)},
        "expected at most",
    ),
    "header of 4 TB": (lambda: {"a.npy": array((2**42,), b"x")}, "its header says"),
    "header of -1": (lambda: {"a.npy": array((-1,), b"x")}, "its header says|negative"),
    "pickle": (lambda: {"a.npy": array((1,), pickle.dumps(Harm()), "|O")}, "Python objects"),
    "no array": (lambda: {"a.npy": pickle.dumps(Harm())}, "magic"),
    "path": (lambda: {"../../a.npy": pickle.dumps(Harm())}, "magic"),
    "version 9": (lambda: {"a.npy": b"\x93NUMPY\x09\x00" + bytes(100)}, "version"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_arrays_that_unpack_to_more_than_they_say_are_not_unpacked(folder: Path, kind: str) -> None:
    members, reason = BOMBS[kind]
    npz(folder / "golden.npz", members())
    reseal(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
    with pytest.raises(BundleDamaged, match=f"golden.npz: .*({reason})"):
        OnnxStudent.load(folder)
    with pytest.raises(ModelStoreError, match=reason):
        read_head(folder / "golden.npz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 * 1024
    assert not Path("harm-done").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04\x95", b"x" * 1000])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "golden.npz").write_bytes(content)
    with pytest.raises(BundleDamaged, match=r"golden\.npz: can't be read"):
        read_npz(tmp_path / "golden.npz")


def test_arrays_come_back_as_they_were_written(tmp_path: Path) -> None:
    arrays = {"texts": np.array(["a", "跑鞋"]), "rows": np.ones((2, 3), np.float16)}
    np.savez_compressed(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    read = read_npz(tmp_path / "a.npz")
    assert read.keys() == arrays.keys()
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)


def test_no_source_that_serves_can_unpickle() -> None:
    root = Path(__file__).parents[2]
    sources = [
        path.read_text(encoding="utf-8")
        for package in ("service", "model_store", "vector_store", "indexing")
        for path in (root / package).rglob("*.py")
    ]
    assert len(sources) > 50
    for text in sources:
        for word in ("import pickle", "allow_pickle=True", "joblib", "marshal", "torch.load"):
            assert word not in text
