"""A file of products or queries as a stream of entries and bad lines; knows no store, no student.

One bad line costs itself, never the file. Memory does not grow with the file.
"""

import gzip
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from indexing import text_files
from indexing.errors import CatalogueDamaged, CatalogueError
from indexing.raw import BadLine, RawRow
from vector_store.keys import MAX_ID_BYTES, query_id

if TYPE_CHECKING:  # it takes numpy, which naming a format doesn't need
    from vector_store.header import Holds

Format = Literal["csv", "tsv", "jsonl", "parquet", "txt"]
_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "txt",
}


class Entry(NamedTuple):
    """A product with its id and title, or a query under its `query_id`.

    line_number: where its record starts, from 1
    text: what is encoded: the title; of a query the query itself, or what stands beside it
    """

    line_number: int
    entry_id: str
    text: str


Row = Entry | BadLine


@dataclass(frozen=True)
class Catalogue:
    """A file and how to read it; made by `open_catalogue` and `open_queries`.

    Of a query file `id_column` is that of the query, and `title_column` that of the text which is
    encoded for it: the same one, unless the file has another.
    """

    path: Path
    holds: "Holds"
    file_format: Format
    encoding: str
    id_column: str
    title_column: str

    def rows(self) -> Generator[Row]:
        """Entries and bad lines in the order of the file; blank lines are skipped, but in .txt.

        Raises:
            CatalogueError: a column is missing (the text names those that exist), the encoding is
                unknown, or the file is not of its format.
            CatalogueDamaged: the file breaks off, as a truncated gzip file does; every whole row
                before that has been yielded.
        """
        count = 0
        checked = checked_product if self.holds == "products" else checked_query
        try:
            for raw in self._raw_rows():
                count += 1
                yield raw if isinstance(raw, BadLine) else checked(raw)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise CatalogueDamaged(
                f"{self.path.name}: the gzip data is truncated or damaged after {count} rows "
                f"({error}): get the whole file"
            ) from error
        except UnicodeDecodeError as error:
            raise CatalogueDamaged(
                f"{self.path.name}: not {self.encoding} after {count} rows ({error.reason}): "
                "name the encoding of the file"
            ) from error
        except OSError as error:
            raise CatalogueDamaged(
                f"{self.path.name}: can't be read after {count} rows: {error.strerror or error}"
            ) from error

    def _raw_rows(self) -> Iterator[RawRow | BadLine]:
        columns = (self.id_column, self.title_column)
        match self.file_format:
            case "csv":
                return text_files.csv_rows(self.path, self.encoding, columns)
            case "tsv":
                return text_files.tsv_rows(self.path, self.encoding, columns)
            case "jsonl":
                return text_files.jsonl_rows(self.path, self.encoding, columns)
            case "parquet":
                return _parquet_rows(self.path, columns)
            case "txt":
                return text_files.txt_rows(self.path, self.encoding)


def open_catalogue(
    path: Path,
    *,
    file_format: Format | None = None,
    encoding: str = "utf-8",
    id_column: str = "product_id",
    title_column: str = "title",
) -> Catalogue:
    """A catalogue whose header and first row could be read.

    Args:
        path: CSV, TSV or JSONL, each gzipped or not (told by its first bytes), or Parquet.
        file_format: overrides the format that the file name's extension gives.
        encoding: of text files; a byte order mark before UTF-8 is skipped.
        id_column: column or JSON key of the product id.
        title_column: column or JSON key of the title.

    Raises:
        CatalogueError: no such file, no format for its name, or as `Catalogue.rows`.
    """
    if not path.is_file():
        raise CatalogueError(f"{path}: expected a catalogue file, found none")
    chosen = file_format or _format_of(path)
    if chosen == "txt":
        raise CatalogueError(
            f"{path.name}: expected columns for the product id and the title, but txt is for "
            "queries, one per line: name another format"
        )
    return _opened(Catalogue(path, "products", chosen, encoding, id_column, title_column))


def open_queries(
    path: Path,
    *,
    file_format: Format | None = None,
    encoding: str = "utf-8",
    query_column: str = "query",
    text_column: str | None = None,
) -> Catalogue:
    """A query file whose header and first row could be read.

    Args:
        path: one query per line (.txt), or any format of a catalogue.
        file_format: overrides the format that the file name's extension gives.
        encoding: of text files; a byte order mark before UTF-8 is skipped.
        query_column: column or JSON key of the query; .txt has none.
        text_column: column or JSON key of the text that is encoded for the query, such as the
            query with its context; else the query itself.

    Raises:
        CatalogueError: no such file, no format for its name, or as `Catalogue.rows`.
    """
    if not path.is_file():
        raise CatalogueError(f"{path}: expected a query file, found none")
    chosen = file_format or _format_of(path)
    if chosen == "txt" and text_column is not None:
        raise CatalogueError(
            f"{path.name}: expected columns for the query and its text {text_column!r}, but txt "
            "has one query per line and no columns: name another format"
        )
    return _opened(
        Catalogue(path, "queries", chosen, encoding, query_column, text_column or query_column)
    )


def checked_product(raw: RawRow) -> Row:
    """The product of a row, or why it is none."""
    product_id = str(raw.product_id) if type(raw.product_id) is int else raw.product_id
    problem = _problem("id", product_id) or _problem("title", raw.title)
    if problem is None and len(str(product_id).encode()) > MAX_ID_BYTES:
        problem = f"id longer than {MAX_ID_BYTES} bytes of UTF-8"
    if problem is not None:
        return BadLine(raw.line_number, problem, raw.text)
    return Entry(raw.line_number, str(product_id), str(raw.title))


def checked_query(raw: RawRow) -> Row:
    """The query of a row, or why it is none."""
    problem = _problem("query", raw.product_id) or _problem("text", raw.title)
    if problem is not None:
        return BadLine(raw.line_number, problem, raw.text)
    return Entry(raw.line_number, query_id(str(raw.product_id)), str(raw.title))


def _opened(catalogue: Catalogue) -> Catalogue:
    with closing(catalogue.rows()) as rows:
        next(rows, None)
    return catalogue


def _format_of(path: Path) -> Format:
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in _SUFFIXES:
        raise CatalogueError(
            f"{path.name}: the extension {suffix!r} names no format: expected one of "
            f"{', '.join(_SUFFIXES)} (text also with .gz), or say which of "
            f"{', '.join(get_args(Format))} it is"
        )
    return _SUFFIXES[suffix]


def _parquet_rows(path: Path, columns: tuple[str, str]) -> Iterator[RawRow | BadLine]:
    try:
        from indexing.parquet import parquet_rows  # noqa: PLC0415 (pyarrow is optional)
    except ImportError as error:
        raise CatalogueError(
            f"{path.name}: reading Parquet needs pyarrow: pip install 'winnow-relevance[parquet]'"
        ) from error
    return parquet_rows(path, columns)


def _problem(what: Literal["id", "title", "query", "text"], value: object) -> str | None:
    """Why `value` is no id, title, query or text, or None where it is one."""
    if value is None:
        return f"missing {what}"
    if not isinstance(value, str):
        kinds = "a string or an integer" if what == "id" else "a string"
        return f"{what} of type {type(value).__name__}, expected {kinds}"
    if not value.strip():
        return f"empty {what}"
    if "\0" in value:
        return f"NUL character in the {what}"
    if not value.isascii() and text_files.has_surrogates(value):
        return f"lone surrogate in the {what}: not Unicode text"
    return None
