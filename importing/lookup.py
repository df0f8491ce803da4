"""What has been read of a data set, on disk: memory stays flat however large it is."""

import sqlite3
from pathlib import Path
from typing import Literal

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -65536;
CREATE TABLE product (id TEXT PRIMARY KEY, title TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE named (id TEXT PRIMARY KEY, query TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE query (query TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE judged (
    query TEXT, product_id TEXT, relevance REAL NOT NULL, PRIMARY KEY (query, product_id)
) WITHOUT ROWID;
"""

Added = Literal["new", "same", "other"]


class Lookup:
    """Products, queries and judgements by their keys; of a repeated one, the first is kept."""

    def __init__(self, path: Path) -> None:
        """A database of its own in `path`, which is worth nothing afterwards."""
        # One transaction that is never committed: nothing of this outlives the import.
        self._database = sqlite3.connect(path, isolation_level="DEFERRED")
        self._database.executescript(_TABLES)

    def add_product(self, product_id: str, title: str) -> Added:
        """`other`: it is there with another title."""
        if self._insert("INSERT OR IGNORE INTO product VALUES (?, ?)", product_id, title):
            return "new"
        return "same" if self.title(product_id) == title else "other"

    def title(self, product_id: str) -> str | None:
        """Title of a product; None where there is no such product."""
        return self._text("SELECT title FROM product WHERE id = ?", product_id)

    def name_query(self, query_id: str, query: str) -> bool:
        """Whether that id was free."""
        return self._insert("INSERT OR IGNORE INTO named VALUES (?, ?)", query_id, query)

    def named_query(self, query_id: str) -> str | None:
        """The query of an id; None where there is none."""
        return self._text("SELECT query FROM named WHERE id = ?", query_id)

    def add_query(self, query: str) -> bool:
        """Whether it is new."""
        return self._insert("INSERT OR IGNORE INTO query VALUES (?)", query)

    def add_judgment(self, query: str, product_id: str, relevance: float) -> Added:
        """`other`: the pair is there with another relevance."""
        insert = "INSERT OR IGNORE INTO judged VALUES (?, ?, ?)"
        if self._insert(insert, query, product_id, relevance):
            return "new"
        select = "SELECT relevance FROM judged WHERE query = ? AND product_id = ?"
        (before,) = self._database.execute(select, (query, product_id)).fetchone()
        return "same" if before == relevance else "other"

    def close(self) -> None:
        """Ends it; the file is the caller's to remove."""
        self._database.close()

    def _insert(self, statement: str, *values: object) -> bool:
        return self._database.execute(statement, values).rowcount == 1

    def _text(self, statement: str, key: str) -> str | None:
        found = self._database.execute(statement, (key,)).fetchone()
        return None if found is None else str(found[0])
