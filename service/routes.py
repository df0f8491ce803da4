"""`/score` and `/filter`: decode, call, encode. What is scored and kept is decided elsewhere.

Each request takes one slot, and with it one version: its student, thresholds and rows.
"""

from functools import partial
from time import perf_counter
from typing import Any

from fastapi import APIRouter
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

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
from service.deadline import Deadline
from service.errors import DeadlineExceeded, NotReady, Shed, StoreDown
from service.filtering import filter_page, ordered
from service.model import Model
from service.request_facts import Period, facts_of
from service.schemas import (
    CandidatesRequest,
    FilterRequest,
    FilterResponse,
    Problem,
    ScoreRequest,
    ScoreResponse,
)
from service.scoring import Scored, Scorer, score, unscored
from service.shadow import Answered
from service.version import Slot
from service.worker import Worker
from vector_store.ids import ProductIds

router = APIRouter()

PROBLEM: dict[str, Any] = {
    "description": Problem.__doc__,
    "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
}
_ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys(
    (400, 404, 413, 415, 422, 429, 503), PROBLEM
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
        504: PROBLEM,
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
    model = worker.serving.model(body.model)
    slot = model.slot if model.canary is None else model.slot_for(_request_key(request, body))
    scorer = slot.ready_scorer()
    metrics.CANDIDATES.labels("/score").observe(len(ids))
    with worker.admitted(len(ids)) as admitted:
        if not admitted:
            metrics.SHED.labels("/score").inc()
            raise Shed(
                f"{len(ids)} candidates would exceed the "
                f"{worker.settings.max_inflight_candidates} in flight: try again after a second"
            )
        scored, stages_s = await _run(request, body, ids, scorer, arrived)
    manifest = scorer.student.manifest
    covered = _count(request, "/score", model, manifest, scored)
    if covered["degraded"].get("store_error"):
        raise StoreDown("the vector store did not answer: try again after a second")
    if body.strict and covered["degraded"].get("deadline"):
        raise DeadlineExceeded(
            f"expected every candidate within the deadline, scored {covered['scored']} of "
            f"{covered['requested']}: raise deadline_ms or send fewer candidates"
        )
    if wants_binary(request):
        response = binary_response(
            scored.scores, manifest.name, manifest.version, covered, stages_s
        )
    else:
        content: dict[str, object] = {
            "model": manifest.name,
            "version": manifest.version,
            "scores": scored.scores,
            "coverage": covered,
        }
        if body.raw:
            content["raw_scores"] = scored.raw
        response = json_response(content, stages_s)
    if model.shadow is not None:
        answered = Answered(body, ids, scored, manifest.thresholds.default, "default", None)
        _offer_shadow(request, response, model, manifest, answered)
    return response


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
    model = worker.serving.model(body.model)
    slot = model.slot if model.canary is None else model.slot_for(_request_key(request, body))
    manifest = slot.loaded_student().manifest
    scored, stages_s = await _score_or_pass(request, body, ids, slot, arrived)
    covered = _count(request, "/filter", model, manifest, scored)
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
        if model.canary is not None:
            labels = manifest.name, manifest.version
            metrics.CANARY_KEPT_RATIO.labels(*labels).observe(len(page.kept) / n)
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
    response = json_response(content, stages_s)
    if model.shadow is not None:
        answered = Answered(body, ids, scored, threshold, body.sort, body.threshold)
        _offer_shadow(request, response, model, manifest, answered)
    return response


async def _score_or_pass(
    request: Request, body: FilterRequest, ids: ProductIds, slot: Slot, arrived: float
) -> tuple[Scored, dict[str, float]]:
    """Scores, or the reason why the whole page has to pass through."""
    worker: Worker = request.app.state.worker
    n = len(ids)
    try:
        scorer = slot.ready_scorer()
    except (NotReady, StoreDown):  # a store that lost its rows is no worse than one that is down
        return unscored(n, STORE_ERROR), {}
    with worker.admitted(n) as admitted:
        if admitted:
            return await _run(request, body, ids, scorer, arrived)
    metrics.SHED.labels("/filter").inc()
    return unscored(n, SHED), {}


async def _parsed(request: Request, model: type[Body]) -> tuple[Body, ProductIds, SortValues]:
    settings = request.app.state.worker.settings
    raw = await read_body(request, settings.max_body_bytes)
    body, ids, sort_values = parse(model, raw, settings.max_candidates, settings.max_query_chars)
    facts = facts_of(request)
    facts.candidates, facts.query = len(ids), body.query
    return body, ids, sort_values


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
    facts = facts_of(request)
    facts.stages_s = stages_s
    facts.periods_s = _periods(arrived, decoded, scored)
    if scored.query_source is not None:
        metrics.QUERY_ROWS.labels(scored.query_source).inc()
    return scored, stages_s


def _periods(arrived: float, decoded: float, scored: Scored) -> dict[str, Period]:
    """When each stage ran; the wait ends when the first stage of scoring begins."""
    began = min((begin for begin, _ in scored.periods_s.values()), default=decoded)
    return {"decode": (arrived, decoded), "wait": (decoded, began), **scored.periods_s}


def _request_key(request: Request, body: CandidatesRequest) -> str:
    """What a canary's share is drawn by: the header `X-Winnow-Key`, else the query."""
    return request.headers.get("x-winnow-key") or body.query


def _count(
    request: Request, endpoint: str, model: Model, manifest: Manifest, scored: Scored
) -> Coverage:
    """Coverage of an answer, which metrics, log and trace have too."""
    covered = coverage(scored.codes)
    facts = facts_of(request)
    facts.model, facts.version = manifest.name, manifest.version
    facts.degraded = covered["degraded"]
    metrics.SCORED.labels(manifest.name, manifest.version).inc(covered["scored"])
    for reason, count in covered["degraded"].items():
        metrics.DEGRADED.labels(endpoint, reason).inc()
        metrics.UNSCORED.labels(reason).inc(count)
    if model.canary is not None:
        labels = manifest.name, manifest.version
        metrics.CANARY_SECONDS.labels(*labels).observe(sum(scored.stages_s.values()))
        metrics.CANARY_UNSCORED.labels(*labels).inc(covered["requested"] - covered["scored"])
    return covered


def _offer_shadow(
    request: Request, response: Response, model: Model, manifest: Manifest, answered: Answered
) -> None:
    """Once the answer is sent, the shadow may score what the active version answered."""
    shadow = model.shadow
    if shadow is None or model.active is None or manifest is not model.active.student.manifest:
        return
    if shadow.sees(_request_key(request, answered.body)):
        worker: Worker = request.app.state.worker
        response.background = BackgroundTask(worker.shadows.offer, shadow.version, answered)
