"""What a service says of itself: health, models, limits, metrics."""

from importlib.metadata import version

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from service.cpus import available_cpus
from service.errors import NotReady
from service.exposition import exposition
from service.model import Beside, Model
from service.openapi import PROBLEM
from service.schemas import BesideStatus, Health, Info, Models, ModelStatus, RefusedVersion
from service.worker import Worker

router = APIRouter()


@router.get("/healthz", summary="Live: the event loop answers", response_model=Health)
async def get_healthz() -> Health:
    """Asks no dependency, so a store that is down never restarts a healthy process."""
    return Health(status="live")


@router.get(
    "/readyz",
    summary="Ready: the default model can score",
    response_model=Health,
    responses={503: PROBLEM},
)
async def get_readyz(request: Request) -> Health:
    """The default student is loaded, verified and warm, its set is there, and it is to stay."""
    require_ready(request.app.state.worker)
    return Health(status="ready")


def require_ready(worker: Worker) -> None:
    """Raises NotReady or StoreDown where requests had better go to another instance."""
    if worker.drain.begun:
        raise NotReady("this instance is about to end: ask another one")
    slot = worker.serving.models[0].slot
    slot.ready_scorer()
    if slot.store_down:
        raise NotReady(f"model {slot.name}: {slot.reason}")


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
        *("max_texts", "max_text_chars"),
        *("deadline_ms", "store_timeout_ms", "store_refresh_ms", "query_cache_entries"),
        *("row_cache_mb", "head_tile", "max_header_bytes", "max_connections"),
        *("client_timeout_s", "idle_timeout_s"),
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
    text = await worker.off_loop(exposition)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _statuses(request: Request) -> list[ModelStatus]:
    worker: Worker = request.app.state.worker
    serving = worker.serving
    default = serving.names[0]
    return [_status(request, model, model.name == default) for model in serving.models]


def _status(request: Request, model: Model, is_default: bool) -> ModelStatus:  # noqa: FBT001 - a field of the answer
    worker: Worker = request.app.state.worker
    slot = model.slot
    refusal = worker.serving.refusals.get(model.name)
    manifest = slot.student.manifest if slot.student else None
    header = slot.scorer.header if slot.scorer else None
    queries = slot.scorer.queries.stored if slot.scorer else None
    return ModelStatus(
        name=slot.name,
        version=manifest.version if manifest else None,
        default=is_default,
        ready=slot.ready,
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
        canary=_beside(model.canary),
        shadow=_beside(model.shadow),
        refused=RefusedVersion(**refusal.model_dump()) if refusal else None,
    )


def _beside(beside: Beside | None) -> BesideStatus | None:
    if beside is None:
        return None
    slot = beside.version.slot
    return BesideStatus(
        version=beside.share.version,
        share=beside.share.share,
        ready=slot.ready,
        reason=slot.reason or None,
        vector_set=slot.scorer.header.set_id if slot.scorer else None,
    )
