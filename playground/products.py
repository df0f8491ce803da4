"""What the page shows of products: the catalogue that was indexed, and grades of judged pairs."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from evaluation.errors import InputFileError
from evaluation.judgments import query_key
from evaluation.tables import Row, rows

Grades = dict[str, dict[str, float]]
"""Grade by `query_key` and product id."""


@dataclass(frozen=True, slots=True)
class Product:
    """One line of a catalogue; None where the file says nothing.

    image: URL of a picture, http or https
    """

    product_id: str
    title: str
    price: float | None
    sales: float | None
    image: str | None


def read_products(path: Path) -> list[Product]:
    """The products of a catalogue (.csv, .tsv, .jsonl, also with .gz), in its order.

    Columns are product_id and title, and where they are there price, sales and image.

    Raises:
        InputFileError: the file can't be read, has no product, or a field is malformed.
    """
    with closing(rows(path)) as lines:
        products = [
            Product(
                product_id=row.text("product_id"),
                title=row.text("title"),
                price=_number(row, "price"),
                sales=_number(row, "sales"),
                image=_image(row),
            )
            for row in lines
        ]
    if not products:
        raise InputFileError(f"{path.name}: expected products, found none")
    return products


def image_origins(products: list[Product]) -> list[str]:
    """Where pictures are loaded from: `https://host:port` each, sorted."""
    origins = set()
    for product in products:
        if product.image is not None:
            parts = urlsplit(product.image)
            origins.add(f"{parts.scheme}://{parts.netloc}")
    return sorted(origins)


def read_grades(path: Path) -> tuple[Grades, list[str]]:
    """Grades of a judgement file (query, product_id, relevance), and its queries in order.

    Raises:
        InputFileError: the file can't be read, or a field is missing or malformed.
    """
    grades: Grades = defaultdict(dict)
    queries: dict[str, str] = {}
    with closing(rows(path)) as lines:
        for row in lines:
            query = row.text("query")
            key = query_key(query)
            queries.setdefault(key, query)
            grades[key][row.text("product_id")] = row.number("relevance")
    return dict(grades), list(queries.values())


def read_queries(path: Path) -> list[str]:
    """Queries of a file: one per line (.txt), or a column `query`.

    Raises:
        InputFileError: the file can't be read, or a row has no query.
    """
    return list(dict.fromkeys(_queries(path)))


def _queries(path: Path) -> Iterator[str]:
    if not path.name.lower().endswith(".txt"):
        with closing(rows(path)) as table:
            yield from [row.text("query") for row in table]
        return
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise InputFileError(f"{path}: can't be read: {error}") from error
    yield from (line.strip() for line in lines if line.strip())


def _number(row: Row, column: str) -> float | None:
    return None if _blank(row, column) else row.number(column)


def _image(row: Row) -> str | None:
    if _blank(row, "image"):
        return None
    url = row.text("image").strip()
    parts = urlsplit(url)
    # A quote or a semicolon in the host would end the page's security policy and begin another.
    host = parts.netloc.replace("-", "").replace(".", "").replace(":", "")
    if parts.scheme not in {"http", "https"} or not (host.isascii() and host.isalnum()):
        raise InputFileError(f"{row.place}: expected an http or https URL in 'image', got {url!r}")
    return url


def _blank(row: Row, column: str) -> bool:
    value = row.fields.get(column)
    return value is None or (isinstance(value, str) and not value.strip())
