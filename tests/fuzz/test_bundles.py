"""Damaged bundles: refused with a reason, whether or not their checksums have been made to fit."""

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from model_store.bundle import MANIFEST_FILE, write_manifest
from model_store.errors import BundleDamaged, ModelStoreError
from model_store.manifest import Draft
from model_store.registry import DEFAULT_ROOT, bundle_folder
from model_store.student import OnnxStudent
from tests.fuzz.conftest import MODEL, SEED, Fuzz
from tests.fuzz.mutations import mutated

# Read by code of ours; graphs are ONNX Runtime's to parse.
OURS = ("golden.npz", "head.native.npz", "vectors.weights", "vocabulary.u64")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder(DEFAULT_ROOT, MODEL), tmp_path / "bundle"))


def test_any_changed_byte_is_found(bundle: Path, fuzz: Fuzz) -> None:
    chance, count = random.Random(SEED + 2), fuzz.share(0.04)
    files = sorted(path for path in bundle.iterdir() if path.name != MANIFEST_FILE)
    came: Counter[str] = Counter()
    for number in range(count):
        path = chance.choice(files)
        good = path.read_bytes()
        bad = mutated(good, [good], chance)
        if bad == good:
            continue
        path.write_bytes(bad)
        try:
            with pytest.raises(BundleDamaged) as refused:
                OnnxStudent.load(bundle)
        finally:
            path.write_bytes(good)
        assert path.name in str(refused.value), number
        came["refused"] += 1
    OnnxStudent.load(bundle)
    fuzz.tell("bundle files", count, dict(came))


def test_damage_under_checksums_that_fit_is_refused_or_harmless(bundle: Path, fuzz: Fuzz) -> None:
    """As if somebody had made the file so; scores of what loads are those of the golden rows."""
    chance, count = random.Random(SEED + 3), fuzz.share(0.02)
    text = (bundle / MANIFEST_FILE).read_text(encoding="utf-8")
    fields = json.loads(text)
    draft = Draft.model_validate({name: fields[name] for name in Draft.model_fields})
    came: Counter[str] = Counter()
    for number in range(count):
        path = bundle / chance.choice(OURS)
        good = path.read_bytes()
        path.write_bytes(mutated(good, [good], chance))
        write_manifest(bundle, draft)
        came[_loaded(bundle, f"input {number}, {path.name}")] += 1
        path.write_bytes(good)
    (bundle / MANIFEST_FILE).write_text(text, encoding="utf-8")
    assert _loaded(bundle, "the good one") == "loaded"
    fuzz.tell("bundle files, resealed", count, dict(came))


def test_damaged_manifests(bundle: Path, fuzz: Fuzz) -> None:
    chance, count = random.Random(SEED + 4), fuzz.share(0.02)
    path = bundle / MANIFEST_FILE
    good = path.read_bytes()
    came: Counter[str] = Counter()
    for number in range(count):
        path.write_bytes(mutated(good, [good], chance))
        came[_loaded(bundle, f"input {number}")] += 1
    path.write_bytes(good)
    fuzz.tell("manifests", count, dict(came))
    assert came["loaded"] < count // 10  # spaces between fields, and the like


def _loaded(bundle: Path, what: str) -> str:
    """What came: loaded or refused; anything else fails."""
    try:
        student = OnnxStudent.load(bundle)
    except ModelStoreError:
        return "refused"
    except Exception as error:  # the finding is the input
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    assert np.isfinite(student.encode_query("red lamp")).all(), what
    return "loaded"
