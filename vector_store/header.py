"""The header of a vector set: what its rows are and which product graph made them."""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vector_store.errors import SetCorrupt
from vector_store.rows import RowDtype, record_bytes

Holds = Literal["products", "queries"]


class SetHeader(BaseModel):
    """Header of one vector set; immutable, unknown fields refused.

    set_id: first 8 hex digits of the fingerprint, a dot, the generation: `1f0c9a3e.2`
    fingerprint: 64 hex digits: the vector fingerprint, everything that decides a product row; of
        a set of query rows the query fingerprint
    model: name and version of the bundle that encoded the rows
    width: floats per row (d_p, or d_q of query rows)
    dtype: float16 for product rows, float32 for query rows
    segments: name -> (offset, width) in floats, inside the row
    bucket_count: buckets of the ids; at most 1,000: a key has three digits for a bucket
    count: rows in the set, right once it is sealed
    created, sealed: ISO 8601, UTC; sealed is None while the indexer still writes
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1]
    set_id: str
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    model: str
    width: Annotated[int, Field(ge=1)]
    dtype: RowDtype
    segments: dict[str, tuple[int, int]]
    bucket_count: Annotated[int, Field(ge=1, le=1000)] = 256
    count: Annotated[int, Field(ge=0)]
    created: str
    sealed: str | None

    @property
    def record_bytes(self) -> int:
        """Length of one stored record in bytes."""
        return record_bytes(self.width, self.dtype)

    @property
    def holds(self) -> Holds:
        """Whose rows these are: only query rows are stored as float32."""
        return "queries" if self.dtype == "float32" else "products"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not re.fullmatch(rf"{self.fingerprint[:8]}\.[1-9][0-9]*", self.set_id):
            raise ValueError(
                f"expected set_id {self.fingerprint[:8]}.<generation>, got {self.set_id!r}"
            )
        for name, (offset, width) in self.segments.items():
            if offset < 0 or width < 1 or offset + width > self.width:
                raise ValueError(
                    f"segment {name!r} (offset {offset}, width {width}) lies outside the row "
                    f"of {self.width} floats"
                )
        return self


def parse_header(set_id: str, stored: bytes) -> SetHeader:
    """The header stored for `set_id`.

    Raises:
        SetCorrupt: it isn't a header of this format, or it is the header of another set.
    """
    try:
        header = SetHeader.model_validate_json(stored)
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, part['loc'])) or 'header'}: {part['msg']}"
            for part in error.errors(include_url=False, include_input=False)
        )
        raise SetCorrupt(
            f"the header of vector set {set_id} is unreadable ({reasons}); "
            "remove the set and index the catalogue again"
        ) from error
    if header.set_id != set_id:
        raise SetCorrupt(
            f"expected the header of vector set {set_id}, got the one of {header.set_id}; "
            "remove the set and index the catalogue again"
        )
    return header
