"""What rows cost in each store, and what a store has left. Formulas measured, not guessed.

Measured by filling real stores with 20,000 to 150,000 rows of 16 to 1,300 floats under ids of 8
and 36 bytes, in and out of order: LMDB 0.9 with 4 KiB pages, size of `data.mdb`; Redis 7.0
with jemalloc, `used_memory`. tests/indexing/test_plan.py measures again.
"""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import redis
from redis.exceptions import NoPermissionError, RedisClusterException

from vector_store.keys import RedisKeys
from vector_store.redis_client import server_client
from vector_store.redis_errors import translate, translate_cluster
from vector_store.redis_nodes import ClusterNodes
from vector_store.redis_url import RedisUrl, parse_redis_url

StoreKind = Literal["memory", "lmdb", "redis"]

_PAGE = 4_096
_PAGE_HEADER = 16
_LMDB_LARGEST_NODE = 2_038  # a larger one is kept in pages of its own
_LMDB_RANDOM_FILL = 0.67  # of a B+tree filled out of order; in order, one node less than fits
_LMDB_COMMIT_PAGES = 4_096  # a commit of 4,096 rows out of order copies as many leaves, ...
_LMDB_COPIES = 1.8  # ... which are free again only some commits later
_REDIS_ENTRY = 32  # dictEntry of 24 bytes
_REDIS_OBJECT = 16
_REDIS_EMBEDDED = 44  # strings up to this length lie inside their object
_PYTHON_ENTRY = 33 + 49 + 100  # bytes object, str object, dict entry


@dataclass(frozen=True)
class Room:
    """What a store has left. left_bytes: None where there is no known limit."""

    kind: StoreKind
    left_bytes: int | None
    limit: str
    evicts: str | None


def set_bytes(kind: StoreKind, products: int, id_bytes: float, record_bytes: int) -> int:
    """Projected size of a set in its store.

    Args:
        kind: which store.
        products: rows of the set.
        id_bytes: mean length of the product ids; for Redis of the whole keys.
        record_bytes: length of one record.
    """
    if products == 0:
        return 0
    if kind == "memory":
        return int(products * (record_bytes + id_bytes + _PYTHON_ENTRY))
    if kind == "lmdb":
        return _lmdb_bytes(products, id_bytes, record_bytes)
    return _redis_bytes(products, id_bytes, record_bytes)


def redis_key_prefix_bytes(url: str, set_id: str) -> int:
    """Length of what stands before the product id in a row's key."""
    key = RedisKeys(parse_redis_url(url).namespace).rows(set_id, 1, [b""])[0]
    return len(key)


def store_kind(url: str) -> StoreKind:
    """Kind of the store that `vector_store.open.open_store` opens for this URL."""
    scheme = url.partition(":")[0]
    if scheme == "memory":
        return "memory"
    return "lmdb" if scheme == "lmdb" else "redis"


def room(url: str, timeout_ms: int) -> Room:
    """Asks the disk or Redis what is left.

    Raises:
        StoreError: Redis can't be asked, or the URL can't be read.
    """
    kind = store_kind(url)
    if kind == "memory":
        return Room(kind, None, "the memory of this process", None)
    if kind == "lmdb":
        folder = Path(url.partition(":")[2]).absolute()
        while not folder.exists():
            folder = folder.parent
        return Room(kind, shutil.disk_usage(folder).free, "free space on the disk", None)
    return _redis_room(url, timeout_ms)


def _redis_room(url: str, timeout_ms: int) -> Room:
    parsed = parse_redis_url(url)
    seconds = timeout_ms / 1000
    if parsed.is_cluster:
        return _cluster_room(parsed, timeout_ms)
    client = server_client(parsed, {"socket_timeout": seconds, "socket_connect_timeout": seconds})
    try:
        return _server_room(client)
    except redis.RedisError as error:
        raise translate(error, parsed.shown, timeout_ms) from error
    finally:
        client.close()


def _cluster_room(url: RedisUrl, timeout_ms: int) -> Room:
    """Room of the fullest master, times their number: rows spread evenly over them."""
    cluster = ClusterNodes(url, timeout_ms=timeout_ms)
    try:
        rooms = [_server_room(master) for master in cluster.masters()]
    except (redis.RedisError, RedisClusterException) as error:
        raise translate_cluster(error, url.shown, timeout_ms) from error
    finally:
        cluster.close()
    fullest = min(rooms, key=lambda one: math.inf if one.left_bytes is None else one.left_bytes)
    left = None if fullest.left_bytes is None else fullest.left_bytes * len(rooms)
    limit = f"{fullest.limit}, times {len(rooms)} masters"
    return Room("redis", left, limit, next((one.evicts for one in rooms if one.evicts), None))


def _server_room(client: redis.Redis) -> Room:
    try:
        info = cast(dict[str, int | str], client.info("memory"))
    except NoPermissionError:
        return Room("redis", None, "unknown: this Redis user may not run INFO", None)
    used, maximum = int(info["used_memory"]), int(info.get("maxmemory", 0))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    evicts = policy if maximum and policy.startswith("allkeys") else None
    if maximum:
        return Room("redis", max(0, maximum - used), "maxmemory of Redis", evicts)
    machine = int(info.get("total_system_memory", 0))
    left = max(0, machine - used) if machine else None
    return Room("redis", left, "memory of Redis's machine (no maxmemory is set)", None)


def _lmdb_bytes(products: int, id_bytes: float, record_bytes: int) -> int:
    overflow_pages = 0
    node = 8 + id_bytes + record_bytes
    if node > _LMDB_LARGEST_NODE:
        overflow_pages = -(-(_PAGE_HEADER + record_bytes) // _PAGE)
        node = 8 + id_bytes + 8
    fit = int((_PAGE - _PAGE_HEADER) // (node + 2 + 1))  # a pointer, and rounding to even
    per_page = max(1.0, min(fit - 1, fit * _LMDB_RANDOM_FILL))
    leaves = products / per_page
    copies = _LMDB_COPIES * min(leaves, _LMDB_COMMIT_PAGES)
    return int((leaves + copies + products * overflow_pages) * _PAGE)


def _redis_bytes(products: int, key_bytes: float, record_bytes: int) -> int:
    slots = 1 << (products - 1).bit_length()
    table = 1.5 * 8 * slots  # while it grows, the old table of half the size is there as well
    if record_bytes <= _REDIS_EMBEDDED:
        value = _allocated(_REDIS_OBJECT + 4 + record_bytes)
    else:
        value = _REDIS_OBJECT + _allocated(record_bytes + 6)
    return int(products * (_REDIS_ENTRY + _allocated(round(key_bytes) + 4) + value) + table)


def _allocated(size: int) -> int:
    """Bytes jemalloc sets aside: steps of 16 up to 128, then four steps to every power of two."""
    step = 16 if size <= 128 else 1 << ((size - 1).bit_length() - 3)
    return -(-size // step) * step
