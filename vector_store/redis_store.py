"""Vector sets in Redis: one string per product, shared by every machine that scores."""

from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from vector_store import rules
from vector_store.header import SetHeader
from vector_store.ids import ProductIds
from vector_store.keys import RedisKeys, lookup_ids
from vector_store.native_rows import AVAILABLE, MgetReader, mget_commands
from vector_store.redis_client import server_client
from vector_store.redis_replies import exchange
from vector_store.redis_sets import RedisSets
from vector_store.redis_url import RedisUrl
from vector_store.rows import Rows, unpack

# Keys per MGET: Redis serves one command at a time, and a longer one would hold up the others.
GET_CHUNK: Final = 1000
# Keys per MGET of `fetch`, redis_replies.WINDOW of which are under way at once: Redis reads 16 KB
# of commands, one such MGET, before it turns to its next client.
FETCH_CHUNK: Final = 250
# Bytes read from the socket at once; an answer of 1,000 rows of 256 floats has 540 KB.
SOCKET_READ_BYTES: Final = 1 << 18


class RedisStore(RedisSets):
    """A VectorStore in one Redis server, or the master behind Sentinel; connects when first used.

    A call waits at most `timeout_ms` for each answer and is never repeated behind the caller's
    back: what to do with the rest of a deadline is for the caller to decide.
    """

    def __init__(self, url: RedisUrl, *, timeout_ms: int, read_only: bool) -> None:
        super().__init__(
            url.shown, RedisKeys(url.namespace), timeout_ms=timeout_ms, read_only=read_only
        )
        options: dict[str, Any] = {
            "protocol": 2,  # any server; RESP3 would add a handshake and nothing that is used here
            "retry": Retry(NoBackoff(), 0),
            "socket_connect_timeout": timeout_ms / 1000,
            "socket_read_size": SOCKET_READ_BYTES,
            "socket_timeout": timeout_ms / 1000,
        }
        self._redis = server_client(url, options)

    @property
    def _client(self) -> redis.Redis:
        return self._redis

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

    def get(self, header: SetHeader, ids: Sequence[str]) -> list[bytes | None]:
        row_keys = self._keys.rows(header.set_id, header.bucket_count, lookup_ids(ids))
        with self._translated():
            return self._mget(row_keys)

    def fetch(self, header: SetHeader, ids: ProductIds) -> Rows:
        n = len(ids)
        if not AVAILABLE or not n:
            return unpack(self.get(header, ids.strings()), header.width)
        positions, starts = np.arange(n), np.array([*range(0, n, FETCH_CHUNK), n])
        prefixes = self._keys.row_prefixes(header.set_id, header.bucket_count)
        commands, ends = mget_commands(ids, positions, starts, prefixes, header.bucket_count)
        rows = Rows(np.empty((n, header.width), np.float16), np.empty(n, np.uint8))
        reader = MgetReader(rows.values, rows.status, positions, starts)
        with self._translated():
            exchange(self._redis.connection_pool, commands, ends, reader)
        return rows

    def _masters(self) -> list[redis.Redis]:
        return [self._redis]

    def _unlink(self, keys: Sequence[bytes]) -> None:
        self._redis.unlink(*keys)

    def _mget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        records: list[bytes | None] = []
        for start in range(0, len(keys), GET_CHUNK):
            chunk = keys[start : start + GET_CHUNK]
            records += cast(list[bytes | None], self._client.mget(chunk))
        return records
