"""Judgement files: graded pairs of query and title, and the split of a query. No metrics here."""

import hashlib
import math
from collections import Counter
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import InputFileError
from evaluation.tables import ENCODING, Row, rows

Split = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class JudgmentColumns:
    """What the columns of a judgement file are called."""

    query: str = "query"
    product_id: str = "product_id"
    relevance: str = "relevance"
    title: str = "title"


@dataclass(frozen=True)
class ProductFile:
    """A file of products, which gives judgements their titles."""

    path: Path
    product_id: str = "product_id"
    title: str = "title"
    encoding: str = ENCODING


@dataclass(frozen=True)
class Judgments:
    """n judged pairs, in the order of their file.

    Judgements of products that the product file lacks are not among the n, since they have no
    title: `unknown_products` counts them by query, so that those of a split can be told.
    """

    queries: list[str]
    product_ids: list[str]  # "" where the file gives none
    titles: list[str]
    relevance: NDArray[np.float64]  # [n]
    relevant_from: float
    unknown_products: dict[str, int]

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def labels(self) -> NDArray[np.bool_]:
        """Relevant or not, bool [n]: relevance >= relevant_from."""
        return self.relevance >= self.relevant_from

    def of_split(self, split: Split) -> "Judgments":
        """Only the pairs whose query belongs to the split, unknown products too; may be none."""
        kept = [pair for pair, query in enumerate(self.queries) if split_of(query) == split]
        unknown = {
            query: count
            for query, count in self.unknown_products.items()
            if split_of(query) == split
        }
        return replace(self.take(np.array(kept, dtype=np.intp)), unknown_products=unknown)

    def take(self, pairs: NDArray[np.intp]) -> "Judgments":
        """Only these pairs, in that order; what has no title is none of them, and stays counted."""
        return replace(
            self,
            queries=[self.queries[pair] for pair in pairs],
            product_ids=[self.product_ids[pair] for pair in pairs],
            titles=[self.titles[pair] for pair in pairs],
            relevance=self.relevance[pairs],
        )


def query_key(query: str) -> str:
    """What two spellings of one query have in common: lower case, single spaces."""
    return " ".join(query.lower().split())


def split_of(query: str) -> Split:
    """The split that all judgements of a query belong to; case and extra white space don't matter.

    Of 100 buckets of sha1("split-v1:" + query), 15 are test and 10 valid. The rule never changes:
    another one would move test queries into the training data of models that exist.
    """
    digest = hashlib.sha1(f"split-v1:{query_key(query)}".encode(), usedforsecurity=False)
    bucket = int(digest.hexdigest(), 16) % 100
    if bucket < 15:
        return "test"
    return "valid" if bucket < 25 else "train"


def read_judgments(
    path: Path,
    *,
    relevant_from: float,
    products: ProductFile | None = None,
    columns: JudgmentColumns | None = None,
    encoding: str = ENCODING,
) -> Judgments:
    """Reads a judgement file (.csv, .tsv, .jsonl, also with .gz).

    Args:
        path: the file.
        relevant_from: the lowest grade that counts as relevant.
        products: gives the titles, by product id; None where the judgement file has a column of
            titles, which is read in no other case.
        columns: names of the columns, where they aren't those of JudgmentColumns.
        encoding: of the judgement file.

    Raises:
        InputFileError: a file that can't be read, a missing column, a malformed field, a judged
            product with two titles, or nothing left to evaluate.
        ValueError: relevant_from is not a finite number.
    """
    if not math.isfinite(relevant_from):
        raise ValueError(f"expected a finite grade as relevant_from, got {relevant_from}")
    columns = columns or JudgmentColumns()
    with closing(rows(path, encoding)) as lines:
        pairs = [_pair(row, columns, titled=products is None) for row in lines]
    unknown: Counter[str] = Counter()
    if products is not None:
        titles = _titles(products, {pair.product_id for pair in pairs})
        unknown.update(pair.query for pair in pairs if pair.product_id not in titles)
        pairs = [
            pair._replace(title=titles[pair.product_id])
            for pair in pairs
            if pair.product_id in titles
        ]
    if not pairs:
        raise InputFileError(
            f"{path.name}: expected judgements, got none that can be used "
            f"({unknown.total()} are of products that the product file lacks)"
        )
    return Judgments(
        queries=[pair.query for pair in pairs],
        product_ids=[pair.product_id for pair in pairs],
        titles=[pair.title for pair in pairs],
        relevance=np.array([pair.relevance for pair in pairs]),
        relevant_from=relevant_from,
        unknown_products=dict(unknown),
    )


def product_titles(products: ProductFile) -> list[str]:
    """All titles of a product file, in its order.

    Raises:
        InputFileError: the file can't be read, or a row has no title.
    """
    with closing(rows(products.path, products.encoding)) as lines:
        return [row.text(products.title) for row in lines]


class _Pair(NamedTuple):
    query: str
    product_id: str
    title: str
    relevance: float


def _pair(row: Row, columns: JudgmentColumns, *, titled: bool) -> _Pair:
    if titled and not row.has(columns.title):
        raise InputFileError(
            f"{row.place}: no column {columns.title!r}: say which column has the titles, or give "
            "the products' file"
        )
    needs_id = not titled or row.has(columns.product_id)
    return _Pair(
        query=row.text(columns.query),
        product_id=row.text(columns.product_id) if needs_id else "",
        title=row.text(columns.title) if titled else "",
        relevance=row.number(columns.relevance),
    )


def _titles(products: ProductFile, wanted: Collection[str]) -> dict[str, str]:
    """Titles of the wanted products that the file has; the others are read past, not kept."""
    titles: dict[str, str] = {}
    with closing(rows(products.path, products.encoding)) as lines:
        for row in lines:
            product_id = row.text(products.product_id)
            if product_id not in wanted:
                continue
            title = row.text(products.title)
            if titles.setdefault(product_id, title) != title:
                raise InputFileError(
                    f"{row.place}: product {product_id!r} has a second title {title!r}, "
                    f"before it was {titles[product_id]!r}: keep one"
                )
    return titles
