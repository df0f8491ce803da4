"""The reject file: one JSON object {line, reason, text} per record that gave no row."""

import json
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from indexing.errors import BuildRefused
from indexing.raw import BadLine

MAX_TEXT_CHARS = 1_000


class RejectFile:
    """Appends bad lines; what was written after the last commit is cut off on resuming."""

    def __init__(self, path: Path, offset: int) -> None:
        """Opens `path` at `offset` bytes and cuts off what lies behind; 0 starts it anew.

        Raises:
            BuildRefused: it can't be written, or is shorter than `offset`.
        """
        try:
            size = path.stat().st_size if path.exists() else 0
            if size < offset:
                raise BuildRefused(
                    f"{path}: expected the reject file of the unfinished build, at least {offset} "
                    f"bytes, found {size}: put it back, or start the build over"
                )
            self._file: BinaryIO = path.open("r+b" if path.exists() else "x+b")
            self._file.truncate(offset)
            self._file.seek(offset)
        except OSError as error:
            raise BuildRefused(f"{path}: can't write the reject file: {error.strerror}") from error

    def write(self, bad_lines: Iterable[BadLine]) -> int:
        """Appends and syncs to disk; the file's length in bytes after that.

        Raises:
            BuildRefused: it can't be written.
        """
        try:
            lines = [_json_line(bad) for bad in bad_lines]
            if lines:
                self._file.write(b"".join(lines))
                self._file.flush()
                os.fsync(self._file.fileno())
            return self._file.tell()
        except OSError as error:
            raise BuildRefused(f"can't write the reject file: {error.strerror}") from error

    def close(self) -> None:
        """Closes the file; it is not used afterwards."""
        self._file.close()


def check_reject_path(path: Path) -> None:
    """Keeps a mistyped path, of the catalogue say, from being overwritten.

    Raises:
        BuildRefused: its folder is missing, or there is something else than a reject file.
    """
    if not path.parent.is_dir():
        raise BuildRefused(f"{path}: expected a folder {path.parent} for the reject file")
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return
    record = None
    if path.is_file():
        with path.open("rb") as file:
            try:
                record = json.loads(file.readline(16 * MAX_TEXT_CHARS))
            except ValueError:
                record = None
    if not isinstance(record, dict) or set(record) != {"line", "reason", "text"}:
        raise BuildRefused(
            f"{path}: exists and is no reject file of an earlier build: name another file"
        )


def first_rejects(path: Path, limit: int) -> list[BadLine]:
    """The first bad lines of a reject file, as they are shown to people."""
    with path.open(encoding="utf-8") as file:
        found = [json.loads(line) for line in islice(file, limit)]
    return [BadLine(bad["line"], bad["reason"], bad["text"]) for bad in found]


def _json_line(bad: BadLine) -> bytes:
    text = bad.text[:MAX_TEXT_CHARS]
    # Undecodable bytes were read as lone surrogates; they are shown as \xNN.
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    record = {"line": bad.line_number, "reason": bad.reason, "text": shown}
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"
