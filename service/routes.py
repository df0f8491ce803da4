"""`/score` and `/filter`: decode, call, encode. What is scored and kept is decided elsewhere."""

from time import perf_counter

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import metrics
from service.answering import (
    count,
    offer_shadow,
    parsed,
    request_key,
    require_in_time,
    run,
    score_candidates,
)
from service.bodies import (
    binary_response,
    id_list,
    json_response,
    wants_binary,
)
from service.coverage import SHED, STORE_ERROR
from service.errors import NotReady, StoreDown
from service.filtering import filter_page, ordered
from service.openapi import ERRORS, PROBLEM, json_body
from service.schemas import (
    FilterRequest,
    FilterResponse,
    ScoreRequest,
    ScoreResponse,
)
from service.scoring import Scored, unscored
from service.shadow import Answered
from service.version import Slot
from service.worker import Worker
from vector_store.ids import ProductIds

router = APIRouter()


@router.post(
    "/score",
    summary="Calibrated relevance of each candidate",
    openapi_extra=json_body(ScoreRequest),
    responses={
        **ERRORS,
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
    body, ids, _ = await parsed(request, ScoreRequest)
    answer = await score_candidates(request, "/score", body, ids, arrived)
    manifest, scored, covered = answer.manifest, answer.scored, answer.covered
    require_in_time(body, covered)
    if wants_binary(request):
        response = binary_response(
            scored.scores, manifest.name, manifest.version, covered, answer.stages_s
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
        response = json_response(content, answer.stages_s)
    if answer.model.shadow is not None:
        answered = Answered(body, ids, scored, manifest.thresholds.default, "default", None)
        offer_shadow(request, response, answer.model, manifest, answered)
    return response


@router.post(
    "/filter",
    summary="The candidates worth showing",
    openapi_extra=json_body(FilterRequest),
    responses={**ERRORS, 200: {"model": FilterResponse}},
)
async def post_filter(request: Request) -> Response:
    """Drops candidates below the sort mode's threshold; passes all through rather than fail."""
    arrived = perf_counter()
    worker: Worker = request.app.state.worker
    body, ids, sort_values = await parsed(request, FilterRequest)
    n = len(ids)
    metrics.CANDIDATES.labels("/filter").observe(n)
    model = worker.serving.model(body.model)
    slot = model.slot if model.canary is None else model.slot_for(request_key(request, body))
    manifest = slot.loaded_student().manifest
    scored, stages_s = await _score_or_pass(request, body, ids, slot, arrived)
    covered = count(request, "/filter", model, manifest, scored)
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
        offer_shadow(request, response, model, manifest, answered)
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
            return await run(request, body, ids, scorer, arrived)
    metrics.SHED.labels("/filter").inc()
    return unscored(n, SHED), {}
