"""A student's head as weights of the fused kernel: float32 -> int8; nothing is measured here."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.students.student import DenseHead
from model_store.head_kernel import HeadLayer, HeadWeights

_LARGEST: Final = 127  # of an int8 weight, and of an activation
# AVX2 adds sixteen products of one column in 16 bits before it widens them (GROUP in head.c):
# inputs 32 i + {0, 1, 4, 5, 8, 9, ...} in one lane, the other sixteen in its neighbour.
_GROUP: Final = 32
_LANE: Final = np.array([True, True, False, False] * (_GROUP // 4))
_LARGEST_SUM: Final = 32767 // _LARGEST


def kernel_weights(head: DenseHead) -> HeadWeights:
    """int8 weights, each column with the finest scale that is `int16_safe`."""
    return HeadWeights(
        kind=head.kind,
        layers=tuple(quantised_layer(weights, bias) for weights, bias in head.layers),
        last=np.ascontiguousarray(head.last, np.float32),
        last_bias=head.last_bias,
        vectors=head.vectors,
        width=head.width,
        pool=head.pool,
    )


def quantised_layer(weights: NDArray[np.float32], bias: NDArray[np.float32]) -> HeadLayer:
    """A dense layer float32 [in, out] with its bias [out]."""
    largest = np.abs(weights).max(axis=0)
    scale = np.where(largest > 0, largest / _LARGEST, 1.0).astype(np.float32)
    while True:
        rounded = np.rint(weights / scale).astype(np.int8)
        over = largest_sum(rounded) / _LARGEST_SUM
        if over.max(initial=0.0) <= 1.0:
            return HeadLayer(rounded, scale, np.ascontiguousarray(bias, np.float32))
        # Rounding may leave a sum a step too large: a little coarser than the ratio asks for.
        scale = np.where(over > 1.0, scale * over * np.float32(1.002), scale).astype(np.float32)


def int16_safe(weights: NDArray[np.int8]) -> bool:
    """Whether no sixteen products that AVX2 adds in 16 bits can leave them, whatever the row is."""
    return bool(largest_sum(weights).max(initial=0) <= _LARGEST_SUM)


def largest_sum(weights: NDArray[np.int8]) -> NDArray[np.int64]:
    """Per column, int64 [out], the largest sum of one sign in one 16-bit lane."""
    inputs, outputs = weights.shape
    whole = np.zeros((-(-inputs // _GROUP) * _GROUP, outputs), np.int64)
    whole[:inputs] = weights
    groups = whole.reshape(-1, _GROUP, outputs)
    lanes = [groups[:, lane] for lane in (_LANE, ~_LANE)]
    sums = [np.maximum(sign * lane, 0).sum(axis=1) for lane in lanes for sign in (1, -1)]
    return np.asarray(np.max(np.stack(sums), axis=(0, 1)))
