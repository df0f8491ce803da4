"""What the readers of each format hand to the catalogue, before ids and titles are checked."""

from typing import NamedTuple


class RawRow(NamedTuple):
    """One record as it stands in the file; id and title may be of any type, or None."""

    line_number: int
    product_id: object
    title: object
    text: str


class BadLine(NamedTuple):
    """A record that gives no product; `text` is as it stands in the file."""

    line_number: int
    reason: str
    text: str
