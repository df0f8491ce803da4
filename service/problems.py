"""Exception handlers: whatever a handler raises becomes a problem document."""

import logging

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.errors import ServiceError, problem, problem_response

log = logging.getLogger("winnow.app")


async def service_problem(_: Request, error: Exception) -> Response:
    """Of a ServiceError."""
    assert isinstance(error, ServiceError)  # noqa: S101 - Starlette dispatches by this class
    return problem(error)


async def http_problem(_: Request, error: Exception) -> Response:
    """Of an unknown path or method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette dispatches by this class
    slug = error.detail.lower().replace(" ", "-")
    detail = f"{error.detail}: the endpoints are listed at /docs"
    response = problem_response(error.status_code, slug, error.detail, detail, {})
    response.headers.update(error.headers or {})
    return response


async def internal_problem(_: Request, error: Exception) -> Response:
    """Of anything else: the log has it, the answer doesn't."""
    log.error("unexpected error", exc_info=error)
    return problem_response(
        500, "internal-error", "Internal error", "an unexpected error; the log has it", {}
    )
