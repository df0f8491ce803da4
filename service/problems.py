"""Exception handlers: whatever a handler raises becomes a problem document, or a V2 error."""

import logging

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.errors import ServiceError, problem, problem_response
from service.inference_errors import inference_error, speaks_inference

log = logging.getLogger("winnow.app")


async def service_problem(request: Request, error: Exception) -> Response:
    """Of a ServiceError."""
    assert isinstance(error, ServiceError)  # noqa: S101 - Starlette dispatches by this class
    return error_answer(request.url.path, error)


def error_answer(path: str, error: ServiceError) -> Response:
    """A ServiceError in the form that clients of this path expect."""
    if speaks_inference(path):
        return inference_error(error.status, error.detail, error.retry_after_s)
    return problem(error)


async def http_problem(request: Request, error: Exception) -> Response:
    """Of an unknown path or method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette dispatches by this class
    slug = error.detail.lower().replace(" ", "-")
    detail = f"{error.detail}: the endpoints are listed at /docs"
    if speaks_inference(request.url.path):
        response = inference_error(error.status_code, detail)
    else:
        response = problem_response(error.status_code, slug, error.detail, detail, {})
    response.headers.update(error.headers or {})
    return response


async def internal_problem(request: Request, error: Exception) -> Response:
    """Of anything else: the log has it, the answer doesn't."""
    log.error("unexpected error", exc_info=error)
    detail = "an unexpected error; the log has it"
    if speaks_inference(request.url.path):
        return inference_error(500, detail)
    return problem_response(500, "internal-error", "Internal error", detail, {})
