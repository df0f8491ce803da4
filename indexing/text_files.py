"""CSV, TSV, JSONL, plain lines, gzipped or not, as raw rows; bad bytes cost only their own line."""

import csv
import gzip
import io
import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from indexing.errors import CatalogueError
from indexing.raw import BadLine, RawRow, Record

MAX_LINE_CHARS = 1 << 20  # keeps memory flat on a file without line ends
_GZIP_MAGIC = b"\x1f\x8b"
_OBJECTS_BEFORE_MISSING = 100  # objects that may lack a key before the column counts as missing
_UNDECODABLE = "bytes that are not of the file's encoding"

Columns = tuple[str, str]


def has_surrogates(text: str) -> bool:
    """Whether `text` can't be UTF-8: it holds undecodable bytes (as lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def csv_rows(path: Path, encoding: str, columns: Columns) -> Iterator[RawRow | BadLine]:
    """RFC 4180 with a header line, as `csv_records`."""
    return (_raw(record) for record in csv_records(path, encoding, columns))


def csv_records(
    path: Path, encoding: str, columns: Sequence[str], delimiter: str = ","
) -> Iterator[Record | BadLine]:
    """The columns of every record after the header line; quoted fields may hold line ends.

    A quote that is never closed would swallow the lines after it: where the quoting is wrong, only
    the line on which the record starts is rejected, and reading goes on with the next one.
    """
    with _lines(path, encoding, newline="") as lines:
        reader = csv.reader(lines, strict=True, delimiter=delimiter)
        header = _csv_header(path, reader)
        positions = _positions(path, header, columns)
        width = len(header)
        while True:
            lines.start_record()
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadLine(lines.number, str(error), lines.give_back_all_but_first())
                continue
            if fields:
                yield _record(lines.number, fields, width, positions, lines.record_text())


def csv_header(path: Path, encoding: str, delimiter: str = ",") -> list[str]:
    """The column names of a file; none where it is empty."""
    with _lines(path, encoding, newline="") as lines:
        return _csv_header(path, csv.reader(lines, strict=True, delimiter=delimiter))


def _csv_header(path: Path, reader: Iterator[list[str]]) -> list[str]:
    try:
        return next(reader, [])
    except csv.Error as error:
        raise CatalogueError(f"{path.name}: unreadable header line: {error}") from error


def tsv_rows(path: Path, encoding: str, columns: Columns) -> Iterator[RawRow | BadLine]:
    """IANA text/tab-separated-values with a header line: quotes are ordinary characters."""
    with _lines(path, encoding, newline="\n") as lines:
        header: list[str] | None = None
        positions: list[int] = []
        for text in _each(lines):
            if isinstance(text, BadLine):
                yield text
                continue
            fields = text.split("\t")
            if header is None:
                header, positions = fields, _positions(path, fields, columns)
                continue
            yield _raw(_record(lines.number, fields, len(header), positions, text))
        if header is None:
            _positions(path, None, columns)


def jsonl_rows(path: Path, encoding: str, columns: Columns) -> Iterator[RawRow | BadLine]:
    """One JSON object per line."""
    id_key, title_key = columns
    objects, keys = 0, dict[str, None]()
    with _lines(path, encoding, newline="\n") as lines:
        for text in _each(lines):
            row = text if isinstance(text, BadLine) else _json_row(lines.number, text)
            if isinstance(row, BadLine):
                yield row
                continue
            if objects < _OBJECTS_BEFORE_MISSING:
                objects += 1
                keys.update(dict.fromkeys(row))
                if objects == _OBJECTS_BEFORE_MISSING:
                    _require(path, list(keys), columns)
            yield RawRow(lines.number, row.get(id_key), row.get(title_key), str(text))
    if objects:
        _require(path, list(keys), columns)


def txt_rows(path: Path, encoding: str) -> Iterator[RawRow | BadLine]:
    """One query per line, taken as it stands; a blank line is an empty query."""
    with _lines(path, encoding, newline="\n") as lines:
        for text in _each(lines, skip_blank=False):
            if isinstance(text, BadLine):
                yield text
            elif not text.isascii() and has_surrogates(text):
                yield BadLine(lines.number, _UNDECODABLE, text)
            else:
                yield RawRow(lines.number, text, text, text)


def _json_row(number: int, text: str) -> dict[str, object] | BadLine:
    if not text.isascii() and has_surrogates(text):
        return BadLine(number, _UNDECODABLE, text)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return BadLine(number, f"invalid JSON: {error}", text)
    if not isinstance(value, dict):
        return BadLine(number, f"expected a JSON object, got {type(value).__name__}", text)
    return value


def _record(
    number: int, fields: list[str], width: int, positions: Sequence[int], text: str
) -> Record | BadLine:
    if len(fields) != width:
        return BadLine(number, f"expected {width} fields, got {len(fields)}", text)
    if not text.isascii() and has_surrogates(text):
        return BadLine(number, _UNDECODABLE, text)
    return Record(number, tuple(fields[position] for position in positions), text)


def _raw(record: Record | BadLine) -> RawRow | BadLine:
    if isinstance(record, BadLine):
        return record
    return RawRow(record.line_number, record.fields[0], record.fields[1], record.text)


def _positions(path: Path, header: list[str] | None, columns: Sequence[str]) -> list[int]:
    if not header:
        raise CatalogueError(f"{path.name}: expected a header line, found an empty file or line")
    _require(path, header, columns)
    return [header.index(column) for column in columns]


def _require(path: Path, header: list[str], columns: Sequence[str]) -> None:
    for column in columns:
        if header.count(column) != 1:
            raise CatalogueError(
                f"{path.name}: expected one column {column!r}, found {header.count(column)}; "
                f"the columns are {', '.join(map(repr, header[:50]))}"
            )


class _Lines:
    """Lines of a file for `csv.reader`, which can be given back when a record turns out broken."""

    def __init__(self, file: io.TextIOWrapper) -> None:
        self.number = 1  # of the line on which the current record starts
        self._file = file
        self._record: list[str] = []
        self._pending: deque[str] = deque()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        text = self._pending.popleft() if self._pending else self._read()
        if not text:
            raise StopIteration
        self._record.append(text)
        if len(text) > MAX_LINE_CHARS:
            raise csv.Error(f"line longer than {MAX_LINE_CHARS} characters")
        return text

    def start_record(self) -> None:
        self.number += len(self._record)
        self._record = []

    def record_text(self) -> str:
        return "".join(self._record).rstrip("\r\n")

    def give_back_all_but_first(self) -> str:
        """The record's first line; the others will be read again."""
        self._pending.extendleft(reversed(self._record[1:]))
        del self._record[1:]
        return self.record_text()

    def _read(self) -> str:
        text = self._file.readline(MAX_LINE_CHARS + 1)
        rest = text
        while len(rest) > MAX_LINE_CHARS and not rest.endswith(("\n", "\r")):
            rest = self._file.readline(MAX_LINE_CHARS + 1)
        return text


def _each(lines: _Lines, *, skip_blank: bool = True) -> Iterator[str | BadLine]:
    """Every line, blank ones only if asked, without its end; the number is at `lines.number`."""
    while True:
        lines.start_record()
        try:
            text = next(lines).rstrip("\r\n")
        except StopIteration:
            return
        except csv.Error as error:
            yield BadLine(lines.number, str(error), lines.give_back_all_but_first())
            continue
        if text.strip() or not skip_blank:
            yield text


@contextmanager
def _lines(path: Path, encoding: str, newline: str) -> Iterator[_Lines]:
    with path.open("rb") as head:
        zipped = head.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    name = "utf-8-sig" if encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else encoding
    with gzip.open(path) if zipped else path.open("rb") as binary:
        try:
            file = io.TextIOWrapper(binary, name, errors="surrogateescape", newline=newline)
        except LookupError as error:
            raise CatalogueError(f"{encoding!r} is not a text encoding Python knows") from error
        with file:
            yield _Lines(file)
