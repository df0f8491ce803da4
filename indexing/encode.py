"""Texts -> rows, in batches of similar length so that little padding is encoded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from indexing.errors import BuildRefused
from indexing.student import Encoded, RowEncoder


class ChunkEncoder(Protocol):
    """Where chunks of texts are encoded: here, or on other machines."""

    @property
    def ahead(self) -> int:
        """Chunks that are read before the first of them is stored."""
        ...

    def encode(self, chunks: Sequence[Sequence[str]]) -> Iterator[Encoded]:
        """Rows [n, width] of each chunk, in their order; a chunk may be empty."""
        ...


@dataclass(frozen=True)
class LocalChunks:
    """Encodes in this process, one chunk at a time."""

    encoder: RowEncoder
    batch_texts: int
    ahead: int = 1

    def encode(self, chunks: Sequence[Sequence[str]]) -> Iterator[Encoded]:
        """Rows [n, width] of each chunk, in their order."""
        return (encode_texts(self.encoder, chunk, self.batch_texts) for chunk in chunks)


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
