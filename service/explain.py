"""`POST /explain`: one query and one product, the row it is scored with, what each word adds."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from time import perf_counter, time

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from model_store.explain import Contribution
from model_store.student import OnnxStudent
from service import metrics
from service.answering import request_key
from service.bodies import check_query, json_response, read_body, refusal
from service.deadline import Deadline
from service.errors import DeadlineExceeded, NoRow, Shed, StoreDown
from service.explaining import Explained, Row, Text, Unscorable, explain, stored_row
from service.openapi import ERRORS, PROBLEM, json_body
from service.request_facts import facts_of
from service.schemas import ExplainRequest, ExplainResponse
from service.version import Slot
from service.worker import CANDIDATES_PER_ENCODING, Worker
from vector_store.errors import StoreError

log = logging.getLogger("winnow.explain")
router = APIRouter()


@router.post(
    "/explain",
    summary="Why one product has its score",
    openapi_extra=json_body(ExplainRequest),
    responses={**ERRORS, 504: PROBLEM, 200: {"model": ExplainResponse}},
)
async def post_explain(request: Request) -> Response:
    """The score, the row it was made with, and what leaving each word out takes from it."""
    arrived = perf_counter()
    worker: Worker = request.app.state.worker
    body = await _body(request)
    model = worker.serving.model(body.model)
    slot = model.slot if model.canary is None else model.slot_for(request_key(request, body))
    student = slot.loaded_student()
    manifest = student.manifest
    facts = facts_of(request)
    facts.model, facts.version = manifest.name, manifest.version
    deadline = Deadline(arrived, body.deadline_ms or worker.settings.deadline_ms)
    query, title = await worker.run(request, deadline, partial(_texts, student, body))
    stored = await _stored(request, slot, body.product_id, deadline)
    began = perf_counter()
    work = partial(explain, student, query, title, stored, deadline)
    explained = await _admitted(request, query, title, deadline, work)
    if not explained.finished:
        raise DeadlineExceeded(
            f"expected to encode the text without each of {len(query.words)} words of the query"
            + ("" if title is None else f" and {len(title.words)} of the title")
            + " within the deadline: raise deadline_ms"
        )
    facts.stages_s = {"read": began - arrived, **explained.stages_s}
    content = {
        "model": manifest.name,
        "version": manifest.version,
        "product_id": body.product_id,
        "score": explained.score,
        "raw_score": explained.raw,
        "thresholds": manifest.thresholds.by_sort(),
        "row": _row(explained),
        "query_tokens": _tokens(explained.query),
        "title_tokens": None if explained.title is None else _tokens(explained.title),
    }
    return json_response(content, facts.stages_s)


async def _body(request: Request) -> ExplainRequest:
    settings = request.app.state.worker.settings
    raw = await read_body(request, settings.max_body_bytes)
    try:
        body = ExplainRequest.model_validate_json(raw)
    except ValidationError as error:
        raise refusal(error) from error
    check_query(body.query, settings.max_query_chars)
    facts_of(request).query = body.query
    return body


def _texts(student: OnnxStudent, body: ExplainRequest) -> tuple[Text, Text | None]:
    query = Text(body.query, student.words(body.query, "query"))
    if body.title is None:
        return query, None
    return query, Text(body.title, student.words(body.title, "product"))


async def _stored(
    request: Request, slot: Slot, product_id: str | None, deadline: Deadline
) -> Row | None:
    """The row of the product; None where only its title is known, which needs no vector set."""
    if product_id is None:
        return None
    worker: Worker = request.app.state.worker
    work = partial(stored_row, slot.ready_scorer(), worker.store, product_id)
    try:
        return await worker.run(request, deadline, work)
    except Unscorable as error:
        raise NoRow(
            f"expected a row of product {product_id!r} in the live vector set, found {error}: "
            "index the product, or send its title without product_id"
        ) from error
    except StoreError as error:
        metrics.STORE_FAILURES.labels("rows").inc()
        log.warning("store failed: %s", error)
        raise StoreDown("the vector store did not answer: try again after a second") from error


async def _admitted(
    request: Request,
    query: Text,
    title: Text | None,
    deadline: Deadline,
    work: Callable[[], Explained],
) -> Explained:
    """Runs the encodings of an explanation, if there is room for them among the candidates."""
    worker: Worker = request.app.state.worker
    limit = worker.settings.max_inflight_candidates
    runs = query.encodings + (0 if title is None else title.encodings)
    with worker.admitted(min(limit, runs * CANDIDATES_PER_ENCODING)) as admitted:
        if not admitted:
            metrics.SHED.labels("/explain").inc()
            raise Shed(
                f"{runs} encodings, counted as {CANDIDATES_PER_ENCODING} candidates each, would "
                f"exceed the {limit} in flight: try again after a second"
            )
        return await worker.run(request, deadline, work)


def _row(explained: Explained) -> dict[str, object]:
    encoded_at_s = explained.row.encoded_at_s
    return {
        "source": explained.row.source,
        "encoded_at": datetime.fromtimestamp(encoded_at_s, UTC).isoformat(),
        "age_s": max(0, int(time()) - encoded_at_s),  # another machine's clock may be ahead
        "matches_title": explained.matches_title,
    }


def _tokens(contributions: Sequence[Contribution]) -> list[dict[str, object]]:
    return [
        {
            "token": each.word.text,
            "contribution": round(each.score, 6),
            "log_odds": round(each.log_odds, 6),
            "status": each.word.status,
            "pieces": each.word.pieces,
        }
        for each in contributions
    ]
