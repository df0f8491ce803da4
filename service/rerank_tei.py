"""The shape of Text Embeddings Inference: `texts` -> a bare array, and errors of its own form."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from service.answering import Answer
from service.bodies import server_timing
from service.errors import DeadlineExceeded, NotReady, ServiceError, Shed, StoreDown
from service.rerank_request import DeadlineMs, Rerank, RerankOptions, ranking


class TeiRequest(BaseModel):
    """Body of a rerank request with `texts`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    query: str = Field(description="what the shopper typed", examples=["red running shoes"])
    texts: list[str] = Field(
        description="texts, or with ?documents=ids product ids",
        examples=[["Trail running shoes, red", "Desk lamp"]],
    )
    raw_scores: bool = Field(
        default=False, description="log-odds in place of probabilities: sigmoid gives them back"
    )
    return_text: bool = Field(default=False, description="repeat each text in its result")
    truncate: bool | None = Field(None, description="a student always cuts a text that is too long")
    truncation_direction: Literal["Right", "right"] = Field(
        "Right", description="a student reads the first words"
    )
    model: str | None = Field(None, description="served model; the default one where absent")
    top_n: Annotated[int, Field(ge=0)] | None = Field(
        None, description="most results; all where absent"
    )
    deadline_ms: DeadlineMs = Field(None, description="time for this request; Winnow's own field")


class TeiResult(BaseModel):
    """One text of the answer."""

    index: int
    score: float
    text: str | None = None


class EngineResult(BaseModel):
    """One text of the answer with format=opensearch."""

    index: int
    relevance_score: float


class TeiError(BaseModel):
    """An error as Text Embeddings Inference says it."""

    error: str
    error_type: Literal["Validation", "Overloaded", "Unhealthy", "Backend"]


_ERRORS: Final[Mapping[type[ServiceError], tuple[str, int]]] = {
    Shed: ("Overloaded", 429),
    NotReady: ("Unhealthy", 503),
    StoreDown: ("Unhealthy", 503),
    DeadlineExceeded: ("Backend", 424),
}


def decode(body: TeiRequest, options: RerankOptions) -> Rerank:
    """Texts to candidates."""
    return Rerank.of(
        options,
        body.texts,
        query=body.query,
        model=body.model,
        deadline_ms=body.deadline_ms,
        top_n=body.top_n,
        raw=body.raw_scores,
    )


def encode(
    request: Request,  # noqa: ARG001 - every shape is told of it
    body: TeiRequest,
    rerank: Rerank,
    options: RerankOptions,
    answer: Answer,
) -> Response:
    """The array; model, version and coverage, for which it has no place, stand in headers."""
    order, scores = ranking(answer.scored, rerank, options)
    key = "relevance_score" if options.every_index else "score"
    results: list[dict[str, object]] = [
        {"index": index, key: score} for index, score in zip(order, scores, strict=True)
    ]
    if body.return_text and not options.every_index:
        for result, index in zip(results, order, strict=True):
            result["text"] = body.texts[index]
    return Response(
        orjson.dumps(results, option=orjson.OPT_SERIALIZE_NUMPY),
        headers=_headers(answer, sum(map(len, body.texts))),
        media_type="application/json",
    )


def _headers(answer: Answer, characters: int) -> dict[str, str]:
    """Milliseconds are whole there, as TEI has them; `Server-Timing` has the stages in full."""
    stages = answer.stages_s
    waited = stages.get("wait", 0.0)
    computed = sum(stages.get(stage, 0.0) for stage in ("query", "texts", "rows", "head"))
    return {
        "x-compute-type": "cpu",
        "x-compute-characters": str(characters),
        "x-compute-time": str(round(computed * 1e3)),
        "x-inference-time": str(round(computed * 1e3)),
        "x-queue-time": str(round(waited * 1e3)),
        "x-total-time": str(round(sum(stages.values()) * 1e3)),
        "X-Winnow-Model": answer.manifest.name,
        "X-Winnow-Version": answer.manifest.version,
        "X-Winnow-Coverage": orjson.dumps(answer.covered).decode(),
        **server_timing(stages),
    }


def refuse(error: ServiceError) -> Response:
    """`{error, error_type}`; a deadline that struck is what TEI calls a failed inference, 424."""
    kind, status = _ERRORS.get(type(error), ("Validation", error.status))
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    content = orjson.dumps({"error": error.detail, "error_type": kind})
    return Response(content, status, headers, media_type="application/json")
