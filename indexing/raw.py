"""What the readers of each format hand to the catalogue, before ids and texts are checked."""

from typing import NamedTuple


class RawRow(NamedTuple):
    """One record as it stands in the file; id and title may be of any type, or None.

    Of a query file: the query and the text that is encoded for it, mostly the query itself.
    """

    line_number: int
    product_id: object
    title: object
    text: str


class Record(NamedTuple):
    """Some columns of one record, as it stands in the file; None where Parquet has none."""

    line_number: int
    fields: tuple[object, ...]
    text: str


class BadLine(NamedTuple):
    """A record that gives no entry; `text` is as it stands in the file."""

    line_number: int
    reason: str
    text: str
