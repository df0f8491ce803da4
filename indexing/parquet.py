"""Parquet files as raw rows, one batch of a row group at a time.

Importing this module needs pyarrow, the extra `parquet`; only `catalogue` does, when it must.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from indexing.errors import CatalogueError
from indexing.raw import BadLine, RawRow, Record

_BATCH_ROWS = 4_096


def parquet_rows(path: Path, columns: tuple[str, str]) -> Iterator[RawRow | BadLine]:
    """Rows numbered from 1; the id column holds integers or strings, the title column strings.

    Raises:
        CatalogueError: the file is not whole Parquet, or a column is missing or of another type.
    """
    number = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            _check_columns(path, file.schema_arrow, columns)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
                ids, titles = (_values(batch.column(name)) for name in columns)
                for product_id, title in zip(ids, titles, strict=True):
                    number += 1
                    yield _row(number, product_id, title)
    except pa.ArrowException as error:
        raise CatalogueError(
            f"{path.name}: not a whole Parquet file (after {number} rows): {error}"
        ) from error


def parquet_records(path: Path, columns: Sequence[str]) -> Iterator[Record | BadLine]:
    """The columns of every row, numbered from 1: strings, numbers, or None.

    Raises:
        CatalogueError: the file is not whole Parquet, or a column is missing.
    """
    number = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            _require_columns(path, file.schema_arrow, columns)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
                cells = [_values(batch.column(name)) for name in columns]
                for values in zip(*cells, strict=True):
                    number += 1
                    decoded = _decoded(number, values)
                    if isinstance(decoded, BadLine):
                        yield decoded
                    else:
                        yield Record(number, decoded, json.dumps(decoded, ensure_ascii=False))
    except pa.ArrowException as error:
        raise CatalogueError(
            f"{path.name}: not a whole Parquet file (after {number} rows): {error}"
        ) from error


def parquet_header(path: Path) -> list[str]:
    """The column names of a file.

    Raises:
        CatalogueError: it is not Parquet.
    """
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            return list(file.schema_arrow.names)
    except pa.ArrowException as error:
        raise CatalogueError(f"{path.name}: not a Parquet file: {error}") from error


def _require_columns(path: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
    for name in columns:
        if schema.names.count(name) != 1:
            raise CatalogueError(
                f"{path.name}: expected one column {name!r}, found {schema.names.count(name)}; "
                f"the columns are {', '.join(map(repr, schema.names[:50]))}"
            )


def _check_columns(path: Path, schema: pa.Schema, columns: tuple[str, str]) -> None:
    _require_columns(path, schema, columns)
    for name, expected in zip(columns, ("strings or integers", "strings"), strict=True):
        kind = schema.field(name).type
        if not (_is_text(kind) or ("integers" in expected and pa.types.is_integer(kind))):
            raise CatalogueError(f"{path.name}: expected {expected} in {name!r}, found {kind}")


def _is_text(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.DictionaryType):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _values(column: "pa.Array[Any]") -> list[object]:
    """Numbers, or strings as bytes: Parquet does not check that they are UTF-8."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if _is_text(column.type):
        column = column.cast(pa.large_binary())
    return list(column.to_pylist())


def _decoded(number: int, values: tuple[object, ...]) -> tuple[object, ...] | BadLine:
    try:
        return tuple(value.decode() if isinstance(value, bytes) else value for value in values)
    except UnicodeDecodeError:
        return BadLine(number, "bytes that are not UTF-8", repr(values))


def _row(number: int, product_id: object, title: object) -> RawRow | BadLine:
    decoded = _decoded(number, (product_id, title))
    if isinstance(decoded, BadLine):
        return decoded
    return RawRow(number, decoded[0], decoded[1], json.dumps(decoded, ensure_ascii=False))
