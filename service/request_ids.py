"""By what a request is found again: its id, and the trace of its caller. Reads headers only."""

import os
import re
from collections.abc import Iterable

# What is echoed and logged is of this alphabet: no header, line or query can be smuggled in.
_ID = re.compile(rb"[A-Za-z0-9._:/+=@~-]{1,128}")
# https://www.w3.org/TR/trace-context/#traceparent-header; later versions may have more fields.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16


def request_ids(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str | None]:
    """Id of the request, and id of the trace it belongs to, where its caller has one.

    The request's id is `X-Request-Id`, else the trace's, else a fresh one of 32 hex digits.
    """
    given = traceparent = None
    for name, value in headers:
        if name == b"x-request-id":
            given = value
        elif name == b"traceparent":
            traceparent = value
    trace = None if traceparent is None else _trace_id(traceparent)
    if given is not None and _ID.fullmatch(given):
        return given.decode(), trace
    return trace or os.urandom(16).hex(), trace


def _trace_id(traceparent: bytes) -> str | None:
    read = _TRACEPARENT.fullmatch(traceparent)
    if read is None or read[1] == _NO_TRACE or read[2] == _NO_SPAN:
        return None
    return read[1].decode()
