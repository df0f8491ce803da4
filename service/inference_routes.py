"""The Open Inference Protocol (V2) over HTTP: docs/inference-protocol.md."""

from functools import partial
from time import perf_counter
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.about import require_ready
from service.bodies import read_body
from service.errors import ServiceError
from service.inference import infer, model_metadata, model_ready, server_metadata
from service.inference_body import HEADER, decode, encode
from service.inference_schemas import (
    InferenceError,
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from service.openapi import json_body
from service.worker import Worker

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

_ERROR: Final[dict[str, Any]] = {"model": InferenceError}
_NOT_FOUND: Final[dict[int | str, dict[str, Any]]] = {404: _ERROR}
_INFER: Final[dict[str, Any]] = {
    "summary": "Scores of candidates",
    "openapi_extra": {
        **json_body(InferenceRequest),
        "parameters": [
            {
                **{"name": HEADER, "in": "header", "required": False},
                "description": "bytes of JSON at the head of the body, where tensors follow it",
                "schema": {"type": "string"},
            }
        ],
    },
    "responses": {
        **dict.fromkeys((400, 404, 413, 415, 422, 429, 503, 504), _ERROR),
        200: {
            "model": InferenceResponse,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        },
    },
}


@router.get("", summary="This server", response_model=ServerMetadata)
async def get_server() -> ServerMetadata:
    """Name, version and extensions."""
    return server_metadata()


@router.get("/health/live", summary="Live", response_model=ServerLive)
async def get_live() -> ServerLive:
    """As `/healthz`."""
    return ServerLive(live=True)


@router.get(
    "/health/ready",
    summary="Ready",
    response_model=ServerReady,
    responses={503: {"model": ServerReady}},
)
async def get_ready(request: Request) -> Response:
    """As `/readyz`."""
    try:
        require_ready(request.app.state.worker)
    except ServiceError as error:
        return JSONResponse({"ready": False}, error.status)
    return JSONResponse({"ready": True})


@router.get(
    "/models/{model}",
    summary="Tensors and versions of a model",
    response_model=ModelMetadata,
    responses=_NOT_FOUND,
)
async def get_model(request: Request, model: str) -> ModelMetadata:
    """Shapes have -1 for any number of candidates."""
    return model_metadata(request.app.state.worker, model, None)


@router.get(
    "/models/{model}/versions/{version}",
    summary="Tensors and versions of a model",
    response_model=ModelMetadata,
    responses=_NOT_FOUND,
)
async def get_model_version(request: Request, model: str, version: str) -> ModelMetadata:
    """Of the active version or the canary."""
    return model_metadata(request.app.state.worker, model, version)


@router.get(
    "/models/{model}/ready",
    summary="Whether a model can score",
    response_model=ModelReady,
    responses={**_NOT_FOUND, 503: {"model": ModelReady}},
)
async def get_model_ready(request: Request, model: str) -> Response:
    """The version that is active."""
    return _readiness(request.app.state.worker, model, None)


@router.get(
    "/models/{model}/versions/{version}/ready",
    summary="Whether a version of a model can score",
    response_model=ModelReady,
    responses={**_NOT_FOUND, 503: {"model": ModelReady}},
)
async def get_model_version_ready(request: Request, model: str, version: str) -> Response:
    """The active version or the canary."""
    return _readiness(request.app.state.worker, model, version)


@router.post("/models/{model}/infer", **_INFER)
async def post_infer(request: Request, model: str) -> Response:
    """By the active version or, for its share of the requests, the canary."""
    return await _infer(request, model, None)


@router.post("/models/{model}/versions/{version}/infer", **_INFER)
async def post_infer_version(request: Request, model: str, version: str) -> Response:
    """By the version that is named: the active one or the canary."""
    return await _infer(request, model, version)


async def _infer(request: Request, model: str, version: str | None) -> Response:
    arrived = perf_counter()
    worker: Worker = request.app.state.worker
    worker.drain.note_request()
    body = await read_body(request, worker.settings.max_body_bytes)
    asked, binary = decode(body, request.headers.get(HEADER), model)
    encoder = partial(encode, binary=binary)
    return await infer(request, model, version, asked, encoder, arrived)


def _readiness(worker: Worker, model: str, version: str | None) -> Response:
    ready = model_ready(worker, model, version)
    return JSONResponse({"name": model, "ready": ready}, 200 if ready else 503)
