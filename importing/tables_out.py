"""The tables that an import writes: the same input gives the same bytes."""

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from indexing.raw import BadLine
from indexing.rejects import RejectFile

_KEPT_LINES = 1_000

WriteRow = Callable[[Sequence[object]], object]


@contextmanager
def csv_out(path: Path, columns: Sequence[str]) -> Iterator[WriteRow]:
    """A CSV file with these columns; gzipped where its name ends in .gz."""
    with path.open("wb") as file:
        # Neither the name nor the time of the file stands in it.
        packed = gzip.GzipFile("", "wb", 6, file, mtime=0) if path.suffix == ".gz" else None
        with io.TextIOWrapper(packed or file, "utf-8", newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(columns)
            yield writer.writerow


class Rejects:
    """What was not taken, in the form of `winnow index`'s reject file."""

    def __init__(self, path: Path) -> None:
        """Begins the file."""
        self._file = RejectFile(path, 0)
        self._waiting: list[BadLine] = []
        self.count = 0
        self.last_reason = ""

    def add(self, file: str, bad: BadLine) -> None:
        """One record of a source file."""
        self.count += 1
        self.last_reason = f"{file}: {bad.reason}"
        self._waiting.append(bad._replace(reason=self.last_reason))
        if len(self._waiting) == _KEPT_LINES:
            self._write()

    def close(self) -> None:
        """Writes what waits."""
        self._write()
        self._file.close()

    def _write(self) -> None:
        self._file.write(self._waiting)
        self._waiting.clear()
