"""The shape of Cohere (v1 and v2) and Jina, whom one answer serves: `documents` -> `results`."""

from typing import Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from starlette.requests import Request
from starlette.responses import Response

from service.answering import Answer
from service.bodies import invalid, server_timing
from service.request_facts import facts_of
from service.rerank_request import DeadlineMs, Rerank, RerankOptions, ranking, without_row
from service.schemas import Coverage

Document = str | dict[str, JsonValue]
Count = Annotated[int, Field(ge=0)] | None


class CohereRequest(BaseModel):
    """Body of a rerank request with `documents`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    query: str = Field(description="what the shopper typed", examples=["red running shoes"])
    documents: list[Document] = Field(
        description="texts, objects with a `text`, or with ?documents=ids product ids",
        examples=[["Trail running shoes, red", "Desk lamp"]],
    )
    model: str | None = Field(None, description="served model; the default one where absent")
    top_n: Count = Field(None, description="most results; all where absent")
    return_documents: bool | None = Field(None, description="repeat each document in its result")
    rank_fields: list[str] | None = Field(
        None, description="fields of document objects to read instead of `text`, joined by a space"
    )
    raw_scores: bool = Field(
        default=False, description="log-odds in place of probabilities, as Infinity has them"
    )
    max_tokens_per_doc: Count = Field(None, description="accepted and not used")
    max_chunks_per_doc: Count = Field(None, description="accepted and not used")
    priority: int | None = Field(None, description="accepted and not used")
    truncation: bool | None = Field(None, description="accepted and not used")
    deadline_ms: DeadlineMs = Field(None, description="time for this request; Winnow's own field")


UNUSED = ("max_tokens_per_doc", "max_chunks_per_doc", "priority", "truncation")


class Result(BaseModel):
    """One document of the answer."""

    index: int
    relevance_score: float
    document: dict[str, JsonValue] | None = None


class Meta(BaseModel):
    """What is said beside the results; `missing`: indices of product ids that have no row."""

    api_version: dict[str, str]
    billed_units: dict[str, int]
    version: str
    coverage: Coverage
    missing: list[int]
    warnings: list[str] | None = None


class CohereResponse(BaseModel):
    """Answer to `documents`: Cohere's and Jina's fields; nothing is billed, so units are 0."""

    id: str
    model: str
    results: list[Result]
    meta: Meta
    usage: dict[str, int]


def decode(body: CohereRequest, options: RerankOptions) -> Rerank:
    """Documents to candidates.

    Raises:
        InvalidField: a document object has no text to read.
    """
    fields = tuple(body.rank_fields or ("text",))
    strings = [
        document if isinstance(document, str) else _text(document, fields, place)
        for place, document in enumerate(body.documents)
    ]
    return Rerank.of(
        options,
        strings,
        query=body.query,
        model=body.model,
        deadline_ms=body.deadline_ms,
        top_n=body.top_n,
        raw=body.raw_scores,
    )


def _text(document: dict[str, JsonValue], fields: tuple[str, ...], place: int) -> str:
    values = []
    for field in fields:
        value = document.get(field)
        if not isinstance(value, str):
            raise invalid(
                f"documents.{place}.{field}",
                "expected a text: give the object one, or name the fields to read in rank_fields",
            )
        values.append(value)
    return " ".join(values)


def encode(
    request: Request, body: CohereRequest, rerank: Rerank, options: RerankOptions, answer: Answer
) -> Response:
    """The answer; of an engine's form only `index` and `relevance_score` are in a result."""
    manifest, scored = answer.manifest, answer.scored
    order, scores = ranking(scored, rerank, options)
    results: list[dict[str, object]] = [
        {"index": index, "relevance_score": score}
        for index, score in zip(order, scores, strict=True)
    ]
    if body.return_documents and not options.every_index:
        for result, index in zip(results, order, strict=True):
            document = body.documents[index]
            result["document"] = {"text": document} if isinstance(document, str) else document
    meta: dict[str, object] = {
        "api_version": {"version": "1" if request.url.path.startswith("/v1/") else "2"},
        "billed_units": {"search_units": 0},
        "version": manifest.version,
        "coverage": answer.covered,
        "missing": without_row(scored),
    }
    unused = [name for name in UNUSED if getattr(body, name) is not None]
    if unused:
        meta["warnings"] = [f"not used: {', '.join(unused)}; a student has its own limits"]
    content = {
        "id": facts_of(request).request_id,
        "model": manifest.name,
        "results": results,
        "meta": meta,
        "usage": {"total_tokens": 0, "prompt_tokens": 0},
    }
    return Response(
        orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY),
        headers=server_timing(answer.stages_s),
        media_type="application/json",
    )
