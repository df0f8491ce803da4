"""Errors of redis-py as errors of this package: one table, first match wins."""

from typing import Final

from redis import exceptions as redis
from redis.sentinel import MasterNotFoundError

from vector_store.errors import StoreError, StoreUnavailable

MEMORY: Final = (
    "is out of memory and stored nothing of this batch; raise maxmemory, drop old vector sets "
    "(`winnow sets gc`), then run the same command again: it resumes"
)
REPLICA: Final = (
    "is a read-only replica and stored nothing; give the URL of the primary and run the same "
    "command again"
)
CLUSTER: Final = (
    "is part of a Redis Cluster; give its URL as redis+cluster://host:port[,host:port...]/"
)
NO_CLUSTER: Final = "is no Redis Cluster; give its URL as redis://host:port/db"
NO_MASTER: Final = (
    "has no master that a Sentinel knows and finds up: a failover may be under way; else compare "
    "the service and the places of the Sentinels with SENTINEL MASTERS"
)
UNSETTLED: Final = "is moving slots or failing over; the same call may succeed later"

TABLE: Final[tuple[tuple[type[Exception], type[StoreError], str], ...]] = (
    (redis.TimeoutError, StoreUnavailable, "did not answer within {timeout_ms} ms"),
    (redis.BusyLoadingError, StoreUnavailable, "is still loading its data; wait for it"),
    (redis.AuthenticationError, StoreUnavailable, "refused the login; correct user or password"),
    (redis.AuthorizationError, StoreUnavailable, "refused the login; correct user or password"),
    (redis.NoPermissionError, StoreError, "does not let this user do that; extend its ACL"),
    (redis.OutOfMemoryError, StoreError, MEMORY),
    (redis.ReadOnlyError, StoreUnavailable, REPLICA),
    (redis.MasterDownError, StoreUnavailable, "is a replica that has lost its primary"),
    (redis.AskError, StoreError, CLUSTER),
    (redis.ClusterError, StoreError, CLUSTER),
    (redis.ClusterCrossSlotError, StoreError, CLUSTER),
    (redis.WatchError, StoreUnavailable, "saw another process change this set; run it again"),
    (MasterNotFoundError, StoreUnavailable, NO_MASTER),
    (redis.ConnectionError, StoreUnavailable, "cannot be reached"),
    (redis.InvalidResponse, StoreUnavailable, "does not speak the Redis protocol"),
    (redis.RedisError, StoreError, "refused the command"),
)

CLUSTER_TABLE: Final[tuple[tuple[type[Exception], type[StoreError], str], ...]] = (
    (redis.MasterDownError, StoreUnavailable, "is a replica that has lost its primary"),
    (redis.ClusterDownError, StoreUnavailable, UNSETTLED),
    (redis.TryAgainError, StoreUnavailable, UNSETTLED),
    (redis.AskError, StoreUnavailable, UNSETTLED),
    (redis.SlotNotCoveredError, StoreUnavailable, "has slots without a node"),
    (redis.RedisClusterException, StoreUnavailable, "cannot be reached"),
)


def translate(error: redis.RedisError, url: str, timeout_ms: int) -> StoreError:
    """The StoreError for an error of redis-py, its reason included; `url` without a password."""
    # A connection lost after WATCH is reported as a changed key; its cause is what happened.
    if isinstance(error, redis.WatchError) and isinstance(error.__context__, redis.RedisError):
        error = error.__context__
    # redis-py puts the command, a binary row included, in front of the server's reason.
    reason = str(error).rpartition(" of pipeline caused error: ")[2][:300]
    if isinstance(error, MasterNotFoundError):  # redis-py adds its clients with all their options
        reason = reason.partition(" : ")[0]
    # Out of memory only at EXEC: the server wraps its reason in an EXECABORT.
    if isinstance(error, redis.ExecAbortError) and "OOM" in reason:
        return StoreError(f"Redis at {url} {MEMORY} ({reason})")
    for kind, store_error, advice in TABLE:
        if isinstance(error, kind):
            return store_error(f"Redis at {url} {advice.format(timeout_ms=timeout_ms)} ({reason})")
    return StoreError(f"Redis at {url} failed ({reason})")


def translate_cluster(
    error: redis.RedisError | redis.RedisClusterException, url: str, timeout_ms: int
) -> StoreError:
    """As translate, for a store in a Redis Cluster: there a redirection is nobody's mistake."""
    # No node could give the slot map: what the last one said is behind redis-py's own words.
    cause: BaseException | None = error
    while isinstance(cause, redis.RedisClusterException):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, redis.RedisError):
        error = cause
    if "cluster support disabled" in str(error):
        return StoreError(f"Redis at {url} {NO_CLUSTER} ({error})")
    if isinstance(error, redis.WatchError) and isinstance(error.__context__, redis.RedisError):
        error = error.__context__
    for kind, store_error, advice in CLUSTER_TABLE:
        if isinstance(error, kind):
            return store_error(f"Redis Cluster at {url} {advice} ({str(error)[:300]})")
    if isinstance(error, redis.RedisError):
        return translate(error, url, timeout_ms)
    return StoreError(f"Redis Cluster at {url} failed ({error})")
