"""What the playground knows of a shop: products, examples, grades, and a way to find candidates."""

from dataclasses import dataclass
from pathlib import Path

from evaluation.judgments import query_key
from playground.lexical import Lexical
from playground.products import Grades, Product, read_grades, read_products, read_queries
from service.settings import Settings, SettingsError


@dataclass(frozen=True)
class Shelf:
    """Read once when a worker starts, and never changed."""

    products: list[Product]
    examples: list[str]
    grades: Grades
    lexical: Lexical

    def candidates(self, query: str, count: int) -> list[tuple[Product, float | None]]:
        """At most `count` products that share a word with the query, each with its grade if any."""
        grades = self.grades.get(query_key(query), {})
        found = (self.products[position] for position in self.lexical.best(query, count))
        return [(product, grades.get(product.product_id)) for product in found]


def read_shelf(settings: Settings) -> Shelf:
    """The shelf that the settings name.

    Example queries are those of the query file; without one, those that are judged.

    Raises:
        SettingsError: no catalogue is named.
        InputFileError: a file can't be read, or a field in it is malformed.
    """
    path: Path | None = settings.playground_catalogue
    if path is None:
        raise SettingsError("the playground needs WINNOW_PLAYGROUND_CATALOGUE: the indexed file")
    products = read_products(path)
    judgments, queries = settings.playground_judgments, settings.playground_queries
    grades, judged = ({}, []) if judgments is None else read_grades(judgments)
    examples = judged if queries is None else read_queries(queries)
    return Shelf(products, examples, grades, Lexical([product.title for product in products]))
