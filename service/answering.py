"""What every scoring endpoint does between its body and its answer: admit, score, count.

Each request takes one slot, and with it one version: its student, thresholds and rows.
"""

from dataclasses import dataclass
from functools import partial
from time import perf_counter

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from model_store.manifest import Manifest
from service import metrics
from service.bodies import Body, SortValues, parse, read_body
from service.coverage import Coverage, coverage
from service.deadline import Deadline
from service.errors import DeadlineExceeded, Shed, StoreDown
from service.model import Model
from service.request_facts import Period, facts_of
from service.schemas import CandidatesRequest, QueryRequest, ScoreRequest
from service.scoring import Scored, Scorer, score
from service.shadow import Answered
from service.texts import Texts, score_texts
from service.worker import CANDIDATES_PER_ENCODING, Worker
from vector_store.ids import ProductIds

Candidates = ProductIds | Texts


@dataclass(frozen=True, slots=True)
class Answer:
    """The scores of a request, aligned with its candidates, and the version that made them.

    stages_s: what each stage took, from the request's arrival to its scores
    """

    model: Model
    manifest: Manifest
    scored: Scored
    covered: Coverage
    stages_s: dict[str, float]


async def score_candidates(
    request: Request,
    endpoint: str,
    body: CandidatesRequest,
    candidates: Candidates,
    arrived: float,
    version: str | None = None,
) -> Answer:
    """Scores candidates [n], or refuses them whole.

    endpoint: as the metrics have it
    arrived: `perf_counter` of the request's first byte, from which its deadline counts
    version: the one that has to answer; otherwise the active one or, for its share, the canary

    Raises:
        UnknownModel, UnknownVersion, NotReady: nobody can score them.
        Shed: too many candidates are in flight.
        StoreDown: the store did not answer.
    """
    worker: Worker = request.app.state.worker
    model = worker.serving.model(body.model)
    if version is not None:
        slot = model.slot_of(version)
    else:
        slot = model.slot if model.canary is None else model.slot_for(request_key(request, body))
    scorer = slot.ready_scorer()
    metrics.CANDIDATES.labels(endpoint).observe(len(candidates))
    limit = worker.settings.max_inflight_candidates
    weight = admission_weight(candidates, limit)
    with worker.admitted(weight) as admitted:
        if not admitted:
            metrics.SHED.labels(endpoint).inc()
            raise Shed(
                f"{weight} candidates would exceed the {limit} in flight: try again after a second"
            )
        scored, stages_s = await run(request, body, candidates, scorer, arrived)
    manifest = scorer.student.manifest
    covered = count(request, endpoint, model, manifest, scored)
    if covered["degraded"].get("store_error"):
        raise StoreDown("the vector store did not answer: try again after a second")
    return Answer(model, manifest, scored, covered, stages_s)


def require_in_time(body: ScoreRequest, covered: Coverage) -> None:
    """Raises DeadlineExceeded: the caller would rather have no answer than a part of one."""
    if body.strict and covered["degraded"].get("deadline"):
        raise DeadlineExceeded(
            f"expected every candidate within the deadline, scored {covered['scored']} of "
            f"{covered['requested']}: raise deadline_ms or send fewer candidates"
        )


def offer_shadow(
    request: Request, response: Response, model: Model, manifest: Manifest, answered: Answered
) -> None:
    """Once the answer is sent, the shadow may score what the active version answered."""
    shadow = model.shadow
    if shadow is None or model.active is None or manifest is not model.active.student.manifest:
        return
    if shadow.sees(request_key(request, answered.body)):
        worker: Worker = request.app.state.worker
        response.background = BackgroundTask(worker.shadows.offer, shadow.version, answered)


async def parsed(request: Request, model: type[Body]) -> tuple[Body, ProductIds, SortValues]:
    """The body of a request, its product ids and its sort values.

    Raises:
        ServiceError: it is too large, malformed, or not as `model` says.
    """
    settings = request.app.state.worker.settings
    raw = await read_body(request, settings.max_body_bytes)
    body, ids, sort_values = parse(model, raw, settings.max_candidates, settings.max_query_chars)
    facts = facts_of(request)
    facts.candidates, facts.query = len(ids), body.query
    return body, ids, sort_values


def admission_weight(candidates: Candidates, limit: int) -> int:
    """What they count as where requests are admitted; a worker that is idle takes any request."""
    if isinstance(candidates, Texts):
        return min(len(candidates) * CANDIDATES_PER_ENCODING, limit)
    return len(candidates)


async def run(
    request: Request,
    body: CandidatesRequest,
    candidates: Candidates,
    scorer: Scorer,
    arrived: float,
) -> tuple[Scored, dict[str, float]]:
    """Scores in a request thread; stages in seconds, from arrival to the scores."""
    worker: Worker = request.app.state.worker
    deadline = Deadline(arrived, body.deadline_ms or worker.settings.deadline_ms)
    if isinstance(candidates, Texts):
        work = partial(score_texts, scorer, body.query, candidates, deadline)
    else:
        work = partial(score, scorer, body.query, candidates, deadline)
    decoded = perf_counter()
    scored = await worker.run(request, deadline, work)
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


def request_key(request: Request, body: QueryRequest) -> str:
    """What a canary's share is drawn by: the header `X-Winnow-Key`, else the query."""
    return request.headers.get("x-winnow-key") or body.query


def count(
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
