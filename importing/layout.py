"""How a published data set is laid out: which tables, which columns, what its grades mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from importing.table import Table


@dataclass(frozen=True)
class ProductTable:
    """A table that has products.

    others: further columns of the catalogue, and what they are called here
    only: columns and the value that a record must have there to be read
    """

    table: Table
    product_id: str
    title: str
    others: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class QueryTable:
    """A table of queries that judgements name by an id."""

    table: Table
    query_id: str
    query: str


@dataclass(frozen=True)
class JudgmentTable:
    """A table of judged pairs.

    query: column of the query, or of its id where there is a QueryTable
    split: column of the published split, train or test; None where none was published
    only: as in ProductTable
    """

    table: Table
    query: str
    product_id: str
    grade: str
    split: str | None = None
    only: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """A data set and how to read it.

    products: the tables with the products; of a product in several records the first is kept
    grades: relevance of each grade; None where grades are numbers and stay as they are
    relevant_from: lowest relevance that counts as relevant
    """

    name: str
    products: tuple[ProductTable, ...]
    judgments: JudgmentTable
    queries: QueryTable | None
    grades: Mapping[str, float] | None
    relevant_from: float

    @property
    def other_columns(self) -> list[str]:
        """Columns of the catalogue beside id and title."""
        return list(dict.fromkeys(name for each in self.products for name in each.others))

    @property
    def tables(self) -> list[Table]:
        """Every table that is read, each once."""
        of_queries = () if self.queries is None else (self.queries.table,)
        tables = (*(each.table for each in self.products), self.judgments.table, *of_queries)
        return list(dict.fromkeys(tables))
