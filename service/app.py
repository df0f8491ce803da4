"""The ASGI application: routes, problem documents, and what is observed around them.

What scores is answered before FastAPI's middlewares and routing, which cost about as much of the
event loop as reading a request of 1,000 candidates and writing its answer. They are FastAPI routes
all the same, for the OpenAPI document.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service import about, explain, inference_routes, rerank
from service.connection import STATE, Limits
from service.drain import Drain
from service.errors import ServiceError, problem
from service.guard import KeyGuard
from service.metrics import RERANK_PATHS
from service.observed import Observed, open_traces
from service.problems import http_problem, internal_problem, service_problem
from service.request_log import RequestLog
from service.routes import post_filter, post_score, router
from service.settings import Settings, read_settings
from service.worker import Worker

log = logging.getLogger("winnow.app")


def create_app(
    settings: Settings | None = None,
    beside: APIRouter | None = None,
    open_paths: frozenset[str] = frozenset(),
) -> ASGIApp:
    """The application of one worker process; settings come from the environment by default.

    Args:
        settings: instead of those of the environment.
        beside: further routes, observed and guarded as the service's own.
        open_paths: those of its paths that need no API key.

    Raises:
        SettingsError, ModelStoreError, StoreError: it could not serve with these settings.
    """
    settings = settings or read_settings()
    traces = open_traces(settings)
    worker = Worker(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Limits]]:
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(worker.running())
                if settings.grpc_port is not None:
                    await stack.enter_async_context(grpc_calls(settings.grpc_port))
                yield {STATE: Limits.of(settings)}
        finally:
            if traces is not None:
                await run_in_threadpool(traces.close)

    app = FastAPI(
        title="Winnow",
        version=version("winnow-relevance"),
        summary="Relevance of products to a query: ids in, scores out",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.worker = worker
    app.include_router(router)
    app.include_router(explain.router)
    app.include_router(rerank.router)
    app.include_router(about.router)
    app.include_router(inference_routes.router)
    if beside is not None:
        app.include_router(beside)
    app.add_exception_handler(ServiceError, service_problem)
    app.add_exception_handler(HTTPException, http_problem)
    app.add_exception_handler(Exception, internal_problem)

    def around(inner: ASGIApp) -> ASGIApp:
        guarded = inner if worker.keyring is None else KeyGuard(inner, worker.keyring, open_paths)
        return Observed(guarded, RequestLog.of(settings), worker.drain, traces)

    def grpc_calls(port: int) -> AbstractAsyncContextManager[None]:
        from service.inference_grpc import Calls, serving_grpc  # noqa: PLC0415 - gRPC is optional

        return serving_grpc(around(Calls(app)), settings, port)

    return around(Front(app))


class Front:
    """Answers the endpoints of the request path itself, and hands on everything else."""

    def __init__(self, app: FastAPI) -> None:
        """In front of the application that has all other routes, and the lifespan."""
        self._app = app
        self._drain: Drain = app.state.worker.drain
        self._handlers = {
            **{"/score": post_score, "/filter": post_filter},
            **dict.fromkeys(RERANK_PATHS, rerank.post_rerank),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; errors become the same problem documents as behind FastAPI."""
        handler = self._handlers.get(scope.get("path", "")) if _is_post(scope) else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        self._drain.note_request()
        scope["app"] = self._app
        scope["route"] = handler
        request = Request(scope, receive)
        try:
            response = await handler(request)
        except ServiceError as error:
            response = problem(error)
        except ClientDisconnect:
            return  # nobody is there to read an answer
        except Exception as error:  # as behind FastAPI: logged, and a 500
            response = await internal_problem(request, error)
        await response(scope, receive, send)


def _is_post(scope: Scope) -> bool:
    return bool(scope["type"] == "http" and scope["method"] == "POST")
