"""What the playground shows of a shop: products, example queries, and grades of judged pairs."""

from dataclasses import dataclass

from playground.products import Grades, Product, read_grades, read_products, read_queries
from service.settings import Settings, SettingsError


@dataclass(frozen=True)
class Shelf:
    """Read once when a worker starts, and never changed."""

    products: list[Product]
    examples: list[str]
    grades: Grades


def read_shelf(settings: Settings) -> Shelf:
    """The shelf that the settings name.

    Example queries are those of the query file; without one, those that are judged.

    Raises:
        SettingsError: no catalogue is named.
        InputFileError: a file can't be read, or a field in it is malformed.
    """
    if settings.playground_catalogue is None:
        raise SettingsError("the playground needs WINNOW_PLAYGROUND_CATALOGUE: the indexed file")
    products = read_products(settings.playground_catalogue)
    judgments, queries = settings.playground_judgments, settings.playground_queries
    grades, judged = ({}, []) if judgments is None else read_grades(judgments)
    return Shelf(products, judged if queries is None else read_queries(queries), grades)
