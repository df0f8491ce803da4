"""The judged pairs and products of a recipe, and what may be learned from.

Nothing that is trained sees a query of valid or test: not as a judged pair, not in a transfer set,
not in an encoder's texts. `check_unseen` holds that on what was read, whoever made it.
"""

import csv
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from distill.data_table import Data
from distill.errors import RecipeRefused, TransferRefused
from distill.transfer_inputs import (
    Products,
    Queries,
    QueryFile,
    held_out_by_rule,
    loose_key,
    read_products,
)
from distill.transfer_inputs import read_queries as read_query_file
from evaluation.judgments import (
    JudgmentColumns,
    Judgments,
    ProductFile,
    Split,
    query_key,
    read_judgments,
)
from export.pairs import PairColumns
from indexing.catalogue import Entry, Row, open_catalogue

SPLITS: tuple[Split, ...] = ("train", "valid", "test")

# Columns of the files that `write_pairs` writes.
TARGETS = PairColumns()
LABELS = PairColumns(target="label")


class RecipeData:
    """What [data] names, read when it is asked for."""

    def __init__(self, data: Data, folder: Path) -> None:
        """Paths in `data` are relative to `folder`.

        Raises:
            RecipeRefused: a file is not there.
        """
        self.data = data
        self.folder = folder
        named = {name: getattr(data, name) for name in ("judgments", *SPLITS, "products")}
        self.files = {name: folder / path for name, path in named.items() if path is not None}
        for name, path in self.files.items():
            if not path.is_file():
                raise RecipeRefused(
                    f"data: {name}: expected a file, found none at {path}: say with --data where "
                    "the paths of [data] and [transfer] start from"
                )

    @cached_property
    def splits(self) -> dict[Split, Judgments]:
        """Judged pairs of each split.

        Raises:
            InputFileError: a file can't be read.
            RecipeRefused: a split without pairs, a query in two of them, or a grade without target.
        """
        if "judgments" in self.files:
            whole = self._read("judgments")
            found = {split: whole.of_split(split) for split in SPLITS}
        else:
            found = {split: self._read(split) for split in SPLITS}
        seen: dict[str, Split] = {}
        for split, judged in found.items():
            if not len(judged):
                raise RecipeRefused(f"data: expected judged pairs of split {split}, got none")
            for query in dict.fromkeys(judged.queries):
                if (other := seen.setdefault(query_key(query), split)) != split:
                    raise RecipeRefused(
                        f"data: expected each query in one split, got {query!r} in {other} and "
                        f"{split}: figures on it would mean nothing"
                    )
        return found

    @cached_property
    def products(self) -> Products:
        """The catalogue: the product file, and judged products that it lacks."""
        products = Products()
        if "products" in self.files:
            data = self.data
            products = read_products(
                ProductFile(
                    self.files["products"], data.id_column, data.title_column, data.encoding
                )
            )
        for judged in self.splits.values():
            for product_id, title in zip(judged.product_ids, judged.titles, strict=True):
                products.add(product_id, title)
        return products

    def catalogue(self) -> Iterator[Row]:
        """Products to index: those of the product file, else the judged ones, each once."""
        data = self.data
        if "products" in self.files:
            file = open_catalogue(
                self.files["products"],
                encoding=data.encoding,
                id_column=data.id_column,
                title_column=data.title_column,
            )
            yield from file.rows()
            return
        titles: dict[str, str] = {}
        for judged in self.splits.values():
            titles |= dict(zip(judged.product_ids, judged.titles, strict=True))
        for number, (product_id, title) in enumerate(titles.items(), start=1):
            yield Entry(number, product_id, title)

    def check_ids(self, what: str) -> None:
        """Refuses a `catalogue` with products that nobody could ask for.

        Raises:
            InputFileError: a file can't be read.
            RecipeRefused: as `splits`, or judged products are the catalogue and lack ids; the text
                begins with `what`, which is to be indexed.
        """
        if "products" in self.files:  # whose reader wants an id of each
            return
        ids = [each for judged in self.splits.values() for each in judged.product_ids]
        if missing := ids.count(""):
            raise RecipeRefused(
                f"{what}: its catalogue is indexed by product id: expected one of each judged pair "
                f"in column {self.data.id_column!r}, got none for {missing} of {len(ids)}: name "
                "the column (id_column), give a file of products (products), or don't publish the "
                "student (publish = false)"
            )

    @cached_property
    def held_out(self) -> frozenset[str]:
        """Keys of the queries of valid and test."""
        queries = (*self.splits["valid"].queries, *self.splits["test"].queries)
        return frozenset(map(query_key, queries))

    def is_held_out(self, query: str) -> bool:
        """Whether a query belongs to valid or test: by their files, else by the split rule."""
        if self.data.judgments is not None:
            return held_out_by_rule(query)
        return query_key(query) in self.held_out

    @property
    def texts(self) -> list[str]:
        """Distinct titles and training queries, sorted: what an encoder may be made from."""
        return sorted({*self.products.titles, *self.splits["train"].queries})

    def relevant_target(self) -> float:
        """A target between those of irrelevant grades and those of relevant ones, in (0, 1).

        Raises:
            RecipeRefused: a relevant grade's target is not above an irrelevant one's.
        """
        judged = self.splits["train"]
        targets = np.array([self._target(grade) for grade in judged.relevance])
        below = float(targets[~judged.labels].max(initial=0.0))
        above = float(targets[judged.labels].min(initial=1.0))
        if not below < above:
            raise RecipeRefused(
                f"data: expected targets of relevant grades (from {judged.relevant_from:g}) above "
                f"those of others, got {above:g} and {below:g}"
            )
        return (below + above) / 2

    def write_pairs(self, split: Split, path: Path) -> None:
        """Judged pairs as a table of query, title, target (graded) and label (0 or 1)."""
        judged = self.splits[split]
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow((TARGETS.query, TARGETS.title, TARGETS.target, LABELS.target))
            for query, title, grade, label in zip(
                judged.queries, judged.titles, judged.relevance, judged.labels, strict=True
            ):
                rows.writerow((query, title, repr(self._target(float(grade))), int(label)))

    def transfer_queries(self, file: QueryFile | None) -> Queries:
        """Training queries with their judged products, and those of another file.

        Whatever belongs to valid or test is left out: by the judgements' own split where they come
        in one file per split, and by the rule of evaluation.judgments.
        """
        found, products = Queries(), self.products
        for split, judged in self.splits.items():
            pairs = zip(judged.queries, judged.product_ids, judged.titles, strict=True)
            for query, product_id, title in pairs:
                key = query_key(query)
                if key not in found.known:
                    found.known.add(key)
                    if split == "train":
                        found.texts.append(query)
                    else:
                        found.held_out += 1
                        found.held_out_words.add(loose_key(query))
                if split == "train":
                    positions = found.judged.setdefault(key, [])
                    position = products.add(product_id, title)
                    if position not in positions:
                        positions.append(position)
        if file is not None:
            others = read_query_file(products, file, None)
            found.bad_lines, found.held_out = others.bad_lines, found.held_out + others.held_out
            found.held_out_words |= others.held_out_words
            found.texts += [text for text in others.texts if query_key(text) not in found.known]
            found.known |= others.known
        return found

    def check_unseen(self, queries: Iterable[str], what: str) -> None:
        """Refuses texts to learn from that have a query of valid or test.

        Raises:
            TransferRefused: there is one; the text names it.
        """
        for query in dict.fromkeys(queries):
            if query_key(query) in self.held_out:
                raise TransferRefused(
                    f"{what}: has {query!r}, a query of valid or test: what is trained must not "
                    "see it: leave it out"
                )

    def _read(self, name: str) -> Judgments:
        data = self.data
        products = None
        if "products" in self.files:
            products = ProductFile(
                self.files["products"], data.id_column, data.title_column, data.encoding
            )
        return read_judgments(
            self.files[name],
            relevant_from=data.relevant_from,
            products=products,
            columns=JudgmentColumns(
                data.query_column, data.id_column, data.relevance_column, data.title_column
            ),
            encoding=data.encoding,
        )

    def _target(self, grade: float) -> float:
        try:
            return self.data.target_of(float(grade))
        except ValueError as error:
            raise RecipeRefused(f"data: {error}") from error
