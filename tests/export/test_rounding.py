"""Rounding for the rows there are: outputs stay nearer than those of weights rounded one by one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from export.rounding import Rounding

Floats = NDArray[np.float32]


def _layer(seed: int, outputs: int = 40) -> tuple[Floats, Floats]:
    """Weights float32 [96, outputs], and the scales that 7 bits have for them."""
    weights = np.random.default_rng(seed).normal(0, 0.05, (96, outputs)).astype(np.float32)
    return weights, np.abs(weights).max(axis=0) / np.float32(64)


def _activations(seed: int, pairs: int, directions: int) -> Floats:
    """Behind a ReLU, of pairs that vary in so many directions, float32 [pairs, 96]."""
    axes = np.random.default_rng(1).normal(0, 1, (directions, 96))
    return np.maximum(
        np.random.default_rng(seed).normal(0, 1, (pairs, directions)) @ axes, 0
    ).astype(np.float32)


def _error(inputs: Floats, rounded: NDArray[np.int8], scale: Floats, weights: Floats) -> float:
    return float(np.square(inputs @ (rounded * scale - weights)).mean())


@pytest.mark.parametrize(("directions", "share"), [(6, 0.1), (12, 0.5), (48, 0.9)])
def test_the_error_on_other_pairs_is_smaller_the_fewer_directions_they_have(
    directions: int, share: float
) -> None:
    weights, scale = _layer(2)
    rounded = Rounding(_activations(3, 2_000, directions)).of(weights, scale, 64)
    others = _activations(4, 500, directions)
    nearest = np.rint(weights / scale).astype(np.int8)
    assert _error(others, rounded, scale, weights) < share * _error(others, nearest, scale, weights)


def test_where_inputs_do_not_vary_together_weights_are_rounded_one_by_one() -> None:
    weights, scale = _layer(5)
    rounded = Rounding(np.eye(96, dtype=np.float32)).of(weights, scale, 64)
    np.testing.assert_array_equal(rounded, np.rint(weights / scale))


def test_no_integer_is_larger_than_asked_for() -> None:
    weights, scale = _layer(6)
    one_pair = np.ones((1, 96), np.float32)  # whose error could be made good by any input
    rounded = Rounding(one_pair).of(weights, scale, 20)
    assert np.abs(rounded).max() == 20


def test_inputs_that_are_always_zero_leave_something_to_round() -> None:
    weights, scale = _layer(7)
    nothing = Rounding(np.zeros((10, 96), np.float32))
    np.testing.assert_array_equal(nothing.of(weights, scale, 64), np.rint(weights / scale))


def test_each_output_is_rounded_by_itself() -> None:
    weights, scale = _layer(8)
    rounding = Rounding(_activations(9, 200, 12))
    whole = rounding.of(weights, scale, 64)
    np.testing.assert_array_equal(rounding.of(weights[:, 3:5], scale[3:5], 64), whole[:, 3:5])
