"""`/rerank` as Cohere, Jina, TEI and search engines ask for it: decode, call, encode, per shape.

A body with `documents` is Cohere's or Jina's, one with `texts` is TEI's. Shadow versions do not see
these requests; a canary sees its share, as of `/score`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Generic, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service import rerank_cohere, rerank_tei
from service.answering import Answer, score_candidates
from service.bodies import read_body, refusal
from service.errors import InvalidField, ServiceError, problem
from service.metrics import RERANK_PATHS
from service.openapi import PROBLEM
from service.request_facts import facts_of
from service.rerank_cohere import CohereRequest, CohereResponse
from service.rerank_request import (
    Rerank,
    RerankOptions,
    check_limits,
    check_whole,
    json_object,
    read_options,
)
from service.rerank_tei import EngineResult, TeiError, TeiRequest, TeiResult
from service.worker import Worker

router = APIRouter()
Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Shape(Generic[Body]):
    """One way to ask: its body, that body as a request, its answer, its errors."""

    body: type[Body]
    decode: Callable[[Body, RerankOptions], Rerank]
    encode: Callable[[Request, Body, Rerank, RerankOptions, Answer], Response]
    refuse: Callable[[ServiceError], Response]


_COHERE: Final = Shape(CohereRequest, rerank_cohere.decode, rerank_cohere.encode, problem)
_TEI: Final = Shape(TeiRequest, rerank_tei.decode, rerank_tei.encode, rerank_tei.refuse)


async def post_rerank(request: Request) -> Response:
    """Scores of texts or products for a query, best first; the body's keys choose the shape."""
    arrived = perf_counter()
    worker: Worker = request.app.state.worker
    options = read_options(request)
    document = json_object(await read_body(request, worker.settings.max_body_bytes))
    if ("texts" in document) == ("documents" in document):
        raise InvalidField(
            "expected `documents` (as Cohere and Jina) or `texts` (as Text Embeddings Inference), "
            "one of them"
        )
    if "texts" in document:
        return await _answer(request, _TEI, document, options, arrived)
    return await _answer(request, _COHERE, document, options, arrived)


async def _answer(
    request: Request,
    shape: Shape[Body],
    document: dict[str, object],
    options: RerankOptions,
    arrived: float,
) -> Response:
    worker: Worker = request.app.state.worker
    try:
        try:
            body = shape.body.model_validate(document)
        except ValidationError as error:
            raise refusal(error) from error
        rerank = shape.decode(body, options)
        check_limits(rerank, worker.settings)
        facts = facts_of(request)
        facts.candidates, facts.query = len(rerank.candidates), rerank.asked.query
        path = request.url.path
        answer = await score_candidates(request, path, rerank.asked, rerank.candidates, arrived)
        check_whole(answer.scored)
    except ServiceError as error:
        return shape.refuse(error)
    return shape.encode(request, body, rerank, options, answer)


_EITHER_ERROR: Final[dict[str, Any]] = {
    "description": f"{PROBLEM['description']} For `texts`: {TeiError.__doc__}",
    "content": {
        **PROBLEM["content"],
        "application/json": {"schema": TeiError.model_json_schema()},
    },
}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    **dict.fromkeys((400, 404, 413, 415, 422, 424, 429, 503, 504), _EITHER_ERROR),
    200: {"model": CohereResponse | list[TeiResult] | list[EngineResult]},
}
_OPTIONS: Final = RerankOptions.model_json_schema()["properties"]
_OPENAPI: Final[dict[str, Any]] = {
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in _OPTIONS.items()
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [CohereRequest.model_json_schema(), TeiRequest.model_json_schema()]
                }
            }
        },
    },
}
for _path in RERANK_PATHS:
    router.post(
        _path,
        summary="Texts or products by relevance, as Cohere, Jina, TEI and OpenSearch ask",
        openapi_extra=_OPENAPI,
        responses=_RESPONSES,
        operation_id=f"post{_path.replace('/', '_')}",
    )(post_rerank)
