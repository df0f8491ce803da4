"""Bytes to requests and results to bytes: the only place that touches JSON on the request path.

Product ids go from the body to the store and from there to the answer as bytes and offsets: a
Python object per candidate costs more than scoring it, and feeds the garbage collector.
"""

import contextlib
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.coverage import Coverage
from service.errors import InvalidField, MalformedJson, TooLarge, UnsupportedEncoding
from service.schemas import CandidatesRequest, FilterRequest
from vector_store.ids import ProductIds, scan_candidates

Body = TypeVar("Body", bound=CandidatesRequest)
SortValues = NDArray[np.float64] | None  # float64 [n], NaN = null
BINARY = "application/octet-stream"


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body, never more than `max_bytes` of it in memory.

    Raises:
        TooLarge: it is longer, by its header or while it streams.
        UnsupportedEncoding: it is compressed.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedEncoding(
            f"expected an uncompressed body, got Content-Encoding {encoding!r}: send it as it is"
        )
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > max_bytes:
        raise _body_too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise _body_too_large(max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def parse(
    model: type[Body], body: bytes, max_candidates: int, max_query_chars: int
) -> tuple[Body, ProductIds, SortValues]:
    """A validated request, its candidates, and their sort values if it has any.

    Where ids and sort values can be lifted out of the body in one pass, the request's own are left
    empty; everything else is validated as always.

    Raises:
        MalformedJson: not JSON.
        InvalidField: a field is missing, unknown or wrong.
        TooLarge: more candidates than `max_candidates`.
    """
    request, ids, sort_values = _validated(model, body)
    n = len(ids)
    if n > max_candidates:
        raise too_many(n, max_candidates)
    check_query(request.query, max_query_chars)
    if sort_values is not None and len(sort_values) != n:
        raise invalid(
            "sort_values", f"expected one value per product id ({n}), got {len(sort_values)}"
        )
    return request, ids, sort_values


def check_query(query: str, most_chars: int) -> None:
    """Refuses a query that is too long.

    Raises:
        InvalidField: it has more than `most_chars`.
    """
    if len(query) > most_chars:
        raise invalid("query", f"expected at most {most_chars} characters, got {len(query)}")


def _validated(model: type[Body], body: bytes) -> tuple[Body, ProductIds, SortValues]:
    scanned = scan_candidates(body)
    if scanned is not None:
        # Where the rest is no good, the whole body is read below: errors name places in it.
        with contextlib.suppress(ValidationError):
            request = model.model_validate_json(scanned.rest)
            values = scanned.sort_values
            return request, scanned.ids, _sort_values(request) if values is None else values
    try:
        request = model.model_validate_json(body)
    except ValidationError as error:
        raise refusal(error) from error
    return request, ProductIds.from_strings(request.product_ids), _sort_values(request)


def _sort_values(request: CandidatesRequest) -> SortValues:
    """The sort values of a request that has kept them: what is no plain number, mostly."""
    if not isinstance(request, FilterRequest) or request.sort_values is None:
        return None
    values = np.array(request.sort_values, np.float64)  # None becomes NaN
    if np.isinf(values).any() or np.isnan(values).sum() != request.sort_values.count(None):
        raise invalid("sort_values", "expected finite numbers or null")
    return values


def id_list(ids: ProductIds, positions: NDArray[np.intp]) -> orjson.Fragment:
    """The ids at `positions` as a part of a JSON answer."""
    return orjson.Fragment(ids.json_list(positions))


def json_response(content: Mapping[str, object], stages_s: Mapping[str, float]) -> Response:
    """JSON with the stages in `timings_ms` and in the `Server-Timing` header.

    Arrays are written as they are, float32 in their shortest form, NaN as null.
    """
    timings_ms = {stage: round(seconds * 1e3, 3) for stage, seconds in stages_s.items()}
    body = orjson.dumps({**content, "timings_ms": timings_ms}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, headers=server_timing(stages_s), media_type="application/json")


def binary_response(
    scores: NDArray[np.float32],
    model: str,
    version: str,
    coverage: Coverage,
    stages_s: Mapping[str, float],
) -> Response:
    """Scores as little-endian float32, NaN = not scored; everything else in headers."""
    headers = {
        "X-Winnow-Model": model,
        "X-Winnow-Version": version,
        "X-Winnow-Coverage": orjson.dumps(coverage).decode(),
        **server_timing(stages_s),
    }
    return Response(scores.astype("<f4").tobytes(), headers=headers, media_type=BINARY)


def refusal(error: ValidationError) -> MalformedJson | InvalidField:
    """Of a body that is not JSON, or has a field that is no good."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    if problems[0]["type"] == "json_invalid":
        return MalformedJson(f"expected a JSON object: {problems[0]['msg']}")
    fields = [
        {"field": ".".join(map(str, item["loc"])) or "body", "problem": item["msg"]}
        for item in problems[:20]
    ]
    first = fields[0]
    return InvalidField(f"{first['field']}: {first['problem']}", {"errors": fields})


def invalid(field: str, what: str) -> InvalidField:
    """Of one field, which a schema can't judge."""
    return InvalidField(f"{field}: {what}", {"errors": [{"field": field, "problem": what}]})


def wants_binary(request: Request) -> bool:
    """Whether the client asked for the binary form of `/score`."""
    return BINARY in request.headers.get("accept", "")


def server_timing(stages_s: Mapping[str, float]) -> dict[str, str]:
    """The header of that name: what each stage took, in ms."""
    timings = (f"{stage};dur={round(seconds * 1e3, 3)}" for stage, seconds in stages_s.items())
    return {"Server-Timing": ", ".join(timings)}


def _body_too_large(limit: int) -> TooLarge:
    return TooLarge(f"expected a body of at most {limit} bytes", {"limit": limit})


def too_many(candidates: int, limit: int) -> TooLarge:
    """Of a request with more candidates than one may have."""
    return TooLarge(
        f"expected at most {limit} product_ids, got {candidates}: split the request",
        {"limit": limit, "candidates": candidates},
    )
