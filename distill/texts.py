"""Texts of catalogues and query logs, for pre-training: distinct, in the order of first sight."""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from evaluation.errors import InputFileError
from evaluation.tables import ENCODING, rows


def read_texts(
    paths: Sequence[Path], columns: Sequence[str], encoding: str = ENCODING
) -> list[str]:
    """Distinct texts of files, in the order of first sight.

    Args:
        paths: CSV, TSV or JSONL (also .gz), of which `columns` are read, or .txt with a text per
            line.
        columns: every file must have all of them; none for .txt alone.
        encoding: of the files.

    Raises:
        InputFileError: a file can't be read, lacks a column, or no column is named for a table.
    """
    texts: dict[str, None] = {}
    for path in paths:
        if path.suffix == ".txt":
            try:
                lines = path.read_text(encoding=encoding).splitlines()
            except (OSError, UnicodeError) as error:
                raise InputFileError(f"{path}: can't be read as {encoding}: {error}") from error
            texts |= dict.fromkeys(line for line in lines if line.strip())
        elif not columns:
            raise InputFileError(
                f"{path.name}: expected the columns that hold texts to be named, such as title and "
                "query: only .txt has a text per line"
            )
        else:
            with closing(rows(path, encoding)) as table:
                for row in table:
                    texts |= dict.fromkeys(row.text(column) for column in columns)
    return list(texts)


def texts_sha256(texts: Sequence[str], after: bytes = b"") -> str:
    """sha256 of texts in their order, behind what else belongs to them."""
    digest = hashlib.sha256(after)
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()
