"""Titles -> product rows, in batches of similar length so that little padding is encoded."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexing.errors import BuildRefused
from indexing.student import ProductEncoder


def encode_titles(
    encoder: ProductEncoder, titles: Sequence[str], batch_titles: int
) -> NDArray[np.float16]:
    """Product rows float16 [n, d_p], aligned with `titles`.

    Raises:
        BuildRefused: the student's rows have another shape or dtype than its manifest says.
    """
    width = encoder.manifest.product_row.width
    rows = np.empty((len(titles), width), np.float16)
    by_length = sorted(range(len(titles)), key=lambda i: len(titles[i]))
    for start in range(0, len(titles), batch_titles):
        batch = by_length[start : start + batch_titles]
        encoded = encoder.encode_products([titles[i] for i in batch])
        if encoded.dtype != np.float16 or encoded.shape != (len(batch), width):
            raise BuildRefused(
                f"expected product rows float16 [{len(batch)}, {width}] of "
                f"{encoder.manifest.name}, got {encoded.dtype} {list(encoded.shape)}: "
                "export the student again"
            )
        rows[batch] = encoded
    return rows
