"""A small deterministic student for tests of indexing: a title's row is made of its hash."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FINGERPRINT = "0123456789abcdef" * 4
NOT_FINITE = "overflow"


@dataclass(frozen=True)
class HashRow:
    width: int = 16
    segments: Mapping[str, tuple[int, int]] = field(default_factory=lambda: {"row": (0, 16)})


@dataclass(frozen=True)
class HashManifest:
    name: str = "hash"
    version: str = "1"
    vector_fingerprint: str = FINGERPRINT
    product_row: HashRow = field(default_factory=HashRow)


class HashEncoder:
    """Encodes to values in [-1, 1); remembers which titles it was asked for."""

    def __init__(self, width: int = 16, fingerprint: str = FINGERPRINT) -> None:
        self.manifest = HashManifest(
            vector_fingerprint=fingerprint, product_row=HashRow(width, {"row": (0, width)})
        )
        self.titles: list[str] = []
        self.batches: list[int] = []
        self.offset = 0.0  # added to every value: a student that is not what it was

    def encode_products(self, titles: Sequence[str]) -> NDArray[np.float16]:
        self.titles += titles
        self.batches.append(len(titles))
        width = self.manifest.product_row.width
        digests = b"".join(hashlib.shake_128(title.encode()).digest(width) for title in titles)
        rows = np.frombuffer(digests, np.int8).reshape(len(titles), width) / np.float16(128)
        rows[[NOT_FINITE in title for title in titles]] = np.inf
        return (rows + self.offset).astype(np.float16)
