"""What a request costs a worker and Redis, and what a row takes: figures measured, and formulas.

CPU is in microseconds of one core, as `python -m loadtest.scaling` finds it: docs/scaling.md.
"""

import math
from dataclasses import dataclass
from typing import Final

BUCKETS: Final = 256  # of a vector set: one MGET for each that a request needs
KEY_PREFIX: Final = len("winnow:01234567.1:{000}:")
RECORD: Final = 12  # hash and time beside a row
_ELECTION_S: Final = 2.5


@dataclass(frozen=True)
class Costs:
    """CPU microseconds of one core; measured, see docs/scaling.md.

    request: of a worker per request, without its candidates; new queries cost `query` more
    candidate: of a worker per candidate whose row it has: read, head, answer
    ask: of a worker per master that it asks, and `miss` per row that comes from there
    asked: of Redis per request that a master gets, `command` per MGET in it, `served` per row
    encode: of an indexer per row, all that it does; `write` of a master per row that it takes
    worker_mb: memory of a worker without its row cache
    """

    request: float = 1_035.0
    query: float = 380.0
    candidate: float = 3.4
    ask: float = 90.0
    miss: float = 0.4
    asked: float = 71.0
    command: float = 0.77
    served: float = 1.36
    encode: float = 120.0
    write: float = 9.7
    worker_mb: float = 100.0


def worker_us(
    costs: Costs, candidates: float, misses: float, new_queries: float, masters: int
) -> float:
    """CPU of a worker per request."""
    return (
        costs.request
        + new_queries * costs.query
        + candidates * costs.candidate
        + masters_asked(misses, masters) * costs.ask
        + misses * costs.miss
    )


def redis_us(costs: Costs, misses: float, masters: int) -> float:
    """CPU of all masters together per request."""
    return (
        masters_asked(misses, masters) * costs.asked
        + commands(misses) * costs.command
        + misses * costs.served
    )


def masters_asked(misses: float, masters: int) -> float:
    """Masters that have a row of a request, where ids fall evenly."""
    return masters * affected_share(misses, masters)


def commands(misses: float) -> float:
    """MGETs of a request: buckets that have a row of it."""
    return BUCKETS * affected_share(misses, BUCKETS)


def affected_share(misses: float, masters: int) -> float:
    """Share of the requests that need a row of one master, where ids fall evenly."""
    return 1 - math.pow(1 - 1 / masters, misses)


def failover_s(node_timeout_s: float) -> float:
    """Until a lost master's replica serves: the time-out, agreement, a vote, the next look."""
    return node_timeout_s + _ELECTION_S


def row_bytes_redis(width: int, id_bytes: int) -> float:
    """What a row takes of a cluster node's memory: key, value, and what Redis keeps with them.

    An entry of the dictionary (40 bytes in a cluster of Redis 7.0), the value's object (16), both
    strings with their headers, each rounded up by jemalloc, and 1 to 2 pointers of the table, which
    doubles when it is full; 1.5 here.
    """
    key = KEY_PREFIX + id_bytes
    record = 2 * width + RECORD
    return _allocated(40) + _allocated(16) + _string(key) + _string(record) + 1.5 * 8


def row_bytes_cached(width: int) -> float:
    """What a row takes of the row cache's memory: 64-byte lines, and 15 bytes to find it."""
    return -(-2 * width // 64) * 64 + 16


def _string(length: int) -> int:
    header = 1 if length < 32 else 3 if length < 256 else 5
    return _allocated(header + length + 1)


def _allocated(size: int) -> int:
    """The size class of jemalloc: steps of 16 up to 128, then four to each doubling."""
    if size <= 128:
        return -(-size // 16) * 16
    step = 1 << ((size - 1).bit_length() - 3)
    return -(-size // step) * step
