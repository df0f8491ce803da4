"""A data set read table by table: products, queries, judgements; what is no good is rejected."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from evaluation.judgments import split_of
from importing.layout import Layout, ProductTable
from importing.lookup import Lookup
from importing.table import Table
from importing.tables_out import Rejects
from indexing.catalogue import Entry, checked_product, checked_query
from indexing.raw import BadLine, RawRow, Record

SPLITS: Final = ("train", "valid", "test")
_EVERY: Final = 10_000  # records between two reports of progress

OnProgress = Callable[[str, int, int | None], None]
"""Called with the phase, the records done, and None until it is known how many there are."""


class Product(NamedTuple):
    """A product, and its further columns in the order of the layout's `other_columns`."""

    product_id: str
    title: str
    others: list[str]


class Judgment(NamedTuple):
    """A judged pair; split: by its query, or as published, but for queries kept to validate on."""

    query: str
    product_id: str
    title: str
    relevance: float
    split: str


class Reading:
    """One reading: first all products, then all judgements.

    counts: what was met: repeated and unknown ones
    """

    def __init__(
        self, layout: Layout, lookup: Lookup, rejects: Rejects, on_progress: OnProgress
    ) -> None:
        """`lookup` and `rejects` are filled while reading."""
        self._layout = layout
        self._lookup = lookup
        self._rejects = rejects
        self._on_progress = on_progress
        self._read: set[Table] = set()  # tables whose bad lines are rejected already
        self.counts: Counter[str] = Counter()

    def products(self) -> Iterator[Product]:
        """Every product once."""
        for each in self._layout.products:
            wanted = (each.product_id, each.title, *each.others.values())
            for record in self._records(each.table, wanted, each.only, "products"):
                product = self._product(each, record)
                if product is not None:
                    yield product

    def judgments(self) -> Iterator[Judgment]:
        """Every judged pair of a known product once."""
        self._name_queries()
        source = self._layout.judgments
        wanted = [source.query, source.product_id, source.grade]
        wanted += [] if source.split is None else [source.split]
        for record in self._records(source.table, wanted, source.only, "judgments"):
            query = self._judged_query(record)
            judged = None if query is None else self._judged(query, record)
            if isinstance(judged, str):
                self._refuse(source.table, record, judged)
            elif judged is not None:
                yield judged

    def _product(self, table: ProductTable, record: Record) -> Product | None:
        raw = RawRow(record.line_number, record.fields[0], record.fields[1], record.text)
        product = checked_product(raw)
        if not isinstance(product, Entry):
            self._rejects.add(table.table.path.name, product)
            return None
        added = self._lookup.add_product(product.entry_id, product.text)
        if added == "new":
            cells = dict(zip(table.others, record.fields[2:], strict=True))
            others = [_text(cells.get(name)) for name in self._layout.other_columns]
            return Product(product.entry_id, product.text, others)
        self.counts["repeated_products"] += added == "same"
        if added == "other":
            self._refuse(table.table, record, "a second title of its product")
        return None

    def _name_queries(self) -> None:
        source = self._layout.queries
        if source is None:
            return
        for record in self._records(source.table, (source.query_id, source.query), {}, "queries"):
            query = self._query(source.table, record, 1)
            if query is not None and not self._lookup.name_query(_text(record.fields[0]), query):
                self._refuse(source.table, record, "a second query of its id")

    def _judged(self, query: str, record: Record) -> Judgment | str | None:
        """The judgement, why it is none, or None for one that has been met already."""
        layout, product_id = self._layout, _text(record.fields[1])
        title = self._lookup.title(product_id)
        if title is None:
            self.counts["unknown_products"] += 1
            return f"product {product_id!r} is not in the catalogue"
        relevance = self._relevance(_text(record.fields[2]))
        if relevance is None:
            grades = "a number" if layout.grades is None else f"one of {', '.join(layout.grades)}"
            return f"expected {grades} as the grade, got {_text(record.fields[2])!r}"
        split: str = split_of(query)
        if layout.judgments.split is not None:
            published = _text(record.fields[3])
            if published not in ("train", "test"):
                return f"expected a split train or test, got {published!r}"
            split = "valid" if published == "train" and split == "valid" else published
        added = self._lookup.add_judgment(query, product_id, relevance)
        if added == "new":
            return Judgment(query, product_id, title, relevance, split)
        self.counts["repeated_judgments"] += added == "same"
        return "a second grade of its pair" if added == "other" else None

    def _judged_query(self, record: Record) -> str | None:
        table = self._layout.judgments.table
        if self._layout.queries is None:
            return self._query(table, record, 0)
        query_id = _text(record.fields[0])
        query = self._lookup.named_query(query_id)
        if query is None:
            self._refuse(table, record, f"query {query_id!r} is not among the queries")
        return query

    def _query(self, table: Table, record: Record, position: int) -> str | None:
        text = _text(record.fields[position])
        query = checked_query(RawRow(record.line_number, text, text, record.text))
        if isinstance(query, Entry):
            return query.text
        self._rejects.add(table.path.name, query)
        return None

    def _relevance(self, grade: str) -> float | None:
        if self._layout.grades is not None:
            return self._layout.grades.get(grade)
        try:
            relevance = float(grade)
        except ValueError:
            return None
        return relevance if math.isfinite(relevance) else None

    def _records(
        self, table: Table, wanted: Sequence[str], only: Mapping[str, str], what: str
    ) -> Iterator[Record]:
        """The wanted columns of the records that have what `only` asks for; rejects bad lines."""
        width, read, phase = len(wanted), 0, f"{what} of {table.path.name}"
        for record in table.records((*wanted, *only)):
            read += 1
            if read % _EVERY == 0:
                self._on_progress(phase, read, None)
            if isinstance(record, BadLine):
                if table not in self._read:
                    self._rejects.add(table.path.name, record)
                continue
            asked = zip(record.fields[width:], only.values(), strict=True)
            if all(_text(cell) == value for cell, value in asked):
                yield record._replace(fields=record.fields[:width])
        self._read.add(table)
        self._on_progress(phase, read, read)

    def _refuse(self, table: Table, record: Record, reason: str) -> None:
        self._rejects.add(table.path.name, BadLine(record.line_number, reason, record.text))


def _text(cell: object) -> str:
    return "" if cell is None else str(cell)
