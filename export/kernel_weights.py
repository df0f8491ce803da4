"""A student's head as weights of the fused kernel: idle units left out, float32 -> int8.

Nothing is measured here: the gate (parity.py) decides whether the result may be run.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.quantise import Tile
from export.rounding import Rounding
from export.students.student import DenseHead
from model_store.head_kernel import HeadLayer, HeadWeights

Floats = NDArray[np.float32]

_LARGEST: Final = 127  # of an int8 weight, and of an activation
# AVX2 adds sixteen products of one column in 16 bits before it widens them (GROUP in head.c):
# inputs 32 i + {0, 1, 4, 5, 8, 9, ...} in one lane, the other sixteen in its neighbour.
_GROUP: Final = 32
_LANE: Final = np.array([True, True, False, False] * (_GROUP // 4))
_LARGEST_SUM: Final = 32767 // _LARGEST

# Share of a layer's influence that may be left out, as variance over real pairs. ReLU leaves many
# units without any; at this share scores move less than by rounding to int8.
_IDLE: Final = 1e-4
_COLUMNS: Final = 16  # the kernel computes so many outputs at a time


def kernel_weights(head: DenseHead, tiles: Sequence[Tile]) -> HeadWeights:
    """int8 weights, each column with the finest scale that is `int16_safe`.

    tiles: query and product rows of real pairs, to see which units ever do anything, and what
    rounding should leave as it is (rounding.py).
    """
    lean = without_idle_units(head, tiles)
    inputs = _values(lean, tiles)[:-1]
    none = np.zeros(0, np.float32)
    return HeadWeights(
        kind=lean.kind,
        layers=tuple(
            quantised_layer(weights, bias, given)
            for (weights, bias), given in zip(lean.layers, inputs, strict=True)
        ),
        last=np.ascontiguousarray(lean.last, np.float32),
        last_bias=lean.last_bias,
        vectors=lean.vectors,
        width=lean.width,
        pool=none if lean.pool is None else lean.pool,
        # The residual of an interaction passes its input by the layer, to the same weights.
        residual=np.ascontiguousarray(head.last) if head.kind == "interaction" else none,
    )


def without_idle_units(head: DenseHead, tiles: Sequence[Tile]) -> DenseHead:
    """The head without the hidden units that hardly vary: their mean moves into the next bias.

    A unit's influence is the variance of its output times the squared weights that read it. The
    first layer of an mlp keeps all of its units: the query row has one value for each.
    """
    outputs = hidden_outputs(head, tiles)
    layers, last, last_bias = list(head.layers), head.last, head.last_bias
    for i, output in enumerate(outputs):
        if head.kind == "mlp" and i == 0:
            continue
        is_last = i == len(layers) - 1
        reading = last[:, None] if is_last else layers[i + 1][0]
        influence = output.var(axis=0) * np.square(reading).sum(axis=1)
        kept, idle = _split(influence)
        moved = output[:, idle].mean(axis=0) @ reading[idle]
        layers[i] = (layers[i][0][:, kept], layers[i][1][kept])
        if is_last:
            last, last_bias = last[kept], last_bias + float(moved[0])
        else:
            layers[i + 1] = (reading[kept], (layers[i + 1][1] + moved).astype(np.float32))
    return DenseHead(head.kind, tuple(layers), last, last_bias, head.vectors, head.width, head.pool)


def _split(influence: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Units to keep, in their order and in whole blocks of columns, and the idle rest."""
    order = np.argsort(-influence, kind="stable")
    share = np.cumsum(influence[order]) / max(float(influence.sum()), 1e-30)
    needed = int(np.searchsorted(share, 1.0 - _IDLE)) + 1
    count = min(len(order), -(-needed // _COLUMNS) * _COLUMNS)
    return np.sort(order[:count]), order[count:]


def hidden_outputs(head: DenseHead, tiles: Sequence[Tile]) -> list[Floats]:
    """What every hidden layer gives for the tiles' pairs, float32 [pairs, out] each."""
    return _values(head, tiles)[1:]


def _values(head: DenseHead, tiles: Sequence[Tile]) -> list[Floats]:
    """What the first layer reads of the tiles' pairs, then what each gives to the next."""
    tiled = [_values_of_tile(head, q, P.astype(np.float32)) for q, P in tiles]
    return [np.concatenate(layer) for layer in zip(*tiled, strict=True)]


def _values_of_tile(head: DenseHead, q: Floats, P: Floats) -> list[Floats]:
    (first, bias), *rest = head.layers
    values = [P if head.kind == "mlp" else _interacted(head, q, P)]
    values.append(np.maximum(values[0] @ first + (q if head.kind == "mlp" else bias), 0))
    for weights, bias_of_layer in rest:
        values.append(np.maximum(values[-1] @ weights + bias_of_layer, 0))
    return values


def _interacted(head: DenseHead, q: Floats, P: Floats) -> Floats:
    pairs = zip(np.split(P, head.vectors, axis=1), np.split(q, head.vectors, axis=1), strict=True)
    *middle, last = [np.concatenate([np.maximum(p, v), p - v, p + v], axis=1) for p, v in pairs]
    if not middle or head.pool is None:
        return last
    pooled: Floats = np.tensordot(head.pool, np.stack(middle), axes=1)
    return np.asarray(np.maximum(pooled, last))


def quantised_layer(weights: Floats, bias: Floats, inputs: Floats) -> HeadLayer:
    """A dense layer float32 [in, out] with its bias [out], rounded for `inputs` [pairs, in]."""
    rounding = Rounding(inputs)
    largest = np.abs(weights).max(axis=0)
    # A column so small that its step would underflow rounds to zeros.
    step = largest / _LARGEST
    scale = np.where(step >= np.finfo(np.float32).tiny, step, 1.0).astype(np.float32)
    rounded = np.empty(weights.shape, np.int8)
    again = np.ones(len(scale), bool)
    while True:
        rounded[:, again] = rounding.of(weights[:, again], scale[again], _LARGEST)
        over = largest_sum(rounded) / _LARGEST_SUM
        if over.max(initial=0.0) <= 1.0:
            # C order: choosing columns may have turned the array around.
            return HeadLayer(
                np.ascontiguousarray(rounded), scale, np.ascontiguousarray(bias, np.float32)
            )
        # Rounding may leave a sum a step too large: a little coarser than the ratio asks for.
        again = over > 1.0
        scale = np.where(again, scale * over * np.float32(1.002), scale).astype(np.float32)


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
