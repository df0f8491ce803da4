"""What indexing needs of a student: `model_store.student.OnnxStudent` has it, and so may others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model_store.manifest import GraphName, Manifest, Precision, query_fingerprint
from vector_store.header import Holds
from vector_store.rows import RowDtype

Encoded = NDArray[np.float16] | NDArray[np.float32]


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


class QueryEncoder(Protocol):
    """Queries -> query rows, one at a time."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def run(self) -> Mapping[GraphName, Precision]: ...

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """Query row float32 [1, d_q]."""
        ...


@dataclass(frozen=True)
class RowEncoder:
    """The rows of one vector set: what its header says of them, and texts -> rows.

    encode: n texts, n >= 1 -> rows `dtype` [n, width]
    """

    holds: Holds
    model: str
    fingerprint: str
    width: int
    segments: Mapping[str, tuple[int, int]]
    dtype: RowDtype
    encode: Callable[[Sequence[str]], Encoded]


def product_rows(student: ProductEncoder) -> RowEncoder:
    """Product rows of a student."""
    manifest = student.manifest
    return RowEncoder(
        holds="products",
        model=f"{manifest.name}/{manifest.version}",
        fingerprint=manifest.vector_fingerprint,
        width=manifest.product_row.width,
        segments=manifest.product_row.segments,
        dtype="float16",
        encode=student.encode_products,
    )


def query_rows(student: QueryEncoder) -> RowEncoder:
    """Query rows of a student in the precision it runs, each as the service would encode it.

    Queries are encoded one by one: in a batch a row would depend on the company it is in.
    """
    manifest = student.manifest

    def encode(queries: Sequence[str]) -> NDArray[np.float32]:
        return np.concatenate([student.encode_query(query) for query in queries])

    return RowEncoder(
        holds="queries",
        model=f"{manifest.name}/{manifest.version}",
        fingerprint=query_fingerprint(manifest, student.run["query"]),
        width=manifest.query_row.width,
        segments=manifest.query_row.segments,
        dtype="float32",
        encode=encode,
    )
