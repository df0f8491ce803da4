"""Admin calls, on a port of their own with a token of their own: what is served, and changing it.

They are answered by the process of `winnow serve`, which knows all workers; no worker has them.
"""

import hmac
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import orjson
import uvicorn
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from model_store.errors import BundleNotFound
from model_store.manifest import Version
from model_store.registry import find
from model_store.rollout import BesideRole, Rollout, Share
from service.bodies import read_body, refusal
from service.connection import STATE, Connection, Limits
from service.coordinator import ChangeRefused, Coordinator
from service.errors import (
    ServiceError,
    UnknownModel,
    UnknownVersion,
    VersionRefused,
    problem_response,
)
from service.guard import unauthorized
from service.problems import internal_problem, service_problem
from service.settings import Settings, SettingsError

_MOST_BODY_BYTES = 4096
_SHORTEST_TOKEN = 16
_CALLS = (
    "GET /v1/models, POST /v1/models/NAME/activate, POST /v1/models/NAME/rollback, "
    "PUT and DELETE /v1/models/NAME/canary and /v1/models/NAME/shadow"
)
Content = TypeVar("Content", bound=BaseModel)


class ActivateRequest(BaseModel):
    """Body of `POST /v1/models/NAME/activate`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Version


class Calls:
    """The handlers; a change blocks in a thread until all workers have it, or none."""

    def __init__(self, settings: Settings, coordinator: Coordinator) -> None:
        """`coordinator` changes what is served; the registry of `settings` says what could be."""
        self._root = settings.bundles
        self._coordinator = coordinator

    async def get_models(self, _: Request) -> Response:
        """Every served model with its versions, and what each worker says."""
        return _json(await run_in_threadpool(self._state))

    async def post_activate(self, request: Request) -> Response:
        """Serves a version in all workers, then names it in the registry."""
        name = self._served(request)
        body = await _body(ActivateRequest, request)
        return await self._changed(name, lambda: self._coordinator.activate(name, body.version))

    async def post_rollback(self, request: Request) -> Response:
        """Serves the version that was active before."""
        name = self._served(request)
        return await self._changed(name, lambda: self._coordinator.rollback(name))

    async def put_beside(self, request: Request) -> Response:
        """Names the canary or the shadow and its share."""
        name, role = self._served(request), _role(request)
        share = await _body(Share, request)
        return await self._changed(name, lambda: self._coordinator.beside(name, role, share))

    async def delete_beside(self, request: Request) -> Response:
        """Ends the canary or the shadow."""
        name, role = self._served(request), _role(request)
        return await self._changed(name, lambda: self._coordinator.beside(name, role, None))

    async def _changed(self, name: str, change: Callable[[], Rollout]) -> Response:
        try:
            rollout = await run_in_threadpool(change)
        except ChangeRefused as error:
            raise VersionRefused(f"{error}. What was served before goes on.") from error
        except BundleNotFound as error:
            raise UnknownVersion(str(error)) from error
        return _json({"model": name, **rollout.model_dump()})

    def _served(self, request: Request) -> str:
        name: str = request.path_params["name"]
        served = list(self._coordinator.state().agenda.serving.models)
        if name not in served:
            raise UnknownModel(
                f"no model named {name!r} is served here; served: {', '.join(served)}",
                {"models": served},
            )
        return name

    def _state(self) -> dict[str, object]:
        state = self._coordinator.state()
        models = []
        for name, rollout in state.agenda.serving.models.items():
            registry = find(self._root, name)
            refused = state.agenda.refusals.get(name)
            models.append(
                {
                    "name": name,
                    **rollout.model_dump(),
                    "versions": registry.versions,
                    "current": registry.current,
                    "previous": registry.previous,
                    "refused": refused and refused.model_dump(),
                }
            )
        number = state.agenda.serving.number
        workers = [
            {**report.model_dump(), "state": "serving" if report.serving == number else "starting"}
            for report in state.workers
        ]
        return {"plan": number, "models": models, "workers": workers}


class BearerToken:
    """Lets nobody through without the token; compared in constant time."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        """Wraps the application."""
        self._app = app
        self._expected = b"Bearer " + token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http":
            got = next((v for k, v in scope["headers"] if k == b"authorization"), b"")
            if not hmac.compare_digest(got, self._expected):
                detail = "expected Authorization: Bearer with the admin token"
                await unauthorized(detail, given=bool(got))(scope, receive, send)
                return
        await self._app(scope, receive, send)


class AdminServer:
    """Listens from the start on; runs in a thread until it is closed."""

    def __init__(self, settings: Settings, coordinator: Coordinator) -> None:
        """Takes the port.

        Raises:
            SettingsError: the token can't be read or is too short, or the port is taken.
        """
        app = admin_app(settings, coordinator, read_token(settings))
        address = (settings.admin_host, settings.admin_port or 0)
        try:
            self._socket = socket.create_server(address)
        except OSError as error:
            raise SettingsError(
                f"WINNOW_ADMIN_PORT: can't listen on {address[0]}:{address[1]}: {error.strerror}"
            ) from error
        config = uvicorn.Config(
            app,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            http=Connection,
            ws="none",
            log_config=None,  # its lines go where those of the whole process go
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="winnow-admin", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answers no more."""
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._socket.close()


def admin_app(settings: Settings, coordinator: Coordinator, token: str) -> ASGIApp:
    """The application of the admin port."""
    calls = Calls(settings, coordinator)
    model = "/v1/models/{name}"

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Limits]]:
        yield {STATE: Limits.of(settings)}

    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/v1/models", calls.get_models, methods=["GET"]),
            Route(f"{model}/activate", calls.post_activate, methods=["POST"]),
            Route(f"{model}/rollback", calls.post_rollback, methods=["POST"]),
            Route(f"{model}/{{role}}", calls.put_beside, methods=["PUT"]),
            Route(f"{model}/{{role}}", calls.delete_beside, methods=["DELETE"]),
        ],
        exception_handlers={
            ServiceError: service_problem,
            HTTPException: _unknown_call,
            Exception: internal_problem,
        },
    )
    return BearerToken(app, token)


def read_token(settings: Settings) -> str:
    """The admin token, from its file.

    Raises:
        SettingsError: the file can't be read, or holds fewer than 16 characters.
    """
    path = settings.admin_token_file
    try:
        token = path.read_text(encoding="ascii").strip() if path is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"WINNOW_ADMIN_TOKEN_FILE: {path}: can't be read: {error}") from error
    if len(token) < _SHORTEST_TOKEN:
        raise SettingsError(
            f"WINNOW_ADMIN_TOKEN_FILE: {path}: expected a token of {_SHORTEST_TOKEN} characters "
            f"or more, got {len(token)}"
        )
    return token


def _role(request: Request) -> BesideRole:
    role = request.path_params["role"]
    if role == "canary":
        return "canary"
    if role == "shadow":
        return "shadow"
    raise HTTPException(404)


async def _body(model: type[Content], request: Request) -> Content:
    try:
        return model.model_validate_json(await read_body(request, _MOST_BODY_BYTES))
    except ValidationError as error:
        raise refusal(error) from error


async def _unknown_call(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    title = "Method not allowed" if status == 405 else "Not found"
    return problem_response(
        status, title.lower().replace(" ", "-"), title, f"the admin calls are {_CALLS}", {}
    )


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
