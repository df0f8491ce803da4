"""Every error a call ends with.

WinnowError
 +-- Unavailable            no scores now, though the request may be good: fall back
 |    +-- ConnectionFailed   refused, or closed before the whole answer was there
 |    +-- DeadlineExceeded   the call's deadline struck; 504
 |    +-- Overloaded         429  too many candidates in flight
 |    +-- NotReady           503  no verified student, no vector set, or its store is down
 |    +-- ServiceFailed      408, any other 5xx: the service, or a proxy in front of it
 |    +-- BadAnswer          what answered isn't Winnow, or not one that this client can read
 +-- Refused                the request is at fault, and would be refused again
      +-- Unauthorized       401, 403
      +-- NotFound           404  the model, or the endpoint
      +-- TooLarge           413
      +-- InvalidRequest     any other 4xx

Arguments that can't be sent at all are ValueError or TypeError, before anything is sent.
"""

import json
from collections.abc import Mapping


class WinnowError(Exception):
    """A call without a result; the text says what was expected, what came and what to do.

    detail: the text; the service's own words (RFC 9457) where it answered
    status: of its answer, None where there was none
    request_id: by which the service's log has the request, where it answered
    retry_after_s: after which the service asks to be asked again
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """All but the detail are of an answer."""
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class Unavailable(WinnowError):
    """There are no scores now."""


class ConnectionFailed(Unavailable):
    """The connection was refused, or closed before the whole answer was there."""


class DeadlineExceeded(Unavailable):
    """The deadline struck before the answer was there."""


class Overloaded(Unavailable):
    """The service refused the request at once, because it would make everybody late."""


class NotReady(Unavailable):
    """The service can't score at all for now."""


class ServiceFailed(Unavailable):
    """The service, or a proxy in front of it, failed."""


class BadAnswer(Unavailable):
    """An answer that is none of Winnow's."""


class Refused(WinnowError):
    """The request is at fault."""


class Unauthorized(Refused):
    """No API key, or not a good one."""


class NotFound(Refused):
    """No such model is served, or the URL is not that of a Winnow service."""


class TooLarge(Refused):
    """More candidates, or more bytes, than the service takes."""


class InvalidRequest(Refused):
    """A field is missing, unknown or wrong."""


_BY_STATUS: Mapping[int, type[WinnowError]] = {
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    408: ServiceFailed,
    413: TooLarge,
    429: Overloaded,
    503: NotReady,
    504: DeadlineExceeded,
}


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> WinnowError:
    """What an answer that is not 200 means."""
    kind = _BY_STATUS.get(status)
    if kind is None:
        kind = ServiceFailed if status >= 500 else InvalidRequest if status >= 400 else BadAnswer
    return kind(
        _detail(body) or f"expected an answer of Winnow, got status {status} without a reason",
        status=status,
        request_id=headers.get("x-request-id"),
        retry_after_s=_seconds(headers.get("retry-after", "")),
    )


def _detail(body: bytes) -> str | None:
    """Of a problem document."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    detail = document.get("detail") if isinstance(document, dict) else None
    return detail if isinstance(detail, str) else None


def _seconds(retry_after: str) -> float | None:
    """Of a Retry-After in seconds; its other form, a date, is nothing to wait for in a call."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
