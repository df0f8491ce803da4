"""The vector sets of a Redis namespace; how rows are fetched and inserted is for each store."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, cast

import redis
from redis.client import Pipeline

from vector_store import rules
from vector_store.errors import StoreError
from vector_store.header import SetHeader, parse_header
from vector_store.keys import RedisKeys
from vector_store.redis_errors import translate
from vector_store.redis_tracking import RowTracking
from vector_store.watch import Watcher

SCAN_BATCH: Final = 1000


class RedisSets(ABC):
    """What a store in one server and a store in a cluster have in common.

    Every key used here lies in one slot of a cluster (see RedisKeys), so that WATCH and MULTI
    hold there too.
    """

    in_cluster = False

    def __init__(self, shown: str, keys: RedisKeys, *, timeout_ms: int, read_only: bool) -> None:
        """`shown`: the URL without a password."""
        if timeout_ms < 1:
            raise StoreError(f"expected a Redis timeout of 1 ms or more, got {timeout_ms}")
        self.url = shown
        self._keys = keys
        self._timeout_ms = timeout_ms
        self._read_only = read_only

    @property
    @abstractmethod
    def _client(self) -> redis.Redis | redis.RedisCluster:
        """Sends a command of one key, or of keys in one slot."""

    @abstractmethod
    def _masters(self) -> list[redis.Redis]:
        """Every server that holds rows."""

    @abstractmethod
    def _mget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values of any number of row keys, aligned with them."""

    @abstractmethod
    def _unlink(self, keys: Sequence[bytes]) -> None:
        """Remove row keys."""

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

    def progress(self, set_id: str) -> bytes | None:
        with self._translated():
            return cast(bytes | None, self._client.get(self._keys.progress(set_id)))

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
                self._unlink(row_keys)
            self._client.delete(dropping_key)
            self._client.srem(self._keys.sets, header.set_id)

    def ping(self) -> None:
        with self._translated():
            self._client.ping()

    def close(self) -> None:
        self._client.close()

    def _row_keys(self, set_id: str) -> Iterator[list[bytes]]:
        """Row keys of a set in batches; SCAN may repeat a key, within a batch it is dropped."""
        pattern = self._keys.row_pattern(set_id)
        with self._translated():
            masters = self._masters()
        for master in masters:
            cursor = -1
            while cursor != 0:
                with self._translated():
                    cursor, found = master.scan(max(cursor, 0), match=pattern, count=SCAN_BATCH)
                if found:
                    yield list(dict.fromkeys(cast(list[bytes], found)))

    def watch(self, header: SetHeader, watcher: Watcher) -> RowTracking:
        return RowTracking(
            self._watched_masters,
            watcher,
            in_cluster=self.in_cluster,
            row_prefix=self._keys.row_prefix(header.set_id),
            id_start=self._keys.id_start(header.set_id),
            shown_url=self.url,
        )

    def _watched_masters(self) -> list[redis.Redis]:
        """Every server that holds rows, as of now."""
        return self._masters()

    def _read_headers(self, set_ids: Sequence[str]) -> list[SetHeader | None]:
        names = [self._keys.header(set_id).encode() for set_id in set_ids]
        names += [self._keys.dropping(set_id).encode() for set_id in set_ids]
        with self._translated():
            found = cast(list[bytes | None], self._client.mget(names)) if names else []
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
            batch.watch(*watched)
            yield batch

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise translate(error, self.url, self._timeout_ms) from error
