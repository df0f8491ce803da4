"""One inference of the Open Inference Protocol, over HTTP or gRPC: what was asked, and its answer.

The two ways differ in how tensors are written (inference_body.py, inference_messages.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.answering import Answer, offer_shadow, require_in_time, score_candidates
from service.bodies import invalid, refusal
from service.coverage import Coverage
from service.inference_schemas import ModelMetadata, Parameter, ServerMetadata, TensorMetadata
from service.inference_tensors import INPUTS, OUTPUTS, Tensor, candidates_of
from service.observed import route_of
from service.request_facts import facts_of
from service.schemas import ScoreRequest
from service.shadow import Answered
from service.worker import Worker

MOST_US: Final = 60_000_000
CLIENT_WAITS_MS: Final = "winnow.client_waits_ms"
"""Key of the scope: how long the client will wait for an answer, where it has said so."""

# Clients put a content_type beside everything; it says how to show data in the client's language.
IGNORED: Final = "content_type"
_PARAMETERS: Final = frozenset(("timeout", "deadline_us", "strict", "binary_data_output", IGNORED))


@dataclass(frozen=True, slots=True)
class Inference:
    """What a client asks.

    outputs: names, in the order of the answer
    """

    request_id: str | None
    tensors: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[str, Parameter]


async def infer(
    request: Request,
    model: str,
    model_version: str | None,
    asked: Inference,
    encode: Callable[[Inference, Answer], Response],
    arrived: float,
) -> Response:
    """Scores the candidates of an inference, or refuses them whole.

    Raises:
        ServiceError: it is not as the model's metadata says, or can't be answered.
    """
    worker: Worker = request.app.state.worker
    settings = worker.settings
    query, ids = candidates_of(asked.tensors, settings.max_candidates, settings.max_query_chars)
    facts = facts_of(request)
    facts.candidates, facts.query = len(ids), query
    body = _body(request, model, query, asked.parameters)
    endpoint = route_of(request.scope)
    answer = await score_candidates(request, endpoint, body, ids, arrived, model_version)
    require_in_time(body, answer.covered)
    response = encode(asked, answer)
    threshold = answer.manifest.thresholds.default
    answered = Answered(body, ids, answer.scored, threshold, "default", None)
    offer_shadow(request, response, answer.model, answer.manifest, answered)
    return response


def parameters_of(covered: Coverage) -> dict[str, int | bool]:
    """Coverage as parameters of an answer, which are flat: a count per reason that occurs."""
    counts = {"requested": covered["requested"], "scored": covered["scored"]}
    return {**counts, "full": covered["full"], **covered["degraded"]}


def server_metadata() -> ServerMetadata:
    """What this server is."""
    return ServerMetadata(
        name="winnow", version=version("winnow-relevance"), extensions=["binary_tensor_data"]
    )


def model_metadata(worker: Worker, name: str, model_version: str | None) -> ModelMetadata:
    """Tensors of a model, and the versions that may be asked for.

    Raises:
        UnknownModel, UnknownVersion: it is not served.
    """
    model = worker.serving.model(name)
    if model_version is not None:
        model.slot_of(model_version)
    inputs = [
        TensorMetadata(name=each, datatype=datatype, shape=shape)
        for each, (datatype, shape) in INPUTS.items()
    ]
    outputs = [
        TensorMetadata(name=each, datatype=datatype, shape=[-1])
        for each, datatype in OUTPUTS.items()
    ]
    return ModelMetadata(
        name=name,
        versions=list(model.answering),
        platform="onnx_onnxv1",
        inputs=inputs,
        outputs=outputs,
    )


def model_ready(worker: Worker, name: str, model_version: str | None) -> bool:
    """Whether a model, or one version of it, can score.

    Raises:
        UnknownModel, UnknownVersion: it is not served.
    """
    model = worker.serving.model(name)
    slot = model.slot if model_version is None else model.slot_of(model_version)
    return slot.ready


def _body(
    request: Request, model: str, query: str, parameters: Mapping[str, Parameter]
) -> ScoreRequest:
    """The request that `/score` would have had, without the ids."""
    unknown = sorted(parameters.keys() - _PARAMETERS)
    if unknown:
        known = ", ".join(sorted(_PARAMETERS - {IGNORED}))
        raise invalid(f"parameters.{unknown[0]}", f"unknown; known are {known}")
    fields: dict[str, object] = {
        "query": query,
        "product_ids": [],
        "model": model,
        "deadline_ms": _deadline_ms(request, parameters),
        "strict": parameters.get("strict", False),
    }
    try:
        return ScoreRequest.model_validate(fields)
    except ValidationError as error:
        raise refusal(error) from error


def _deadline_ms(request: Request, parameters: Mapping[str, Parameter]) -> float | None:
    """The time that a parameter gives; nobody works longer than the client waits."""
    waits_ms: float | None = request.scope.get(CLIENT_WAITS_MS)
    given = [name for name in ("timeout", "deadline_us") if name in parameters]
    if len(given) > 1:
        raise invalid("parameters", "expected timeout or deadline_us, got both")
    if not given:
        return None if waits_ms is None else min(waits_ms, MOST_US / 1e3)
    micros = parameters[given[0]]
    if not isinstance(micros, int | float) or micros is True or not 0 < micros <= MOST_US:
        raise invalid(
            f"parameters.{given[0]}",
            f"expected microseconds above 0 and up to {MOST_US}, got {micros!r}",
        )
    return micros / 1e3 if waits_ms is None else min(waits_ms, micros / 1e3)
