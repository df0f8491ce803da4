"""Every error the service answers with, and the problem document (RFC 9457) each becomes.

ServiceError
 +-- MalformedJson         400  the body is no JSON
 +-- MalformedMessage      400  a gRPC message that is none
 +-- Unauthorized          401  no good API key, or an admin call without the admin token
 +-- UnknownModel          404  names the models there are
 +-- NoRow                 404  a product to be explained has no row that could be scored
 +-- UnknownVersion        404  names the versions there are
 +-- VersionRefused        409  an admin call; what was served before goes on
 +-- TooLarge              413  names the limit
 +-- UnsupportedEncoding   415  a compressed body
 +-- InvalidField          422  names each field
 +-- Shed                  429  too many candidates in flight; Retry-After
 +-- NotReady              503  no verified student, or no vector set for it; Retry-After
 +-- StoreDown             503  the vector store can't be reached; Retry-After
 +-- DeadlineExceeded      504  the deadline struck, and half an answer is none

The core (scoring, filtering) raises none of these: it knows no HTTP.
"""

from typing import ClassVar

import orjson
from starlette.responses import Response

Extension = str | int | float | list[str] | list[dict[str, str]]


class ServiceError(Exception):
    """A request that gets no result; `detail` says what was expected, what came, what to do."""

    status: ClassVar[int]
    title: ClassVar[str]
    retry_after_s: ClassVar[int | None] = None

    def __init__(self, detail: str, extensions: dict[str, Extension] | None = None) -> None:
        """`extensions` become further members of the problem document."""
        super().__init__(detail)
        self.detail = detail
        self.extensions = extensions or {}


class MalformedJson(ServiceError):
    """The body is not JSON."""

    status, title = 400, "Malformed JSON"


class MalformedMessage(ServiceError):
    """The bytes of a gRPC call are not the message that it takes."""

    status, title = 400, "Malformed message"


class UnknownModel(ServiceError):
    """No model of that name is served."""

    status, title = 404, "Unknown model"


class NoRow(ServiceError):
    """The live vector set has no row of the one product asked about, or a corrupt one."""

    status, title = 404, "No row"


class Unauthorized(ServiceError):
    """A request without a good API key, or an admin call without the admin token."""

    status, title = 401, "Unauthorized"


class UnknownVersion(ServiceError):
    """No version of that name is published or served, or there is none to go back to."""

    status, title = 404, "Unknown version"


class VersionRefused(ServiceError):
    """Not every worker could load and verify the version, or nothing changes by the call."""

    status, title = 409, "Version refused"


class TooLarge(ServiceError):
    """The body or the candidate list is above its limit."""

    status, title = 413, "Request too large"


class UnsupportedEncoding(ServiceError):
    """The body is compressed."""

    status, title = 415, "Unsupported content encoding"


class InvalidField(ServiceError):
    """The body is JSON, but a field is missing, unknown or of the wrong kind."""

    status, title = 422, "Invalid field"


class Shed(ServiceError):
    """Refused at once, because admitting it would make everybody late."""

    status, title, retry_after_s = 429, "Too many candidates in flight", 1


class NotReady(ServiceError):
    """The model was refused when it was loaded, or has no vector set to score with."""

    status, title, retry_after_s = 503, "Not ready", 1


class StoreDown(ServiceError):
    """The vector store did not answer."""

    status, title, retry_after_s = 503, "Vector store unavailable", 1


class DeadlineExceeded(ServiceError):
    """A strict request could not be scored in time, or an explanation not be finished."""

    status, title = 504, "Deadline exceeded"


def problem(error: ServiceError) -> Response:
    """The problem document of a ServiceError."""
    slug = error.title.lower().replace(" ", "-")
    return problem_response(
        error.status, slug, error.title, error.detail, error.extensions, error.retry_after_s
    )


def problem_response(
    status: int,
    slug: str,
    title: str,
    detail: str,
    extensions: dict[str, Extension],
    retry_after_s: int | None = None,
) -> Response:
    """A response of type application/problem+json."""
    body = {
        "type": f"urn:winnow:problem:{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        **extensions,
    }
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return Response(orjson.dumps(body), status, headers, media_type="application/problem+json")
