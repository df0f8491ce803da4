"""Weights as integers, rounded so that errors cancel on real rows instead of adding up.

One input of a layer after the other is rounded, and what that does to the outputs is handed on to
the inputs still to come, as far as these vary with it (Frantar et al., ICLR 2023, "GPTQ", Algorithm
1 without its blocks; largest inputs first, as in their code). What a head reads varies in fewer
directions than it has inputs, so much of what rounding does wrong can be made good.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Added to the diagonal of the inputs' second moments, as a share of its mean: inputs that hardly
# vary on these rows may on others. With less, down to 0.0001, the error was hardly smaller.
_DAMPING = 0.01


class Rounding:
    """Rounds the weights of layers that read the same inputs."""

    def __init__(self, inputs: Floats) -> None:
        """Takes what they read of n real pairs, float32 [n, in]."""
        x = inputs.astype(np.float64)
        moments = x.T @ x
        damping = _DAMPING * moments.diagonal().mean() or 1.0
        moments[np.diag_indices_from(moments)] += damping
        self._order = np.argsort(-moments.diagonal(), kind="stable")
        ordered = moments[np.ix_(self._order, self._order)]
        # Row i of the inverse's upper Cholesky factor, over its own diagonal: what each input still
        # to come has to take over of an error in input i.
        self._upper = np.linalg.cholesky(np.linalg.inv(ordered)).T

    def of(self, weights: Floats, scale: Floats, largest: int) -> NDArray[np.int8]:
        """int8 [in, out], -`largest` .. `largest`; times `scale` [out] near `weights` [in, out]."""
        left = weights[self._order] / scale.astype(np.float64)
        rounded = np.empty(left.shape, np.int8)
        for i, factors in enumerate(self._upper):
            rounded[i] = np.clip(np.rint(left[i]), -largest, largest)
            error = (left[i] - rounded[i]) / factors[i]
            left[i + 1 :] -= factors[i + 1 :, np.newaxis] * error
        result = np.empty_like(rounded)
        result[self._order] = rounded
        return result
