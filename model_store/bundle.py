"""A bundle on disk: writing its manifest, publishing it atomically, opening it with every check.

No pickle, no code, no path from a file is followed: a bundle is one flat folder of regular files,
each named in manifest.json with its size and sha256.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from model_store.digest import file_sha256
from model_store.errors import BundleDamaged, BundleExists, BundleNotFound, BundleRefused
from model_store.manifest import (
    Draft,
    FileEntry,
    Manifest,
    bundle_fingerprint,
    manifest_json,
    parse_manifest,
    vector_fingerprint,
)

MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.npz"
_MOST_MANIFEST_BYTES = 4 * 2**20
_UNSEALED = "0" * 64


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder whose every file was found to be what its manifest says."""

    folder: Path
    manifest: Manifest


def write_manifest(folder: Path, draft: Draft) -> Manifest:
    """Hashes the files that lie in `folder`, computes both fingerprints, writes manifest.json."""
    files = {
        path.name: _entry(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST_FILE
    }
    open_manifest = Manifest(
        **dict(draft),
        files=files,
        vector_fingerprint=_UNSEALED,
        bundle_fingerprint=_UNSEALED,
    )
    with_vectors = open_manifest.model_copy(
        update={"vector_fingerprint": vector_fingerprint(open_manifest)}
    )
    manifest = with_vectors.model_copy(
        update={"bundle_fingerprint": bundle_fingerprint(with_vectors)}
    )
    (folder / MANIFEST_FILE).write_text(manifest_json(manifest), encoding="utf-8")
    return manifest


def publish(staging: Path, root: Path) -> Path:
    """Moves a finished folder to `root/<name>/<version>`: whole or not at all, and never twice.

    `staging` must lie on the file system of `root`; it is checked as any bundle before the move.

    Raises:
        BundleExists: the version is published already.
        BundleDamaged, BundleRefused: `staging` is not a whole bundle.
    """
    manifest = open_bundle(staging).manifest
    target = root / manifest.name / manifest.version
    if target.exists():
        raise BundleExists(
            f"{manifest.name} {manifest.version} is published already and immutable: "
            "choose another version"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    for path in staging.iterdir():
        path.chmod(0o644)
        _fsync(path)
    staging.chmod(0o755)
    _fsync(staging)
    staging.rename(target)
    _fsync(target.parent)
    return target


def revise(folder: Path, root: Path, changes: Mapping[str, object]) -> Path:
    """Publishes a bundle again with other thresholds, calibration, metrics or version.

    The graphs and tokenizer files are copied as they are, so the vector fingerprint stays.

    Raises:
        BundleExists: the version is published already.
        ModelStoreError: `folder` is not a whole bundle.
    """
    manifest = open_bundle(folder).manifest
    fields = {name: getattr(manifest, name) for name in Draft.model_fields}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    draft = Draft.model_validate({**fields, "created": created, **changes})
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".publish-") as temporary:
        staging = Path(temporary) / "bundle"
        shutil.copytree(folder, staging, ignore=shutil.ignore_patterns(MANIFEST_FILE))
        write_manifest(staging, draft)
        return publish(staging, root)


def open_bundle(folder: Path) -> Bundle:
    """Opens a bundle after checking that every file is there, whole, unchanged and its own.

    Raises:
        BundleNotFound: no manifest there.
        BundleRefused: the manifest can't be read as format_version 1.
        BundleDamaged: a file is missing, truncated, changed, foreign or no regular file.
    """
    path = folder / MANIFEST_FILE
    try:
        if path.is_symlink() or path.stat().st_size > _MOST_MANIFEST_BYTES:
            raise BundleDamaged(
                f"{folder.name}/{MANIFEST_FILE}: expected a file of its own of at most "
                f"{_MOST_MANIFEST_BYTES} bytes. Publish the bundle again."
            )
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise BundleNotFound(f"{folder.name}: no {MANIFEST_FILE} there, so no bundle") from error
    except OSError as error:
        raise BundleDamaged(
            f"{folder.name}/{MANIFEST_FILE}: can't be read: {error.strerror}"
        ) from error
    where = f"{folder.parent.name}/{folder.name}/{MANIFEST_FILE}"
    manifest = parse_manifest(text, where)
    _check_named_files(manifest, where)
    _check_files(folder, manifest)
    _check_fingerprints(manifest, where)
    return Bundle(folder, manifest)


def _check_named_files(manifest: Manifest, where: str) -> None:
    named = {name for graph in manifest.graphs.values() for name in graph.files.values()}
    named |= {*manifest.tokenizer.files, *manifest.vector_files, GOLDEN_FILE}
    if missing := sorted(named - manifest.files.keys()):
        raise BundleDamaged(f"{where}: names files it does not list: {', '.join(missing)}")
    if absent := [name for name in ("query", "product", "head") if name not in manifest.graphs]:
        raise BundleRefused(f"{where}: expected graphs query, product and head; no {absent[0]}")
    for name, graph in manifest.graphs.items():
        if graph.run not in graph.files:
            raise BundleRefused(
                f"{where}: graph {name} is to run in {graph.run}, which it has no file for"
            )


def _check_files(folder: Path, manifest: Manifest) -> None:
    there = {path.name for path in folder.iterdir()} - {MANIFEST_FILE}
    if foreign := sorted(there - manifest.files.keys()):
        raise BundleDamaged(
            f"{folder.name}: foreign file {foreign[0]}: a published bundle holds only the files "
            "of its manifest; remove it"
        )
    for name, expected in manifest.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            what = "a link or no regular file" if name in there else "missing"
            raise BundleDamaged(f"{folder.name}/{name}: {what}. Publish the bundle again.")
        size = path.stat().st_size
        if size != expected.bytes:
            raise BundleDamaged(
                f"{folder.name}/{name}: expected {expected.bytes} bytes, got {size}. "
                "Publish the bundle again."
            )
        got = _entry(path).sha256
        if got != expected.sha256:
            raise BundleDamaged(
                f"{folder.name}/{name}: expected sha256 {expected.sha256[:16]}..., "
                f"got {got[:16]}.... Publish the bundle again."
            )


def _check_fingerprints(manifest: Manifest, where: str) -> None:
    for name, stated, got in (
        ("vector_fingerprint", manifest.vector_fingerprint, vector_fingerprint(manifest)),
        ("bundle_fingerprint", manifest.bundle_fingerprint, bundle_fingerprint(manifest)),
    ):
        if stated != got:
            raise BundleDamaged(
                f"{where}: {name} expected {got[:16]}..., the manifest says {stated[:16]}...: "
                "it was edited by hand. Publish the bundle again."
            )


def _entry(path: Path) -> FileEntry:
    try:
        return FileEntry(bytes=path.stat().st_size, sha256=file_sha256(path))
    except OSError as error:
        raise BundleDamaged(f"{path.name}: can't be read: {error.strerror}") from error


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
