"""Route handlers: decode, call, encode. What is scored and what is kept is decided elsewhere."""

from functools import partial
from importlib.metadata import version
from time import perf_counter
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from model_store.manifest import Manifest
from service import metrics
from service.bodies import (
    Body,
    SortValues,
    binary_response,
    id_list,
    json_response,
    parse,
    read_body,
    wants_binary,
)
from service.coverage import SHED, STORE_ERROR, Coverage, coverage
from service.cpus import available_cpus
from service.deadline import Deadline
from service.errors import DeadlineExceeded, NotReady, Shed, StoreDown
from service.filtering import filter_page, ordered
from service.schemas import (
    CandidatesRequest,
    FilterRequest,
    FilterResponse,
    Health,
    Info,
    Models,
    ModelStatus,
    Problem,
    ScoreRequest,
    ScoreResponse,
)
from service.scoring import Scored, Scorer, score, unscored
from service.serving import Slot
from service.worker import Worker
from vector_store.ids import ProductIds

router = APIRouter()

_PROBLEM: dict[str, Any] = {
    "description": Problem.__doc__,
    "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
}
_ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys(
    (400, 404, 413, 415, 422, 429, 503), _PROBLEM
)


def _body(model: type[CandidatesRequest]) -> dict[str, object]:
    """OpenAPI request body; the handler reads the bytes itself, in one pass."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/score",
    summary="Calibrated relevance of each candidate",
    openapi_extra=_body(ScoreRequest),
    responses={
        **_ERRORS,
        504: _PROBLEM,
        200: {
            "model": ScoreResponse,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        },
    },
)
async def post_score(request: Request) -> Response:
    """Scores aligned with `product_ids`; null = not scored, with the reason in `coverage`."""
    arrived = perf_counter()
    worker: Worker = request.app.state.worker
    body, ids, _ = await _parsed(request, ScoreRequest)
    scorer = worker.serving.scorer(body.model)
    metrics.CANDIDATES.labels("/score").observe(len(ids))
    with worker.admitted(len(ids)) as admitted:
        if not admitted:
            metrics.SHED.labels("/score").inc()
            raise Shed(
                f"{len(ids)} candidates would exceed the "
                f"{worker.settings.max_inflight_candidates} in flight: try again after a second"
            )
        scored, stages_s = await _run(request, body, ids, scorer, arrived)
    covered = _count("/score", scorer.student.manifest.name, scored)
    if covered["degraded"].get("store_error"):
        raise StoreDown("the vector store did not answer: try again after a second")
    if body.strict and covered["degraded"].get("deadline"):
        raise DeadlineExceeded(
            f"expected every candidate within the deadline, scored {covered['scored']} of "
            f"{covered['requested']}: raise deadline_ms or send fewer candidates"
        )
    manifest = scorer.student.manifest
    if wants_binary(request):
        return binary_response(scored.scores, manifest.name, manifest.version, covered, stages_s)
    content: dict[str, object] = {
        "model": manifest.name,
        "version": manifest.version,
        "scores": scored.scores,
        "coverage": covered,
    }
    if body.raw:
        content["raw_scores"] = scored.raw
    return json_response(content, stages_s)


@router.post(
    "/filter",
    summary="The candidates worth showing",
    openapi_extra=_body(FilterRequest),
    responses={**_ERRORS, 200: {"model": FilterResponse}},
)
async def post_filter(request: Request) -> Response:
    """Drops candidates below the sort mode's threshold; passes all through rather than fail."""
    arrived = perf_counter()
    worker: Worker = request.app.state.worker
    body, ids, sort_values = await _parsed(request, FilterRequest)
    n = len(ids)
    metrics.CANDIDATES.labels("/filter").observe(n)
    manifest = worker.serving.manifest(body.model)
    scored, stages_s = await _score_or_pass(request, body, ids, arrived)
    covered = _count("/filter", manifest.name, scored)
    threshold = manifest.thresholds.by_sort()[body.sort]
    if body.threshold is not None:
        threshold = body.threshold
    page = filter_page(
        scored.scores,
        scored.codes,
        ordered(n, sort_values, body.order),
        threshold,
        body.min_keep,
        body.missing,
    )
    if n:
        metrics.KEPT_RATIO.labels(body.sort).observe(len(page.kept) / n)
    content = {
        "kept": id_list(ids, page.kept),
        "removed": id_list(ids, page.removed),
        "threshold": threshold,
        "sort": body.sort,
        "model": manifest.name,
        "version": manifest.version,
        "coverage": covered,
        "passed_through": page.passed_through,
    }
    return json_response(content, stages_s)


async def _score_or_pass(
    request: Request, body: FilterRequest, ids: ProductIds, arrived: float
) -> tuple[Scored, dict[str, float]]:
    """Scores, or the reason why the whole page has to pass through."""
    worker: Worker = request.app.state.worker
    n = len(ids)
    try:
        scorer = worker.serving.scorer(body.model)
    except StoreDown:
        return unscored(n, STORE_ERROR), {}
    with worker.admitted(n) as admitted:
        if admitted:
            return await _run(request, body, ids, scorer, arrived)
    metrics.SHED.labels("/filter").inc()
    return unscored(n, SHED), {}


@router.get("/healthz", summary="Live: the event loop answers", response_model=Health)
async def get_healthz() -> Health:
    """Asks no dependency, so a store that is down never restarts a healthy process."""
    return Health(status="live")


@router.get(
    "/readyz",
    summary="Ready: the default model can score",
    response_model=Health,
    responses={503: _PROBLEM},
)
async def get_readyz(request: Request) -> Health:
    """The default student is loaded, verified and warm, and its vector set is there."""
    worker: Worker = request.app.state.worker
    slot = worker.serving.slots[0]
    worker.serving.scorer(None)
    if slot.store_down:
        raise NotReady(f"model {slot.name}: {slot.reason}")
    return Health(status="ready")


@router.get("/v1/models", summary="Served models", response_model=Models)
async def get_models(request: Request) -> Models:
    """Every served model with its version, its vector set, and why it is not ready."""
    return Models(models=_statuses(request))


@router.get("/info", summary="Versions, limits, threads", response_model=Info)
async def get_info(request: Request) -> Info:
    """The effective limits and thread counts of this worker."""
    worker: Worker = request.app.state.worker
    settings = worker.settings
    limits = (
        *("max_candidates", "max_inflight_candidates", "max_body_bytes", "max_query_chars"),
        *("deadline_ms", "store_timeout_ms", "store_refresh_ms", "query_cache_entries"),
        *("row_cache_mb", "head_tile"),
    )
    return Info(
        version=version("winnow-relevance"),
        limits={name: getattr(settings, name) for name in limits},
        threads={
            "cpus": available_cpus(),
            "workers": settings.workers,
            "request_threads": settings.request_threads,
            "ort_threads": settings.ort_threads,
        },
        store=worker.store.url.partition(":")[0],
        models=_statuses(request),
    )


@router.get(
    "/metrics",
    summary="Prometheus metrics, summed over workers",
    response_class=PlainTextResponse,
)
async def get_metrics(request: Request) -> Response:
    """Prometheus text format."""
    worker: Worker = request.app.state.worker
    text = await worker.off_loop(metrics.exposition)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def _parsed(request: Request, model: type[Body]) -> tuple[Body, ProductIds, SortValues]:
    settings = request.app.state.worker.settings
    body = await read_body(request, settings.max_body_bytes)
    return parse(model, body, settings.max_candidates, settings.max_query_chars)


async def _run(
    request: Request, body: CandidatesRequest, ids: ProductIds, scorer: Scorer, arrived: float
) -> tuple[Scored, dict[str, float]]:
    """Scores in a request thread; stages in seconds, from arrival to the scores."""
    worker: Worker = request.app.state.worker
    deadline = Deadline(arrived, body.deadline_ms or worker.settings.deadline_ms)
    decoded = perf_counter()
    scored = await worker.run(request, deadline, partial(score, scorer, body.query, ids, deadline))
    spent = perf_counter() - decoded
    waiting = max(0.0, spent - sum(scored.stages_s.values()))
    stages_s = {"decode": decoded - arrived, "wait": waiting, **scored.stages_s}
    for stage, seconds in stages_s.items():
        metrics.STAGES.labels(stage).observe(seconds)
    if scored.query_source is not None:
        metrics.QUERY_ROWS.labels(scored.query_source).inc()
    return scored, stages_s


def _count(endpoint: str, model: str, scored: Scored) -> Coverage:
    covered = coverage(scored.codes)
    metrics.SCORED.labels(model).inc(covered["scored"])
    for reason, count in covered["degraded"].items():
        metrics.DEGRADED.labels(endpoint, reason).inc()
        metrics.UNSCORED.labels(reason).inc(count)
    return covered


def _statuses(request: Request) -> list[ModelStatus]:
    worker: Worker = request.app.state.worker
    default = worker.serving.names[0]
    return [_status(slot, slot.name == default) for slot in worker.serving.slots]


def _status(slot: Slot, is_default: bool) -> ModelStatus:  # noqa: FBT001 - a field of the answer
    manifest: Manifest | None = slot.student.manifest if slot.student else None
    header = slot.scorer.header if slot.scorer else None
    queries = slot.scorer.queries.stored if slot.scorer else None
    return ModelStatus(
        name=slot.name,
        version=manifest.version if manifest else None,
        default=is_default,
        ready=slot.scorer is not None and not slot.store_down,
        reason=slot.reason or None,
        student=manifest.student if manifest else None,
        vector_fingerprint=manifest.vector_fingerprint if manifest else None,
        vector_set=header.set_id if header else None,
        products=header.count if header else None,
        query_set=queries.set_id if queries else None,
        stored_queries=queries.count if queries else None,
        thresholds=manifest.thresholds.by_sort() if manifest else None,
        precision=dict(slot.student.run) if slot.student else None,
        head_kernel=slot.student.kernel_path if slot.student else None,
        row_cache=slot.scorer.rows.state if slot.scorer else None,
    )
