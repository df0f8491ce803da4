"""The plainest way to a store's records, as a client's own few lines would read them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

import lmdb
import redis

from bench.errors import BenchError
from vector_store.header import SetHeader
from vector_store.keys import RedisKeys, lmdb_rows, lookup_ids
from vector_store.redis_url import parse_redis_url


class BareStore(Protocol):
    """`read` is what is timed; `keys` is not."""

    version: str

    def keys(self, product_ids: Sequence[str]) -> list[bytes]:
        """What `read` takes for these products."""

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Records in the order of the keys.

        Raises:
            BenchError: the store failed.
        """

    def close(self) -> None:
        """Gives the connection or the environment back."""


class BareRedis:
    """One blocking MGET through redis-py, with the client's own defaults."""

    def __init__(self, url: str, header: SetHeader) -> None:
        """Connects.

        Raises:
            BenchError: it doesn't answer.
        """
        parsed = parse_redis_url(url)
        self._header = header
        self._keys = RedisKeys(parsed.namespace)
        self._redis = redis.Redis.from_url(parsed.connect, credential_provider=parsed.login)
        try:
            server = cast(dict[str, object], self._redis.info("server"))
        except redis.RedisError as error:
            raise BenchError(f"{parsed.shown} failed: {error}") from error
        self.version = f"Redis {server['redis_version']}"

    def keys(self, product_ids: Sequence[str]) -> list[bytes]:
        raw_ids = lookup_ids(product_ids)
        return self._keys.rows(self._header.set_id, self._header.bucket_count, raw_ids)

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        try:
            # redis-py types every command as maybe awaitable; this is the blocking client.
            return cast(list[bytes | None], self._redis.mget(keys))
        except redis.RedisError as error:
            raise BenchError(f"the bare MGET failed: {error}") from error

    def close(self) -> None:
        self._redis.close()


class BareLmdb:
    """One read transaction and a `get` per product."""

    def __init__(self, path: Path, header: SetHeader) -> None:
        """Opens it; nothing else of this process may have it open.

        Raises:
            BenchError: it can't be opened.
        """
        try:
            self._env = lmdb.open(str(path), readonly=True, max_dbs=1, readahead=False)
            self._rows = self._env.open_db(lmdb_rows(header.set_id), create=False)
        except lmdb.Error as error:
            raise BenchError(f"lmdb:{path} failed: {error}") from error
        self.version = f"LMDB {'.'.join(map(str, lmdb.version()))}"

    def keys(self, product_ids: Sequence[str]) -> list[bytes]:
        return lookup_ids(product_ids)

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._env.begin(db=self._rows) as txn:
            return [txn.get(key) for key in keys]

    def close(self) -> None:
        self._env.close()


def open_bare_store(url: str, header: SetHeader) -> BareStore:
    """The store of a URL that `winnow serve` takes.

    Raises:
        BenchError: it failed, or there is no plain way to read it (memory, Redis Cluster).
    """
    scheme, _, rest = url.partition(":")
    if scheme in {"redis", "rediss", "unix"}:
        return BareRedis(url, header)
    if scheme == "lmdb":
        return BareLmdb(Path(rest), header)
    raise BenchError(
        f"expected a store of lmdb:, redis://, rediss:// or unix://, got {scheme}: a bench "
        "compares with one blocking read, which other stores don't have"
    )
