"""Vector sets in one LMDB folder: the embedded default. Many processes read while one indexes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import lmdb

from vector_store import keys, rules
from vector_store.header import SetHeader, parse_header
from vector_store.ids import ProductIds
from vector_store.lmdb_environment import acquire, release, translated
from vector_store.rows import Rows, unpack
from vector_store.watch import NothingToWatch, Watcher

SCAN_BATCH: Final = 1000


class LmdbStore:
    """A VectorStore in the folder `path`; each set is a named database, `meta` has the rest.

    Open it after a fork, not before: an environment of the parent is refused in the child.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.url = f"lmdb:{path}"
        self._path = path
        self._read_only = read_only
        self._shared = acquire(path, read_only=read_only)
        self._env = self._shared.env
        self._closed = False

    def headers(self) -> list[SetHeader]:
        stored = []
        with self._reading(keys.LMDB_META) as txn:
            if txn is None:
                return []
            cursor = txn.cursor()
            cursor.set_range(keys.LMDB_HEADER_PREFIX)
            for key, value in cursor.iternext():
                if not key.startswith(keys.LMDB_HEADER_PREFIX):
                    break
                stored.append((key[len(keys.LMDB_HEADER_PREFIX) :].decode(), value))
        return [parse_header(set_id, value) for set_id, value in stored]

    def header(self, set_id: str) -> SetHeader:
        stored = self._meta(keys.lmdb_header(set_id))
        if stored is None:
            raise rules.not_found(set_id, self.url)
        return parse_header(set_id, stored)

    def put_header(self, header: SetHeader) -> None:
        with self._writing() as (txn, meta):
            key = keys.lmdb_header(header.set_id)
            rules.check_replaceable(_stored_header(txn, meta, header.set_id), header)
            txn.put(key, header.model_dump_json().encode(), db=meta)

    def insert(
        self, header: SetHeader, ids: Sequence[str], records: Sequence[bytes], progress: bytes
    ) -> list[bool]:
        rules.check_writable(self.url, read_only=self._read_only)
        with translated(self._path):
            rows = self._shared.create(keys.lmdb_rows(header.set_id))
        with self._writing() as (txn, meta):
            stored = _stored_header(txn, meta, header.set_id)
            raw_ids = rules.check_insertable(stored, header, ids, records, self.url)
            added = [
                txn.put(raw, record, overwrite=False, db=rows)
                for raw, record in zip(raw_ids, records, strict=True)
            ]
            txn.put(keys.lmdb_progress(header.set_id), progress, db=meta)
        return added

    def progress(self, set_id: str) -> bytes | None:
        return self._meta(keys.lmdb_progress(set_id))

    def get(self, header: SetHeader, ids: Sequence[str]) -> list[bytes | None]:
        return self._records(header.set_id, keys.lookup_ids(ids))

    def fetch(self, header: SetHeader, ids: ProductIds) -> Rows:
        return unpack(self._records(header.set_id, ids.lookup_ids()), header.width)

    def scan(self, header: SetHeader) -> Iterator[list[tuple[str, bytes]]]:
        # A read transaction per batch: one that stayed open for the whole scan would keep the
        # indexer from reusing pages, and the file would grow for as long as the caller takes.
        last = b""
        while batch := self._batch_after(header.set_id, last):
            yield [(raw.decode(), record) for raw, record in batch]
            last = batch[-1][0]

    def _batch_after(self, set_id: str, last: bytes) -> list[tuple[bytes, bytes]]:
        batch: list[tuple[bytes, bytes]] = []
        with self._reading(keys.lmdb_rows(set_id)) as txn:
            if txn is None:
                return batch
            cursor = txn.cursor()
            # The smallest key that comes after `last` is `last` with a zero byte behind it.
            if not cursor.set_range(last + b"\0" if last else b""):
                return batch
            for pair in cursor.iternext():
                batch.append(pair)
                if len(batch) == SCAN_BATCH:
                    break
        return batch

    def live(self, fingerprint: str) -> str | None:
        stored = self._meta(keys.lmdb_live(fingerprint))
        return None if stored is None else stored.decode()

    def set_live(self, fingerprint: str, set_id: str) -> None:
        with self._writing() as (txn, meta):
            header = _stored_header(txn, meta, set_id)
            if header is None:
                raise rules.not_found(set_id, self.url)
            rules.check_activatable(header, fingerprint)
            txn.put(keys.lmdb_live(fingerprint), set_id.encode(), db=meta)

    def drop(self, header: SetHeader) -> None:
        with translated(self._path):
            rows = self._shared.database(keys.lmdb_rows(header.set_id))
        with self._writing() as (txn, meta):
            live = txn.get(keys.lmdb_live(header.fingerprint), db=meta)
            rules.check_droppable(header, None if live is None else live.decode())
            txn.delete(keys.lmdb_header(header.set_id), db=meta)
            txn.delete(keys.lmdb_progress(header.set_id), db=meta)
            if rows is not None:
                # Emptied, not deleted: lmdb would give the handle of a deleted database to the
                # next set, and a thread still holding it would read rows of another model.
                txn.drop(rows, delete=False)

    def watch(self, header: SetHeader, watcher: Watcher) -> NothingToWatch:  # noqa: ARG002
        watcher.ready()
        return NothingToWatch()

    def ping(self) -> None:
        self._meta(keys.LMDB_HEADER_PREFIX)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            release(self._shared)

    def _records(self, set_id: str, raw_ids: Sequence[bytes]) -> list[bytes | None]:
        with self._reading(keys.lmdb_rows(set_id)) as txn:
            if txn is None:
                return [None] * len(raw_ids)
            read = txn.get
            return [read(raw) for raw in raw_ids]

    def _meta(self, key: bytes) -> bytes | None:
        with self._reading(keys.LMDB_META) as txn:
            return None if txn is None else txn.get(key)

    @contextmanager
    def _reading(self, database: bytes) -> "Iterator[lmdb.Transaction[bytes] | None]":
        """A read transaction on one named database; None if the database isn't there."""
        with translated(self._path):
            db = self._shared.database(database)
            if db is None:
                yield None
                return
            with self._env.begin(db=db) as txn:
                yield txn

    @contextmanager
    def _writing(self) -> "Iterator[tuple[lmdb.Transaction[bytes], lmdb._Database]]":
        """The one write transaction of the store, with `meta`; an error inside undoes it all."""
        rules.check_writable(self.url, read_only=self._read_only)
        with translated(self._path):
            meta = self._shared.create(keys.LMDB_META)
            with self._env.begin(write=True) as txn:
                yield txn, meta


def _stored_header(
    txn: "lmdb.Transaction[bytes]", meta: "lmdb._Database", set_id: str
) -> SetHeader | None:
    stored = txn.get(keys.lmdb_header(set_id), db=meta)
    return None if stored is None else parse_header(set_id, stored)
