"""Request and response bodies: these models validate requests and document responses."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from model_store.head_kernel import KernelPath
from model_store.manifest import GraphName, Precision, SortMode

# Characters; the store's limit is 256 bytes of UTF-8, so a longer id can't exist.
ProductId = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Score = Annotated[float, Field(ge=0.0, le=1.0)]
DegradedReason = Literal["missing_product", "corrupt_row", "deadline", "store_error", "shed"]


class CandidatesRequest(BaseModel):
    """What both endpoints take: a query and its candidates."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    query: str = Field(description="what the shopper typed", examples=["red running shoes"])
    product_ids: list[ProductId] = Field(
        description="candidates, in the caller's order; duplicates are allowed",
        examples=[["p0001", "p0002"]],
    )
    model: str | None = Field(None, description="served model; the default one where absent")
    deadline_ms: Annotated[float, Field(gt=0, le=60_000)] | None = Field(
        None, description="time for this request, counted from its arrival"
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
