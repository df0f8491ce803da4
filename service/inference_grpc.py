"""The Open Inference Protocol over gRPC, on a port of its own. Extra: `grpc`.

gRPC is HTTP/2 with one message as the body of a POST. So each call goes, as such a request,
through what stands around every request (API keys, metrics, log, traces), and what comes back
becomes its message or its status.

Every worker listens on the same port (SO_REUSEPORT): a connection belongs to one of them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ServiceError
from service.inference import CLIENT_WAITS_MS
from service.inference_errors import GRPC_SERVICE
from service.inference_messages import HANDLERS
from service.problems import error_answer, internal_problem
from service.settings import Settings

STATUS_OF: Final[dict[int, grpc.StatusCode]] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.INVALID_ARGUMENT,  # to send it again would not help
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_IDLE_MS: Final = 300_000  # a connection without a call is kept so long


class Calls:
    """The application of gRPC calls: their handlers, and errors as the protocol has them."""

    def __init__(self, app: FastAPI) -> None:
        """`app` has the worker."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        handler = HANDLERS[scope["path"]]
        scope["app"] = self._app
        scope["route"] = handler
        request = Request(scope, receive)
        try:
            response = await handler(request)
        except ServiceError as error:
            response = error_answer(scope["path"], error)
        except Exception as error:  # as over HTTP: logged, and INTERNAL
            response = await internal_problem(request, error)
        await response(scope, receive, send)


class _Answer:
    """What an application sends for one call, and what it receives: its message, then its end."""

    def __init__(self, message: bytes) -> None:
        self.status = 500
        self.body = b""
        self.request_id = ""
        self.gone = asyncio.Event()
        self._message: bytes | None = message

    async def receive(self) -> Message:
        if self._message is None:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        body, self._message = self._message, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.request_id = dict(message["headers"])[b"x-request-id"].decode()
        else:
            self.body += message["body"]


class _Carrier:
    """Carries the calls of one path to the application; messages pass as bytes."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path
        self._running: set[asyncio.Task[None]] = set()

    async def call(self, message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        answer = _Answer(message)
        task = asyncio.create_task(self._run(_scope(self._path, context), answer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            await asyncio.shield(task)
        finally:
            # Where the client has gone, the work ends by itself, as over HTTP: what it holds of
            # the candidates in flight is given back when its thread is done.
            answer.gone.set()
        context.set_trailing_metadata((("x-request-id", answer.request_id),))
        if answer.status != 200:
            code = STATUS_OF.get(answer.status, grpc.StatusCode.UNKNOWN)
            await context.abort(code, orjson.loads(answer.body)["error"])
        return answer.body

    async def _run(self, scope: Scope, answer: _Answer) -> None:
        await self._app(scope, answer.receive, answer.send)


@asynccontextmanager
async def serving_grpc(app: ASGIApp, settings: Settings, port: int) -> AsyncIterator[None]:
    """Takes calls on the port; at the end, those that are under way are answered.

    Raises:
        RuntimeError: the port can't be had.
    """
    methods = {
        path.removeprefix(GRPC_SERVICE): grpc.unary_unary_rpc_method_handler(
            _Carrier(app, path).call
        )
        for path in HANDLERS
    }
    name = GRPC_SERVICE.strip("/")
    server = grpc.aio.server(
        handlers=(grpc.method_handlers_generic_handler(name, methods),),
        options=(
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.max_metadata_size", settings.max_header_bytes),
            ("grpc.server_handshake_timeout_ms", settings.client_timeout_s * 1000),
            ("grpc.max_connection_idle_ms", _IDLE_MS),
        ),
        maximum_concurrent_rpcs=settings.max_connections,
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    server.add_insecure_port(f"{host}:{port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(settings.client_timeout_s)


def _scope(path: str, context: grpc.aio.ServicerContext) -> Scope:
    headers = [
        (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
        for name, value in context.invocation_metadata() or ()
    ]
    scope: dict[str, Any] = {
        **{"type": "http", "http_version": "2", "method": "POST", "scheme": "http"},
        **{"path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers},
    }
    remaining_s = context.time_remaining()
    if remaining_s is not None:
        scope[CLIENT_WAITS_MS] = max(0.001, remaining_s * 1e3)
    return scope
