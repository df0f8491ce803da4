"""int8 weights of the fused head: as fine as 16-bit sums allow, and gated like an int8 graph."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from export.bundle_export import Exported
from export.kernel_weights import (
    hidden_outputs,
    int16_safe,
    quantised_layer,
    without_idle_units,
)
from export.parity import AUC_TOLERANCE, Rows, tile_independent
from export.quantise import Tile
from export.students.student import DenseHead
from model_store.head_kernel import HeadKernel, kernel_paths, read_head
from native.compile import compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler: no fused head")


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 70), st.integers(1, 4)),
        elements=st.floats(-100, 100, width=32),
    )
)
def test_no_sum_leaves_16_bits_whatever_the_weights(weights: np.ndarray) -> None:
    # One pair, whose values vary together: rounding hands on as much as it can.
    inputs = np.linspace(1, 2, len(weights), dtype=np.float32)[np.newaxis]
    layer = quantised_layer(weights, np.zeros(weights.shape[1], np.float32), inputs)
    assert int16_safe(layer.weights)
    # The worst row there is: 127 where the weights have one sign, 0 elsewhere; lanes as AVX2 has.
    whole = np.zeros((-(-len(weights) // 32) * 32, weights.shape[1]), np.int64)
    whole[: len(weights)] = layer.weights
    lanes = whole.reshape(-1, 8, 2, 2, weights.shape[1]).sum(
        axis=(1, 3), where=whole.reshape(-1, 8, 2, 2, weights.shape[1]) > 0
    )
    assert lanes.max() * 127 <= 32767


def test_ordinary_weights_keep_nearly_seven_bits() -> None:
    weights = np.random.default_rng(0).normal(0, 0.05, (384, 384)).astype(np.float32)
    independent = np.eye(384, dtype=np.float32)
    layer = quantised_layer(weights, np.zeros(384, np.float32), independent)
    error = np.abs(layer.weights * layer.scale - weights)
    assert error.max() <= layer.scale.max() / 2 * 1.001
    assert np.median(np.abs(layer.weights).max(axis=0)) > 50


def _mlp(rng: np.random.Generator) -> DenseHead:
    """A hidden layer in which 20 of 40 units never fire and one always gives the same."""
    layers = [
        (
            rng.normal(0, 1, shape).astype(np.float32),
            rng.normal(0, 0.1, shape[1]).astype(np.float32),
        )
        for shape in ((8, 48), (48, 40))
    ]
    layers[1][1][:20] = -1e3
    layers[1][0][:, 20] = 0
    layers[1][1][20] = 2.5
    return DenseHead("mlp", tuple(layers), rng.normal(0, 1, 40).astype(np.float32), 0.3)


def _logits(head: DenseHead, tiles: list[Tile]) -> np.ndarray:
    logits: np.ndarray = hidden_outputs(head, tiles)[-1] @ head.last + head.last_bias
    return logits


def test_units_that_do_nothing_are_left_out_and_nothing_changes() -> None:
    rng = np.random.default_rng(0)
    head = _mlp(rng)
    tiles: list[Tile] = [
        (rng.normal(0, 1, (1, 48)).astype(np.float32), rng.normal(0, 1, (20, 8)).astype(np.float16))
        for _ in range(10)
    ]
    lean = without_idle_units(head, tiles)
    # 19 units do something; the kernel wants whole blocks of 16.
    assert [weights.shape for weights, _ in lean.layers] == [(8, 48), (48, 32)]
    np.testing.assert_allclose(_logits(lean, tiles), _logits(head, tiles), atol=1e-4)


def test_units_that_matter_stay() -> None:
    rng = np.random.default_rng(1)
    weights = (rng.normal(0, 1, (24, 24)).astype(np.float32), np.full(24, 2, np.float32))
    head = DenseHead("interaction", (weights,), np.ones(24, np.float32), 0.0, 1, 8)
    tiles: list[Tile] = [
        (rng.normal(0, 1, (1, 8)).astype(np.float32), rng.normal(0, 1, (50, 8)).astype(np.float16))
    ]
    assert without_idle_units(head, tiles).layers[0][0].shape == (24, 24)


def test_a_column_of_zeros_has_a_scale() -> None:
    inputs = np.zeros((3, 8), np.float32)
    layer = quantised_layer(np.zeros((8, 2), np.float32), np.ones(2, np.float32), inputs)
    assert (layer.scale > 0).all()
    assert not layer.weights.any()


def test_a_layer_at_the_limit_is_safe_and_one_beyond_is_not() -> None:
    assert int16_safe(np.full((32, 1), 16, np.int8))
    assert not int16_safe(np.full((32, 1), 17, np.int8))
    # One sign at a time: products of different sign never add up.
    assert int16_safe(np.tile(np.array([[16], [-16]], np.int8), (64, 1)))


@pytest.mark.parametrize("kind", ["bert2dnn", "reprbert"])
def test_a_bundle_runs_the_fused_head_that_passed_the_gate(
    kind: str, exported: dict[str, Exported]
) -> None:
    manifest = exported[kind].manifest
    assert manifest.graphs["head"].run == "native"
    (entry,) = (part for part in manifest.parity if part.precision == "native")
    assert entry.auc is not None
    assert entry.auc_reference is not None
    assert abs(entry.auc - entry.auc_reference) <= AUC_TOLERANCE
    assert 0 < entry.max_score_difference < 0.05
    weights = read_head(exported[kind].folder / manifest.graphs["head"].files["native"])
    assert all(int16_safe(layer.weights) for layer in weights.layers)
    with np.load(exported[kind].folder / "golden.npz", allow_pickle=False) as golden:
        rows = Rows(golden["query.float32"], golden["product.float32"].astype(np.float16))
    assert tile_independent(HeadKernel(weights, kernel_paths()[0]).score, rows)


def test_a_dot_product_has_nothing_to_fuse(exported: dict[str, Exported]) -> None:
    manifest = exported["deepdot"].manifest
    assert manifest.graphs["head"].run == "float32"
    assert set(manifest.graphs["head"].files) == {"float32"}
