"""Vector sets in a Redis Cluster: a bucket lies in one slot, so that one MGET reads a bucket."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, cast
from uuid import uuid4

import numpy as np
import redis
from redis.crc import key_slot
from redis.exceptions import RedisClusterException

from vector_store import rules
from vector_store.errors import StoreError, StoreUnavailable
from vector_store.header import SetHeader
from vector_store.ids import ProductIds
from vector_store.keys import RedisKeys, lookup_ids
from vector_store.native_rows import AVAILABLE
from vector_store.redis_cluster_fetch import BucketMap, bucket_map, fetch_into
from vector_store.redis_errors import translate_cluster
from vector_store.redis_nodes import ClusterNodes, Command, Redirection
from vector_store.redis_sets import RedisSets
from vector_store.redis_store import GET_CHUNK
from vector_store.redis_url import RedisUrl
from vector_store.rows import Rows, unpack

CLAIMED_S: Final = 10 * 365 * 86_400


class RedisClusterStore(RedisSets):
    """A VectorStore in the masters of a Redis Cluster. Connects when it is first used.

    A redirection (MOVED, ASK, TRYAGAIN, CLUSTERDOWN) is followed a few times within the timeout.
    A call that needs a node that is lost raises StoreUnavailable, and the slot map is read again.
    """

    in_cluster = True

    def __init__(self, url: RedisUrl, *, timeout_ms: int, read_only: bool) -> None:
        keys = RedisKeys(url.namespace, cluster=True)
        super().__init__(url.shown, keys, timeout_ms=timeout_ms, read_only=read_only)
        self._nodes = ClusterNodes(url, timeout_ms=timeout_ms)
        self._bucket_maps: dict[int, BucketMap] = {}

    @property
    def _client(self) -> redis.RedisCluster:
        return self._nodes.client

    def put_header(self, header: SetHeader) -> None:
        rules.check_writable(self.url, read_only=self._read_only)
        self._undo_landing(header.set_id)
        super().put_header(header)

    def insert(
        self, header: SetHeader, ids: Sequence[str], records: Sequence[bytes], progress: bytes
    ) -> list[bool]:
        """As VectorStore.insert, in three steps, for no MULTI reaches over several slots.

        First the keys that are to be added are noted in the landing key, then the rows are set,
        then progress is set and the note removed, in one MULTI. What goes wrong in between is
        undone at once; after a kill or while a node is lost, `get` and `scan` may show some of the
        rows until the next insert into the set, or until it is sealed: both undo them first. The
        batch can then be inserted again, with the answer that it would have had.

        The cluster copies to its replicas after it has answered: a failover can lose rows that
        were confirmed. Verifying the set before it is sealed finds that.
        """
        rules.check_writable(self.url, read_only=self._read_only)
        self._undo_landing(header.set_id)
        header_key = self._keys.header(header.set_id)
        landing_key = self._keys.landing(header.set_id)
        with self._writing(header_key, landing_key) as batch:
            stored = self._watched_header(batch, header.set_id)
            raw_ids = rules.check_insertable(stored, header, ids, records, self.url)
            row_keys = self._keys.rows(header.set_id, header.bucket_count, raw_ids)
            rows = self._absent(row_keys, records)
            landing = _landing(rows)
            batch.multi()
            batch.set(landing_key, landing)
            batch.execute()
        try:
            added = self._set_absent(rows)
            with self._writing(header_key, landing_key) as batch:
                now = self._watched_header(batch, header.set_id)
                if now != stored or batch.get(landing_key) != landing:
                    raise StoreUnavailable(
                        f"Redis at {self.url} saw another process change vector set "
                        f"{header.set_id}; run it again"
                    )
                batch.multi()
                batch.set(self._keys.progress(header.set_id), progress)
                batch.delete(landing_key)
                batch.execute()
        except StoreError:
            with suppress(StoreError):
                self._undo_landing(header.set_id, mine=landing)
            raise
        return [added.pop(key, False) for key in row_keys]

    def get(self, header: SetHeader, ids: Sequence[str]) -> list[bytes | None]:
        row_keys = self._keys.rows(header.set_id, header.bucket_count, lookup_ids(ids))
        with self._translated():
            return self._mget(row_keys)

    def fetch(self, header: SetHeader, ids: ProductIds) -> Rows:
        row_keys = partial(self._keys.rows, header.set_id, header.bucket_count)
        with self._translated():
            if not AVAILABLE or not len(ids):
                return unpack(self._mget(row_keys(ids.lookup_ids())), header.width)
            values = np.empty((len(ids), header.width), np.float16)
            status = np.empty(len(ids), np.uint8)
            prefixes = self._keys.row_prefixes(header.set_id, header.bucket_count)
            buckets = self._bucket_map(header.bucket_count)
            redirected = fetch_into(values, status, ids, prefixes, self._nodes, buckets)
            if len(redirected):
                left = row_keys(ids.take(redirected).lookup_ids())
                rows = unpack(self._mget_one_by_one(left), header.width)
                values[redirected], status[redirected] = rows.values, rows.status
        return Rows(values, status)

    def drop(self, header: SetHeader) -> None:
        super().drop(header)
        with self._translated():
            self._client.delete(self._keys.landing(header.set_id))

    def ping(self) -> None:
        """Return if every master answers: rows lie in all of them."""
        with self._translated():
            for master in self._masters():
                master.ping()

    def close(self) -> None:
        self._nodes.close()

    def _masters(self) -> list[redis.Redis]:
        return self._nodes.masters()

    def _bucket_map(self, bucket_count: int) -> BucketMap:
        known = self._bucket_maps.get(bucket_count)
        if known is None or known.version != self._nodes.version:
            known = self._bucket_maps[bucket_count] = bucket_map(self._nodes, bucket_count)
        return known

    def _watched_masters(self) -> list[redis.Redis]:
        self._nodes.refresh()
        return self._nodes.masters()

    def _mget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        groups: dict[tuple[int, int], list[int]] = {}
        sizes: dict[int, int] = {}
        for i, key in enumerate(keys):
            slot = key_slot(key)
            size = sizes[slot] = sizes.get(slot, -1) + 1
            groups.setdefault((slot, size // GET_CHUNK), []).append(i)
        commands: list[Command] = [
            (slot, ("MGET", *(keys[i] for i in members))) for (slot, _), members in groups.items()
        ]
        records: list[bytes | None] = [None] * len(keys)
        redirected: list[int] = []
        replies = self._nodes.ask_once(commands)
        self._nodes.note_moves(replies)
        for members, reply in zip(groups.values(), replies, strict=True):
            if isinstance(reply, Redirection):
                redirected += members
            else:
                for i, record in zip(members, reply, strict=True):
                    records[i] = record
        for i, record in zip(
            redirected, self._mget_one_by_one([keys[i] for i in redirected]), strict=True
        ):
            records[i] = record
        return records

    def _mget_one_by_one(self, keys: Sequence[bytes]) -> list[bytes | None]:
        # While a slot moves, its keys lie on two nodes: no MGET of several is answered then.
        commands: list[Command] = [(key_slot(key), ("MGET", key)) for key in keys]
        return [record for (record,) in self._nodes.ask(commands)]

    def _unlink(self, keys: Sequence[bytes]) -> None:
        self._nodes.ask([(key_slot(key), ("UNLINK", key)) for key in keys])

    def _absent(self, keys: Sequence[bytes], records: Sequence[bytes]) -> dict[bytes, bytes]:
        """The rows that aren't there yet, by key; of a repeated key the first."""
        rows: dict[bytes, bytes] = {}
        for key, record in zip(keys, records, strict=True):
            rows.setdefault(key, record)
        there = self._nodes.ask([(key_slot(key), ("EXISTS", key)) for key in rows])
        return {
            key: record
            for (key, record), found in zip(rows.items(), there, strict=True)
            if not found
        }

    def _set_absent(self, rows: dict[bytes, bytes]) -> dict[bytes, bool]:
        """True for each key whose row was set, False where another process was quicker."""
        commands: list[Command] = [
            (key_slot(key), ("SET", key, record, "NX")) for key, record in rows.items()
        ]
        with self._translated():
            replies = self._nodes.ask(commands)
        return {key: reply is not None for key, reply in zip(rows, replies, strict=True)}

    def _undo_landing(self, set_id: str, mine: bytes | None = None) -> None:
        """Remove the rows of a batch that was cut short; only if it is `mine`, where given."""
        landing_key = self._keys.landing(set_id)
        with self._translated():
            # Touching the key makes the EXEC of its writer fail, should that still be on its way.
            # EXPIRE is a write that a full Redis takes.
            if not self._client.expire(landing_key, CLAIMED_S):
                return
            stored = cast(bytes | None, self._client.get(landing_key))
            if stored is None or (mine is not None and stored != mine):
                return
            self._unlink([key.encode() for key in json.loads(stored)["keys"]])
            self._client.delete(landing_key)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, RedisClusterException) as error:
            raise translate_cluster(error, self.url, self._timeout_ms) from error


def _landing(rows: dict[bytes, Any]) -> bytes:
    """A note of the keys that a batch adds; no other batch has the same note."""
    note = {"batch": uuid4().hex, "keys": [key.decode() for key in rows]}
    return json.dumps(note, ensure_ascii=False).encode()
