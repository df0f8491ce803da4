"""A table as it was published: some columns of every record, read as they are asked for."""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from importing.errors import ImportRefused
from indexing.errors import CatalogueError
from indexing.raw import BadLine, Record
from indexing.text_files import csv_header, csv_records

SUFFIXES: Final = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class Table:
    """A file of quoted fields with a header line, gzipped or not, or a Parquet file.

    delimiter: of the fields; None for Parquet
    """

    path: Path
    delimiter: str | None = ","
    encoding: str = "utf-8"

    def columns(self) -> list[str]:
        """Names of the columns.

        Raises:
            ImportRefused: the file can't be read.
        """
        try:
            if self.delimiter is None:
                from indexing.parquet import parquet_header  # noqa: PLC0415 (pyarrow is optional)

                return parquet_header(self.path)
            return csv_header(self.path, self.encoding, self.delimiter)
        except (CatalogueError, ImportError, OSError) as error:
            raise _refused(self.path, error) from error

    def records(self, columns: Sequence[str]) -> Iterator[Record | BadLine]:
        """These columns of every record, in the order of the file.

        Raises:
            ImportRefused: the file can't be read to its end, or lacks a column.
        """
        try:
            if self.delimiter is None:
                from indexing.parquet import parquet_records  # noqa: PLC0415 (pyarrow is optional)

                yield from parquet_records(self.path, columns)
            else:
                yield from csv_records(self.path, self.encoding, columns, self.delimiter)
        except (CatalogueError, ImportError, OSError, EOFError, zlib.error) as error:
            raise _refused(self.path, error) from error


def table_of(path: Path, encoding: str = "utf-8") -> Table:
    """A table whose name says what it is: .csv, .tsv (also .gz) or .parquet.

    Raises:
        ImportRefused: there is no such file, or its name says nothing.
    """
    if not path.is_file():
        raise ImportRefused(f"{path}: expected a file, found none")
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix == ".parquet":
        return Table(path, None)
    if suffix not in SUFFIXES:
        raise ImportRefused(
            f"{path.name}: expected a name ending in {', '.join(SUFFIXES)} (also with .gz) or "
            ".parquet; unpack an archive first"
        )
    return Table(path, SUFFIXES[suffix], encoding)


def _refused(path: Path, error: Exception) -> ImportRefused:
    if isinstance(error, ImportError):
        return ImportRefused(
            f"{path.name}: reading Parquet needs pyarrow: pip install 'winnow-relevance[parquet]'"
        )
    if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile):
        return ImportRefused(f"{path.name}: the gzip data is truncated or damaged: {error}")
    return ImportRefused(str(error))
