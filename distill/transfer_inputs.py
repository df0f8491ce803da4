"""What a transfer set is made from: products, queries that may be used, and what was judged.

Products are told apart by title, since that is all a student sees of them.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from distill.errors import TransferRefused
from distill.retrieval import terms
from evaluation.judgments import ProductFile, query_key, split_of
from evaluation.tables import ENCODING, Row, rows
from indexing.catalogue import Entry, open_catalogue, open_queries


@dataclass(frozen=True)
class QueryFile:
    """One query per line (.txt), or a table with a column of queries."""

    path: Path
    query: str = "query"
    encoding: str = ENCODING


@dataclass(frozen=True)
class JudgedFile:
    """Judged pairs; titles come from the products where the file has no column of them.

    Grades are not read: a teacher labels the pairs.
    """

    path: Path
    query: str = "query"
    product_id: str = "product_id"
    title: str = "title"
    encoding: str = ENCODING


@dataclass
class Products:
    """n products with distinct titles; `ids[i]` is the first id that has title i."""

    ids: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    bad_lines: int = 0
    _by_id: dict[str, int] = field(default_factory=dict)
    _by_title: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.titles)

    def add(self, product_id: str, title: str) -> int:
        """Position of the title, which is new or not; the first title of an id is kept."""
        if product_id in self._by_id:
            return self._by_id[product_id]
        position = self._by_title.setdefault(title, len(self.titles))
        if position == len(self.titles):
            self.titles.append(title)
            self.ids.append(product_id)
        if product_id:
            self._by_id[product_id] = position
        return position

    def position_of(self, product_id: str) -> int | None:
        """Where the title of this id stands, None for an unknown id."""
        return self._by_id.get(product_id)


HeldOut = Callable[[str], bool]
"""Whether a query is kept apart, so that nothing may be learned from its pairs."""


def held_out_by_rule(query: str) -> bool:
    """What the split rule calls valid or test."""
    return split_of(query) != "train"


def held_out_with(keys: Collection[str]) -> HeldOut:
    """What the rule holds out, and the queries of these keys: a test part that was published."""
    return lambda query: held_out_by_rule(query) or query_key(query) in keys


@dataclass
class Queries:
    """Queries to make pairs of, each once, with the products judged for it.

    judged: positions of the judged products, by the query's key
    known: keys of all queries that were read, held out or not
    is_held_out: which are left out
    held_out: how many of them are
    held_out_words: what `loose_key` makes of those
    """

    texts: list[str] = field(default_factory=list)
    judged: dict[str, list[int]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    bad_lines: int = 0
    unknown_products: int = 0  # judged, but without a title
    is_held_out: HeldOut = held_out_by_rule
    held_out: int = 0
    held_out_words: set[str] = field(default_factory=set)

    def add(self, query: str) -> bool:
        """Takes a query unless it is known or held out; whether its pairs may be used."""
        key = query_key(query)
        usable = not self.is_held_out(query)
        if key not in self.known:
            self.known.add(key)
            if usable:
                self.texts.append(query)
            else:
                self.held_out += 1
                self.held_out_words.add(loose_key(query))
        return usable


def loose_key(query: str) -> str:
    """What stays of a query without its order, punctuation and English plurals."""
    return " ".join(sorted(terms(query)))


def read_products(file: ProductFile) -> Products:
    """All products of a catalogue in any format that `winnow index` reads.

    Raises:
        CatalogueError: the file can't be read. A bad line costs itself and is counted.
        TransferRefused: it has no product.
    """
    products = Products()
    catalogue = open_catalogue(
        file.path, encoding=file.encoding, id_column=file.product_id, title_column=file.title
    )
    for row in catalogue.rows():
        if isinstance(row, Entry):
            products.add(row.entry_id, row.text)
        else:
            products.bad_lines += 1
    if not len(products):
        raise TransferRefused(
            f"{file.path.name}: expected products, found none ({products.bad_lines} bad lines): "
            "check the names of its columns and its encoding"
        )
    return products


def read_queries(
    products: Products,
    queries: QueryFile | None,
    judged: JudgedFile | None,
    held_out: Collection[str] = frozenset(),
) -> Queries:
    """Queries of both files; judged products join `products` where they are not among them.

    Args:
        products: the catalogue.
        queries: a file of queries.
        judged: a file of judged pairs.
        held_out: keys of queries that are left out beside those of the rule, and that no query
            made later may be like.

    Raises:
        CatalogueError: the query file can't be read. A bad line costs itself and is counted.
        InputFileError: the judgement file can't be read; the text names the line.
        TransferRefused: there were queries, but none of the train split.
    """
    found = Queries(is_held_out=held_out_with(held_out))
    for key in held_out:
        found.add(key)
    if judged is not None:
        with closing(rows(judged.path, judged.encoding)) as lines:
            for row in lines:
                _add_judged(found, products, row, judged)
    for text in _query_texts(queries, found):
        found.add(text)
    if not found.texts and found.held_out:
        raise TransferRefused(
            f"expected queries of the train split, got {found.held_out} of valid and test alone: "
            "pairs of those would spoil every later evaluation"
        )
    return found


def _add_judged(found: Queries, products: Products, row: Row, file: JudgedFile) -> None:
    query = row.text(file.query)
    usable = found.add(query)
    if row.has(file.title):
        named = row.fields.get(file.product_id) not in (None, "")
        product_id = row.text(file.product_id) if named else ""
        position: int | None = products.add(product_id, row.text(file.title))
    else:
        position = products.position_of(row.text(file.product_id))
    if position is None:
        found.unknown_products += 1
    elif usable:
        positions = found.judged.setdefault(query_key(query), [])
        if position not in positions:
            positions.append(position)


def _query_texts(file: QueryFile | None, found: Queries) -> Iterator[str]:
    if file is None:
        return
    for row in open_queries(file.path, encoding=file.encoding, query_column=file.query).rows():
        if isinstance(row, Entry):
            yield row.text
        else:
            found.bad_lines += 1
