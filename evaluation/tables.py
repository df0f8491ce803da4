"""Rows of CSV, TSV and JSONL files, plain or gzipped. What columns mean is not known here.

CSV and TSV have a header line and are quoted as the csv module's dialects excel and excel-tab;
JSONL has one object per line. Blank lines are passed over.
"""

import csv
import gzip
import json
import math
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from evaluation.errors import InputFileError

ENCODING = "utf-8-sig"  # UTF-8, with or without a byte order mark


@dataclass(frozen=True)
class Row:
    """One row: `place` is "file, line n" for messages, `fields` its values by column name."""

    place: str
    fields: dict[str, object]

    def has(self, column: str) -> bool:
        return column in self.fields

    def text(self, column: str) -> str:
        """A non-blank string; whole numbers (ids in JSONL) become strings.

        Raises:
            InputFileError: the column is missing, blank or of another type.
        """
        value = self._value(column)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value.strip():
            return value
        raise InputFileError(f"{self.place}: expected text in {column!r}, got {value!r}")

    def number(self, column: str) -> float:
        """A finite number, or a string that spells one.

        Raises:
            InputFileError: the column is missing or holds anything else.
        """
        value = self._value(column)
        number = math.nan
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            with suppress(ValueError, OverflowError):
                number = float(value)
        if math.isfinite(number):
            return number
        raise InputFileError(f"{self.place}: expected a number in {column!r}, got {value!r}")

    def _value(self, column: str) -> object:
        if column not in self.fields:
            raise InputFileError(
                f"{self.place}: no column {column!r}, only {', '.join(map(repr, self.fields))}: "
                "say which column it is"
            )
        return self.fields[column]


def rows(path: Path, encoding: str = ENCODING) -> Generator[Row]:
    """The rows of a file, read as they are asked for.

    The file is open until the last row or `close`: who may stop before takes them `closing`.

    Raises:
        InputFileError: unknown extension, no such file, damaged gzip, bytes of another encoding,
            malformed row.
    """
    name = path.name.lower().removesuffix(".gz")
    parse = next((parser for ending, parser in PARSERS.items() if name.endswith(ending)), None)
    if parse is None:
        raise InputFileError(
            f"{path.name}: expected a name ending in {', '.join(PARSERS)} or one of these and .gz"
        )
    try:
        with _open(path, encoding) as file:
            yield from parse(path.name, file)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputFileError(f"{path}: can't be read: {reason}") from error
    except UnicodeError as error:
        raise InputFileError(
            f"{path.name}: not text in {encoding}: give its encoding, such as gb18030 ({error})"
        ) from error
    except LookupError as error:
        raise InputFileError(f"{path.name}: {encoding!r} is no encoding that Python has") from error


def _open(path: Path, encoding: str) -> TextIO:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding=encoding, newline="")
    return path.open(encoding=encoding, newline="")


def _parse_csv(name: str, file: TextIO) -> Iterator[Row]:
    return _delimited(name, file, "excel")


def _parse_tsv(name: str, file: TextIO) -> Iterator[Row]:
    return _delimited(name, file, "excel-tab")


def _delimited(name: str, file: TextIO, dialect: str) -> Iterator[Row]:
    reader = csv.reader(file, dialect, strict=True)
    try:
        header = next(reader, [])
        if not header or len(set(header)) < len(header):
            raise InputFileError(f"{name}: expected a header of distinct columns, got {header}")
        for values in reader:
            place = f"{name}, line {reader.line_num}"
            if values and len(values) != len(header):
                raise InputFileError(f"{place}: expected {len(header)} fields, got {len(values)}")
            if values:
                yield Row(place, dict(zip(header, values, strict=True)))
    except csv.Error as error:
        raise InputFileError(f"{name}, line {reader.line_num}: {error}") from error


def _parse_jsonl(name: str, file: TextIO) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise InputFileError(f"{place}: not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise InputFileError(f"{place}: expected an object, got {type(fields).__name__}")
        if "\\ud" in line or "\\uD" in line:  # where halves of pairs are
            _check_whole_characters(place, fields)
        yield Row(place, fields)


def _check_whole_characters(place: str, fields: dict[str, object]) -> None:
    """Refuses half of an escaped pair, as in a text cut within an emoji: no encoding has it."""
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise InputFileError(
            f"{place}: expected whole characters, got half of a surrogate pair, {half}: the text "
            "was cut within a character"
        ) from error


PARSERS: dict[str, Callable[[str, TextIO], Iterator[Row]]] = {
    ".csv": _parse_csv,
    ".tsv": _parse_tsv,
    ".jsonl": _parse_jsonl,
}
