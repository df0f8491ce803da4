"""A transfer set on disk: pairs without labels, one per row, in a table that is written whole.

Columns: query, title, product_id (may be empty), source; behaviour (1 or empty) where the set has
hard positives; target (a click ratio) where a log gave it. `evaluation.tables` reads it.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TextIO

from distill.errors import TransferRefused
from model_store.digest import file_sha256

Source = Literal[
    "judged",
    "bm25",
    "random",
    "neighbour",
    "pseudo",
    "block",
    "ordered",
    "shown",
    "clicked",
    "skipped",
]
BEHAVIOUR_COLUMN = "behaviour"
TARGET_COLUMN = "target"
_COLUMNS: tuple[str, ...] = ("query", "title", "product_id", "source")
_GZIP_LEVEL = 6  # 9, Python's own choice, takes three times as long for 1 % less


class TransferPair(NamedTuple):
    """One row: `source` says how the pair came about; behaviour, that somebody wanted it; target,
    how often it was clicked, of the times it was shown.
    """

    query: str
    title: str
    product_id: str
    source: Source
    behaviour: bool = False
    target: float = 0.0


class _Rows(Protocol):
    def writerow(self, row: Iterable[str], /) -> object: ...


def write_pairs(
    path: Path, pairs: Iterable[TransferPair], *, behaviour: bool = False, targets: bool = False
) -> str:
    """Streams pairs into a file that appears when it is whole; its sha256.

    The same pairs give the same bytes, gzipped or not.

    path: its name ends in .csv, .tsv or .jsonl, or one of these and .gz
    behaviour, targets: write the column of that name

    Raises:
        TransferRefused: another ending, or the file can't be written.
    """
    check_writable(path)
    columns = _COLUMNS
    columns += (BEHAVIOUR_COLUMN,) if behaviour else ()
    columns += (TARGET_COLUMN,) if targets else ()
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with _text_file(unfinished, gzipped=path.name.lower().endswith(".gz")) as file:
            rows = _rows(path, file, columns)
            for pair in pairs:
                cells = [pair.query, pair.title, pair.product_id, pair.source]
                if behaviour:
                    cells.append("1" if pair.behaviour else "")
                if targets:
                    cells.append(f"{pair.target:.6g}")
                rows.writerow(cells)
        sha256 = file_sha256(unfinished)
        unfinished.replace(path)
    except OSError as error:
        raise TransferRefused(f"{path}: can't be written: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return sha256


def check_writable(path: Path) -> None:
    """Refuses a path that `write_pairs` would refuse after all the work.

    Raises:
        TransferRefused: it exists, its folder doesn't, or its name has another ending.
    """
    if path.exists():
        raise TransferRefused(
            f"{path}: exists already, and labels may belong to it: name a new file"
        )
    if not path.parent.is_dir():
        raise TransferRefused(f"{path}: expected a folder {path.parent} to write into, found none")
    if _ending(path) not in (".csv", ".tsv", ".jsonl"):
        raise TransferRefused(
            f"{path.name}: expected a name ending in .csv, .tsv or .jsonl, or one of these and .gz"
        )


def _ending(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


@contextmanager
def _text_file(path: Path, *, gzipped: bool) -> Iterator[TextIO]:
    with path.open("wb") as raw:
        if not gzipped:
            with io.TextIOWrapper(raw, "utf-8", newline="") as file:
                yield file
            return
        # No file name and no time in gzip's header: the same rows give the same bytes.
        with (
            gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as packed,
            io.TextIOWrapper(packed, "utf-8", newline="") as file,
        ):
            yield file


def _rows(path: Path, file: TextIO, columns: tuple[str, ...]) -> _Rows:
    if _ending(path) == ".jsonl":
        return _JsonRows(file, columns)
    rows = csv.writer(file, "excel-tab" if _ending(path) == ".tsv" else "excel")
    rows.writerow(columns)
    return rows


class _JsonRows:
    """JSON lines, written like the rows of a csv.writer."""

    def __init__(self, file: TextIO, columns: tuple[str, ...]) -> None:
        self._file = file
        self._columns = columns

    def writerow(self, row: Iterable[str], /) -> None:
        fields = dict(zip(self._columns, row, strict=True))
        self._file.write(json.dumps(fields, ensure_ascii=False) + "\n")
