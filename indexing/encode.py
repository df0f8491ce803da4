"""Texts -> rows, in batches of similar length so that little padding is encoded."""

from collections.abc import Sequence

import numpy as np

from indexing.errors import BuildRefused
from indexing.student import Encoded, RowEncoder


def encode_texts(encoder: RowEncoder, texts: Sequence[str], batch_texts: int) -> Encoded:
    """Rows [n, width], aligned with `texts`.

    Raises:
        BuildRefused: the student's rows have another shape or dtype than its manifest says.
    """
    rows: Encoded = np.empty((len(texts), encoder.width), encoder.dtype)
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(texts), batch_texts):
        batch = by_length[start : start + batch_texts]
        encoded = encoder.encode([texts[i] for i in batch])
        if encoded.dtype != rows.dtype or encoded.shape != (len(batch), encoder.width):
            raise BuildRefused(
                f"expected rows {encoder.dtype} [{len(batch)}, {encoder.width}] of "
                f"{encoder.model}, got {encoded.dtype} {list(encoded.shape)}: "
                "export the student again"
            )
        rows[batch] = encoded
    return rows
