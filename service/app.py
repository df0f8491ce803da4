"""The ASGI application: routes, problem documents and the request metrics around them."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from time import perf_counter

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import metrics
from service.errors import ServiceError, problem, problem_response
from service.routes import router
from service.settings import Settings, read_settings
from service.worker import Worker

log = logging.getLogger("winnow.app")


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application of one worker process; settings come from the environment by default.

    Raises:
        SettingsError, ModelStoreError, StoreError: it could not serve with these settings.
    """
    worker = Worker(settings or read_settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with worker.running():
            yield

    app = FastAPI(
        title="Winnow",
        version=version("winnow-relevance"),
        summary="Relevance of products to a query: ids in, scores out",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.worker = worker
    app.include_router(router)
    app.add_exception_handler(ServiceError, _service_problem)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(Exception, _internal_problem)
    app.add_middleware(RequestMetrics)
    return app


class RequestMetrics:
    """Observes the duration of every request, by known path and status code."""

    def __init__(self, app: ASGIApp) -> None:
        """Wraps the application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything through, watching for the status."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        code = 500

        async def watch(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            # An unknown path is no label: anybody could make as many as they like.
            path = scope["path"] if scope.get("route") is not None else "other"
            metrics.REQUESTS.labels(path, str(code)).observe(perf_counter() - started)


async def _service_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101 - Starlette dispatches by this class
    return problem(error)


async def _http_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette dispatches by this class
    slug = error.detail.lower().replace(" ", "-")
    detail = f"{error.detail}: the endpoints are listed at /docs"
    response = problem_response(error.status_code, slug, error.detail, detail, {})
    response.headers.update(error.headers or {})
    return response


async def _internal_problem(_: Request, error: Exception) -> Response:
    log.error("unexpected error", exc_info=error)
    return problem_response(
        500, "internal-error", "Internal error", "an unexpected error; the log has it", {}
    )
