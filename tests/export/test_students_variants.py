"""ReprBERT's ablations as bundles: rows as wide as what is read, and the head that fits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.options import TrainOptions
from distill.train import Silence, train
from export.bundle_export import Exported, export_bundle
from export.checkpoint import Checkpoint, load_checkpoint
from export.pairs import Pairs
from export.scoring import score_pairs
from model_store.head_kernel import fast_path
from model_store.student import OnnxStudent
from native.compile import compiler
from tests.export.small import publication

Parts = tuple[Pairs, Pairs]
VARIANTS = {
    "no-late-no-attention": TrainOptions(layers=3, late=False, attention=False),
    "no-intermediate": TrainOptions(layers=2, intermediate=False),
}


@pytest.fixture(scope="module", params=VARIANTS)
def variant(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    parts: Parts,
    pairs: Pairs,
    encoder_folder: Path,
) -> tuple[str, Checkpoint, Exported]:
    """One of them, trained and exported; tests don't change it."""
    folder = tmp_path_factory.mktemp(request.param)
    options = replace(
        VARIANTS[request.param],
        epochs=1,
        batch_size=64,
        encoder=encoder_folder,
        encoder_learning_rate=1e-3,
    )
    train("reprbert", *parts, folder / "checkpoint", options, Silence())
    checkpoint = load_checkpoint(folder / "checkpoint")
    few = pairs.take(np.arange(600))
    return (
        request.param,
        checkpoint,
        export_bundle(checkpoint, few, folder, publication(request.param)),
    )


def test_a_bundle_scores_as_its_checkpoint(
    variant: tuple[str, Checkpoint, Exported], pairs: Pairs
) -> None:
    _, checkpoint, exported = variant
    few = pairs.take(np.arange(40))
    expected = score_pairs(checkpoint.student, checkpoint.tokenizer, few)
    student = OnnxStudent.load(exported.folder, precision="float32")
    P = student.encode_products(few.titles)
    got = [
        student.score(student.encode_query(query), P[row : row + 1])[0]
        for row, query in enumerate(few.queries)
    ]
    np.testing.assert_allclose(got, expected, atol=1e-3)  # the rows are float16


def test_rows_hold_what_is_read(variant: tuple[str, Checkpoint, Exported]) -> None:
    name, _, exported = variant
    layers = (2,) if name == "no-intermediate" else (1, 2)
    segments = {f"layer{layer}": (128 * i, 128) for i, layer in enumerate(layers)}
    assert exported.manifest.product_row.segments == segments
    assert exported.manifest.query_row.segments == segments


@pytest.mark.skipif(compiler() is None, reason="no C compiler: no fused head")
def test_the_head_is_fused_where_the_kernel_has_its_formula(
    variant: tuple[str, Checkpoint, Exported], pairs: Pairs
) -> None:
    name, _, exported = variant
    files = exported.manifest.graphs["head"].files
    if name == "no-late-no-attention":
        assert "native" not in files
        assert exported.manifest.graphs["head"].run == "int8"
        return
    assert exported.manifest.graphs["head"].run == "native"
    if fast_path() is None:
        pytest.skip("no AVX2 here: the fused head is not run")
    native, exact = (
        OnnxStudent.load(exported.folder, precision=precision)
        for precision in ("native", "float32")
    )
    q, P = exact.encode_query(pairs.queries[0]), exact.encode_products(pairs.titles[:100])
    np.testing.assert_allclose(native.score(q, P), exact.score(q, P), atol=0.02)
