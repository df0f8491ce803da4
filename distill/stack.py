"""Several teachers as one: homogeneous (seeds of one encoder) or heterogeneous (other encoders)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def stacked_probability(
    logits: Sequence[NDArray[np.float32]], temperature: float = 1.0
) -> NDArray[np.float32]:
    """Mean over teachers of sigmoid(logit / T), float32 [n]; BERT2DNN sec. III, "stacking".

    The paper's softmax over two logits divided by T is the sigmoid of their difference over T.

    Args:
        logits: float32 [n] of each teacher, aligned.
        temperature: T > 0; above 1 the probabilities move towards 0.5.

    Raises:
        ValueError: no teacher, other lengths, or a T that is not above 0.
    """
    if not logits:
        raise ValueError("expected the logits of at least one teacher, got none")
    if len({each.shape for each in logits}) > 1:
        raise ValueError(
            f"expected logits of one length, got {[len(each) for each in logits]}: they label "
            "other pairs"
        )
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, got {temperature}")
    halves = [np.tanh(each.astype(np.float64) / (2.0 * temperature)) / 2.0 for each in logits]
    probability: NDArray[np.float32] = (0.5 + np.mean(halves, axis=0)).astype(np.float32)
    return probability
