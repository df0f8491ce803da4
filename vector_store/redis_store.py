"""Vector sets in Redis: one string per product, shared by every machine that scores."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, cast

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

from vector_store import rules
from vector_store.errors import StoreError
from vector_store.header import SetHeader, parse_header
from vector_store.keys import RedisKeys, lookup_ids
from vector_store.redis_errors import translate
from vector_store.redis_url import RedisUrl

# Keys per MGET: Redis serves one command at a time, and a longer one would hold up the others.
GET_CHUNK: Final = 1000
SCAN_BATCH: Final = 1000
# Bytes read from the socket at once; an answer of 1,000 rows of 256 floats has 540 KB.
SOCKET_READ_BYTES: Final = 1 << 18


class RedisStore:
    """A VectorStore in one Redis server (not a cluster). Connects when it is first used.

    A call waits at most `timeout_ms` for each answer and is never repeated behind the caller's
    back: what to do with the rest of a deadline is for the caller to decide.
    """

    def __init__(self, url: RedisUrl, *, timeout_ms: int, read_only: bool) -> None:
        if timeout_ms < 1:
            raise StoreError(f"expected a Redis timeout of 1 ms or more, got {timeout_ms}")
        self.url = url.shown
        self._read_only = read_only
        self._timeout_ms = timeout_ms
        self._keys = RedisKeys(url.namespace)
        self._client = redis.Redis.from_url(
            url.connect,
            protocol=2,  # any server; RESP3 would add a handshake and nothing that is used here
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=timeout_ms / 1000,
            socket_read_size=SOCKET_READ_BYTES,
            socket_timeout=timeout_ms / 1000,
        )

    def headers(self) -> list[SetHeader]:
        with self._translated():
            members = cast(set[bytes], self._client.smembers(self._keys.sets))
        set_ids = sorted(member.decode() for member in members)
        return [
            header or parse_header(set_id, b"")
            for set_id, header in zip(set_ids, self._read_headers(set_ids), strict=True)
        ]

    def header(self, set_id: str) -> SetHeader:
        (header,) = self._read_headers([set_id])
        if header is None:
            raise rules.not_found(set_id, self.url)
        return header

    def put_header(self, header: SetHeader) -> None:
        header_key = self._keys.header(header.set_id)
        dropping_key = self._keys.dropping(header.set_id)
        with self._writing(header_key, dropping_key) as batch:
            if batch.exists(dropping_key):
                raise StoreError(
                    f"vector set {header.set_id} is being dropped; if that was cut short, drop it "
                    "again first: rows that are left over would pass for new ones"
                )
            rules.check_replaceable(self._watched_header(batch, header.set_id), header)
            batch.multi()
            batch.set(header_key, header.model_dump_json())
            batch.sadd(self._keys.sets, header.set_id)
            batch.execute()

    def insert(
        self, header: SetHeader, ids: Sequence[str], records: Sequence[bytes], progress: bytes
    ) -> list[bool]:
        with self._writing(self._keys.header(header.set_id)) as batch:
            stored = self._watched_header(batch, header.set_id)
            raw_ids = rules.check_insertable(stored, header, ids, records, self.url)
            row_keys = self._keys.rows(header.set_id, header.bucket_count, raw_ids)
            batch.multi()
            for key, record in zip(row_keys, records, strict=True):
                batch.set(key, record, nx=True)
            batch.set(self._keys.progress(header.set_id), progress)
            replies = batch.execute()
        return [reply is not None for reply in replies[:-1]]

    def progress(self, set_id: str) -> bytes | None:
        with self._translated():
            return cast(bytes | None, self._client.get(self._keys.progress(set_id)))

    def get(self, header: SetHeader, ids: Sequence[str]) -> list[bytes | None]:
        row_keys = self._keys.rows(header.set_id, header.bucket_count, lookup_ids(ids))
        with self._translated():
            return self._mget(row_keys)

    def scan(self, header: SetHeader) -> Iterator[list[tuple[str, bytes]]]:
        for row_keys in self._row_keys(header.set_id):
            with self._translated():
                records = self._mget(row_keys)
            batch = [
                (self._keys.product_id(header.set_id, key), record)
                for key, record in zip(row_keys, records, strict=True)
                if record is not None
            ]
            if batch:
                yield batch

    def live(self, fingerprint: str) -> str | None:
        with self._translated():
            stored = cast(bytes | None, self._client.hget(self._keys.live, fingerprint))
        return None if stored is None else stored.decode()

    def set_live(self, fingerprint: str, set_id: str) -> None:
        with self._writing(self._keys.header(set_id)) as batch:
            header = self._watched_header(batch, set_id)
            if header is None:
                raise rules.not_found(set_id, self.url)
            rules.check_activatable(header, fingerprint)
            batch.multi()
            batch.hset(self._keys.live, fingerprint, set_id)
            batch.execute()

    def drop(self, header: SetHeader) -> None:
        """Remove a set: first its header is set aside, then the rows go, then the rest.

        Without its header the set can neither go live nor be indexed into. It stays listed, as
        unsealed, so that a drop that was cut short can be repeated. Each command is one that a
        full Redis still takes, which MULTI is not: that is where sets have to be dropped.
        """
        rules.check_writable(self.url, read_only=self._read_only)
        header_key = self._keys.header(header.set_id)
        dropping_key = self._keys.dropping(header.set_id)
        live = self.live(header.fingerprint)
        with self._translated():
            if live != header.set_id and self._client.exists(header_key):
                self._client.rename(header_key, dropping_key)
                live = self.live(header.fingerprint)  # from here on set_live refuses the set
                if live == header.set_id:
                    self._client.rename(dropping_key, header_key)
        rules.check_droppable(header, live)
        with self._translated():
            self._client.delete(self._keys.progress(header.set_id))
            for row_keys in self._row_keys(header.set_id):
                self._client.unlink(*row_keys)
            self._client.delete(dropping_key)
            self._client.srem(self._keys.sets, header.set_id)

    def ping(self) -> None:
        with self._translated():
            self._client.ping()

    def close(self) -> None:
        self._client.close()

    def _mget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        records: list[bytes | None] = []
        for start in range(0, len(keys), GET_CHUNK):
            chunk = keys[start : start + GET_CHUNK]
            records += cast(list[bytes | None], self._client.mget(chunk))
        return records

    def _row_keys(self, set_id: str) -> Iterator[list[bytes]]:
        """Row keys of a set in batches; SCAN may repeat a key, within a batch it is dropped."""
        pattern, cursor = self._keys.row_pattern(set_id), 0
        while True:
            with self._translated():
                cursor, found = self._client.scan(cursor, match=pattern, count=SCAN_BATCH)
            if found:
                yield list(dict.fromkeys(cast(list[bytes], found)))
            if cursor == 0:
                return

    def _read_headers(self, set_ids: Sequence[str]) -> list[SetHeader | None]:
        names = [self._keys.header(set_id).encode() for set_id in set_ids]
        names += [self._keys.dropping(set_id).encode() for set_id in set_ids]
        with self._translated():
            found = self._mget(names)
        headers: list[SetHeader | None] = []
        for set_id, stored, dropping in zip(
            set_ids, found[: len(set_ids)], found[len(set_ids) :], strict=True
        ):
            if stored is not None:
                headers.append(parse_header(set_id, stored))
            elif dropping is not None:
                headers.append(parse_header(set_id, dropping).model_copy(update={"sealed": None}))
            else:
                headers.append(None)
        return headers

    def _watched_header(self, batch: Pipeline, set_id: str) -> SetHeader | None:
        stored = cast(bytes | None, batch.get(self._keys.header(set_id)))
        return None if stored is None else parse_header(set_id, stored)

    @contextmanager
    def _writing(self, *watched: str) -> Iterator[Pipeline]:
        """A MULTI/EXEC that fails as a whole if a watched key changes before it."""
        rules.check_writable(self.url, read_only=self._read_only)
        with self._translated(), self._client.pipeline(transaction=True) as batch:
            batch.watch(*watched)  # type: ignore[no-untyped-call]
            yield batch

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise translate(error, self.url, self._timeout_ms) from error
