"""What indexing needs of a student: `model_store.student.OnnxStudent` has it, and so may others."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class RowShape(Protocol):
    """Width of a product row in floats, and its segments as (offset, width)."""

    @property
    def width(self) -> int: ...

    @property
    def segments(self) -> Mapping[str, tuple[int, int]]: ...


class ProductManifest(Protocol):
    """The fields of a manifest that end up in the header of a vector set."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def vector_fingerprint(self) -> str: ...

    @property
    def product_row(self) -> RowShape: ...


class ProductEncoder(Protocol):
    """Titles -> product rows. A row depends on its title alone, up to rounding."""

    @property
    def manifest(self) -> ProductManifest: ...

    def encode_products(self, titles: Sequence[str]) -> NDArray[np.float16]:
        """Product rows float16 [n, d_p] of n titles, n >= 1."""
        ...
