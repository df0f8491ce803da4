"""From a store URL to a vector store: the only place that knows all of them."""

from pathlib import Path

from vector_store.errors import StoreError
from vector_store.lmdb_store import LmdbStore
from vector_store.memory import MemoryStore
from vector_store.protocol import VectorStore
from vector_store.redis_cluster import RedisClusterStore
from vector_store.redis_store import RedisStore
from vector_store.redis_url import parse_redis_url


def open_store(url: str, *, read_only: bool = False, timeout_ms: int = 100) -> VectorStore:
    """Open `memory:`, `lmdb:PATH`, or Redis: one server, the master behind Sentinel, a cluster.

    url: `redis://host:port` (also `rediss://`, `unix://`) may carry user and password
        (percent-encoded), `/db` and `?ns=` (namespace); behind Sentinel it is
        `redis+sentinel://host:port[,host:port...]/service/db?ns=`, a cluster is
        `redis+cluster://host:port[,host:port...]/?ns=` (also `rediss+...://`)
    read_only: refuse every write; an LMDB folder must then exist
    timeout_ms: longest wait for one answer of Redis; connecting waits for the first call

    Raises:
        StoreError: the URL is none of these, or the LMDB folder is missing, damaged or in use.
    """
    scheme, _, rest = url.partition(":")
    one_server = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
    if scheme in one_server and rest.startswith("//"):
        return RedisStore(parse_redis_url(url), timeout_ms=timeout_ms, read_only=read_only)
    if scheme in ("redis+cluster", "rediss+cluster") and rest.startswith("//"):
        return RedisClusterStore(parse_redis_url(url), timeout_ms=timeout_ms, read_only=read_only)
    if scheme == "lmdb" and rest and not rest.startswith("//"):
        return LmdbStore(Path(rest), read_only=read_only)
    if url == "memory:":
        if read_only:
            raise StoreError("memory: is empty when it is opened; it makes no sense read-only")
        return MemoryStore()
    raise StoreError(
        "expected a store URL of the form memory:, lmdb:PATH (one colon, no slashes before the "
        "path) or redis://[user:password@]host:port/db?ns=NAMESPACE (also rediss://, "
        "unix://PATH, redis+sentinel://host:port,host:port/SERVICE/db?ns=NAMESPACE and "
        "redis+cluster://host:port,host:port/?ns=NAMESPACE), "
        f"got {scheme + ':' if rest else scheme!r}..."
    )
