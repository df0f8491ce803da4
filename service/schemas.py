"""Request and response bodies: these models validate requests and document responses."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from model_store.head_kernel import KernelPath
from model_store.manifest import GraphName, Precision, SortMode
from model_store.words import WordStatus

# Characters; the store's limit is 256 bytes of UTF-8, so a longer id can't exist.
ProductId = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Score = Annotated[float, Field(ge=0.0, le=1.0)]
DegradedReason = Literal["missing_product", "corrupt_row", "deadline", "store_error", "shed"]


class QueryRequest(BaseModel):
    """What every scoring endpoint takes."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    query: str = Field(description="what the shopper typed", examples=["red running shoes"])
    model: str | None = Field(None, description="served model; the default one where absent")
    deadline_ms: Annotated[float, Field(gt=0, le=60_000)] | None = Field(
        None, description="time for this request, counted from its arrival"
    )


class CandidatesRequest(QueryRequest):
    """A query and its candidates."""

    product_ids: list[ProductId] = Field(
        description="candidates, in the caller's order; duplicates are allowed",
        examples=[["p0001", "p0002"]],
    )


class ScoreRequest(CandidatesRequest):
    """Body of `POST /score`."""

    raw: bool = Field(default=False, description="also answer with the uncalibrated scores")
    strict: bool = Field(
        default=False, description="504 instead of a partial answer at the deadline"
    )


class FilterRequest(CandidatesRequest):
    """Body of `POST /filter`."""

    sort: SortMode = Field(description="sort mode of the result page: chooses the threshold")
    threshold: Score | None = Field(None, description="overrides the sort mode's threshold")
    min_keep: Annotated[int, Field(ge=0)] = Field(
        0, description="keep at least so many: the best-scored ones come back first"
    )
    missing: Literal["keep", "drop", "last"] = Field(
        "keep", description="what happens to products that have no row"
    )
    sort_values: list[float | None] | None = Field(
        None, description="one value per product id: the answer is ordered by them, null last"
    )
    order: Literal["asc", "desc"] = Field("asc", description="direction of sort_values")


class ExplainRequest(QueryRequest):
    """Body of `POST /explain`: a query with a product, a title, or both."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("product_id", "title")
            ]
        }
    )

    product_id: ProductId | None = Field(
        None, description="its stored row is scored", examples=["p0001"]
    )
    title: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = Field(
        None, description="its words are explained; scored where there is no product_id"
    )

    @model_validator(mode="after")
    def _something_to_score(self) -> Self:
        if self.product_id is None and self.title is None:
            raise ValueError("expected product_id, title or both, got neither")
        return self


class Coverage(BaseModel):
    """How many candidates were scored, and why the others were not."""

    requested: int
    scored: int
    percent: float
    full: bool
    degraded: dict[DegradedReason, int]


class ScoreResponse(BaseModel):
    """Answer of `POST /score`; `scores` is aligned with `product_ids`, null = not scored."""

    model: str
    version: str
    scores: list[Score | None] = Field(description="calibrated probabilities on one absolute scale")
    raw_scores: list[Score | None] | None = Field(
        None, description="only where `raw` was asked for"
    )
    coverage: Coverage
    timings_ms: dict[str, float]


class FilterResponse(BaseModel):
    """Answer of `POST /filter`."""

    kept: list[str]
    removed: list[str]
    threshold: float
    sort: SortMode
    model: str
    version: str
    coverage: Coverage
    passed_through: bool = Field(
        description="true: could not score in time, so nothing was removed"
    )
    timings_ms: dict[str, float]


class RowStatus(BaseModel):
    """Where the row comes from that a product was scored with."""

    source: Literal["cache", "store", "encoded"] = Field(
        description="cache: in this worker's memory; encoded: from the title, for this answer"
    )
    encoded_at: datetime
    age_s: int
    matches_title: bool | None = Field(
        description="whether it is the row of the title; null unless id and title were given"
    )


class TokenStatus(BaseModel):
    """What one word adds to the score."""

    token: str = Field(description="the word, in the order of the text")
    contribution: float = Field(description="the score less that of the text without the word")
    log_odds: float = Field(description="the same of the log-odds of raw_score")
    status: WordStatus = Field(
        description="unknown: not in the vocabulary; cut: beyond the length that is read"
    )
    pieces: list[str] = Field(description="tokens of the student that the word is part of")


class ExplainResponse(BaseModel):
    """Answer of `POST /explain`."""

    model: str
    version: str
    product_id: str | None
    score: Score
    raw_score: Score
    thresholds: dict[SortMode, float]
    row: RowStatus
    query_tokens: list[TokenStatus]
    title_tokens: list[TokenStatus] | None = Field(description="null where no title was given")
    timings_ms: dict[str, float]


class Problem(BaseModel):
    """Problem document (RFC 9457) of every error answer."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str


class BesideStatus(BaseModel):
    """A canary or shadow version."""

    version: str
    share: float = Field(description="of the requests that it sees")
    ready: bool
    reason: str | None = Field(description="why it is not ready")
    vector_set: str | None


class RefusedVersion(BaseModel):
    """The last version that could not be served; what was served before goes on."""

    role: str = Field(description="active, canary or shadow")
    version: str
    reason: str


class ModelStatus(BaseModel):
    """One served model."""

    name: str
    version: str | None
    default: bool
    ready: bool
    reason: str | None = Field(description="why it is not ready")
    student: str | None
    vector_fingerprint: str | None
    vector_set: str | None
    products: int | None
    query_set: str | None = Field(description="vector set of stored query rows, where one is live")
    stored_queries: int | None
    thresholds: dict[SortMode, float] | None
    precision: dict[GraphName, Precision] | None = Field(
        description="precision that each graph runs in"
    )
    head_kernel: KernelPath | None = Field(
        description="code path of the fused head; null where the head runs on ONNX Runtime"
    )
    row_cache: str | None = Field(description="on, paused or off, and why")
    canary: BesideStatus | None
    shadow: BesideStatus | None
    refused: RefusedVersion | None


class Models(BaseModel):
    """Answer of `GET /v1/models`."""

    models: list[ModelStatus]


class Info(BaseModel):
    """Answer of `GET /info`."""

    version: str
    limits: dict[str, int]
    threads: dict[str, float]
    store: str
    models: list[ModelStatus]


class Health(BaseModel):
    """Answer of `GET /healthz` and `GET /readyz`."""

    status: str
