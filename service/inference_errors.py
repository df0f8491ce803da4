"""Errors as the Open Inference Protocol has them: `{"error": "what was expected, what came"}`."""

import orjson
from starlette.responses import Response

GRPC_SERVICE = "/inference.GRPCInferenceService/"


def speaks_inference(path: str) -> bool:
    """Whether who asks for this path is a client of the protocol."""
    return path == "/v2" or path.startswith(("/v2/health/", "/v2/models/", GRPC_SERVICE))


def inference_error(status: int, detail: str, retry_after_s: int | None = None) -> Response:
    """The error of an answer over HTTP; over gRPC its status and text are used."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    body = orjson.dumps({"error": detail})
    return Response(body, status, headers, media_type="application/json")
