"""Several teachers as one: homogeneous (seeds of one encoder) or heterogeneous (other encoders)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distill.errors import LabelsRefused


def stacked_probability(
    logits: Sequence[NDArray[np.float32]], temperature: float = 1.0
) -> NDArray[np.float32]:
    """Mean over teachers of sigmoid(logit / T), float32 [n] in [0, 1]; of one teacher its own.

    BERT2DNN, sections III-C and IV: the softmax over a teacher's two logits, each divided by T, is
    the sigmoid of their difference divided by T; stacked teachers are averaged as probabilities.

    Args:
        logits: log odds of relevance, float32 [n] of each teacher, aligned.
        temperature: T > 0; above 1 the probabilities move towards 0.5.

    Raises:
        LabelsRefused: no teacher, different lengths, or a temperature that is not above 0.
    """
    if not logits or len({each.shape for each in logits}) != 1 or logits[0].ndim != 1:
        raise LabelsRefused(
            "expected logits [n] of one or more teachers for the same n pairs, got "
            f"{[list(each.shape) for each in logits]}"
        )
    if not 0.0 < temperature < np.inf:
        raise LabelsRefused(f"expected a temperature above 0, got {temperature}")
    total = np.zeros(len(logits[0]), dtype=np.float64)
    for each in logits:
        # tanh never overflows, as exp of a large logit at a small temperature would.
        total += 0.5 + 0.5 * np.tanh(each.astype(np.float64) / (2.0 * temperature))
    return (total / len(logits)).astype(np.float32)
