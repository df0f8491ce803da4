"""The compiled rows.c and the types of its functions; what they do is told where they are called.

Arrays go in as addresses: the callers in this package hand in contiguous arrays of the stated type.
"""

from ctypes import CDLL, POINTER, c_char, c_char_p, c_int, c_int64, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from native.library import load

_P, _N, _B = c_void_p, c_int64, c_char_p
_NO_BYTES: Final = c_char * 0
_IDS: Final = (_B, _N, _P, _N)  # ProductIds.arguments: blob, its length, offsets [n + 1], n

_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "candidates_scan": (_N, (_B, _N, _P, _P, _P, _N, _P)),
    "tensor_scan": (_N, (_B, _N, _N, _P, _P)),
    "ids_take": (_N, (*_IDS, _P, _N, _P, _P)),
    "ids_json": (_N, (*_IDS, _P, _N, _P, _N)),
    "ids_hash": (_N, (*_IDS, _B, _P)),
    "ids_buckets": (_N, (*_IDS, _N, _P)),
    "mget_write": (_N, (*_IDS, _P, _P, _N, _B, _N, _N, _P, _N, _P)),
    "mget_reader_bytes": (_N, ()),
    "mget_reader_start": (_N, (_P, _P, _P, _N, _N, _P, _P, _N, _P, _P)),
    "mget_reader_feed": (c_int, (_P, _P, _N)),
    "mget_reader_receive": (c_int, (_P, c_int, c_int, _N, POINTER(c_int))),
    "mget_reader_group": (_N, (_P,)),
    "arena_bucket_bytes": (_N, (_N,)),
    "arena_new": (_P, (_N, _N, _B)),
    "arena_free": (None, (_P,)),
    "arena_touch": (None, (_P,)),
    "arena_capacity": (_N, (_P,)),
    "arena_ticket": (c_uint64, (_P,)),
    "arena_lookup": (_N, (_P, *_IDS, _P, _P, _P)),
    "arena_insert": (_N, (_P, *_IDS, _P, _P, c_uint64)),
    "arena_invalidate": (_N, (_P, *_IDS)),
    "arena_clear": (None, (_P,)),
    "arena_pause": (None, (_P, c_int)),
    "arena_paused": (c_int, (_P,)),
    "arena_counters": (None, (_P, _P)),
}


def _declared(loaded: CDLL | None) -> CDLL | None:
    if loaded is not None:
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    return loaded


LIBRARY: Final = _declared(load(Path(__file__).with_name("rows.c")))


def library() -> CDLL:
    """The compiled rows.c, for callers that are only reached where there is one."""
    if LIBRARY is None:
        raise RuntimeError("rows.c is not compiled: python -m native.compile")
    return LIBRARY


def address(array: NDArray[Any]) -> Any:
    """Where a contiguous, writable array begins; keeps it alive. The quickest of ctypes' ways."""
    return _NO_BYTES.from_buffer(array)  # type: ignore[arg-type]


def checked(outcome: int) -> int:
    """What a function of rows.c returned, if it took its arguments."""
    if outcome < 0:
        raise ValueError("the arguments do not fit together: ids, positions, groups or sizes")
    return outcome
