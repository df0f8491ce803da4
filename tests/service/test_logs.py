"""Log lines: one JSON object per event, what a request's line says, and what it never shows."""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from service.drain import Drain
from service.logs import FIELDS, REQUEST_ID, JsonLines, TextLines
from service.observed import Observed
from service.request_facts import RequestFacts, facts_of
from service.request_ids import request_ids
from service.request_log import NOT_ANSWERED, RequestLog
from tests.service.conftest import MODELS, Service, StartService, start

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
QUERY = "a query that nobody may read"
MODEL = MODELS[1]
Line = dict[str, Any]


def lines(service: Service) -> list[Line]:
    """Every line of a service's log."""
    return [json.loads(line) for line in service.log.read_text().splitlines()]


def of_request(service: Service, request_id: str) -> list[Line]:
    """Those that carry one request id."""
    return [line for line in lines(service) if line.get("request_id") == request_id]


def line_of(service: Service, answer: httpx.Response) -> Line:
    """The one of an answered request; it is written once the answer is sent."""
    give_up = time.monotonic() + 60
    while not (found := of_request(service, answer.headers["x-request-id"])):
        assert time.monotonic() < give_up, service.log.read_text()
        time.sleep(0.02)
    (line,) = found
    return line


def record(message: str, fields: dict[str, object] | None = None) -> logging.LogRecord:
    """As a log call makes it."""
    made = logging.LogRecord("winnow.x", logging.WARNING, __file__, 1, message, (), None)
    if fields is not None:
        setattr(made, FIELDS, fields)
    return made


@pytest.fixture(scope="module")
def talkative(lmdb_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that logs every request."""
    with ExitStack() as stack:
        settings = {"models": MODEL, "log_share": "1"}
        running = start(stack, tmp_path_factory.mktemp("talkative"), lmdb_store, settings)
        running.wait_for("/readyz")
        yield running


def test_the_line_of_a_request_says_what_it_cost_and_shows_neither_query_nor_products(
    talkative: Service, ids: list[str]
) -> None:
    answer = talkative.client.post(
        "/score",
        json={"query": QUERY, "product_ids": [*ids[:3], "nobody"]},
        headers={"X-Request-Id": "page-7:a", "traceparent": PARENT},
    )
    assert answer.headers["x-request-id"] == "page-7:a"
    line = line_of(talkative, answer)
    assert (line["level"], line["logger"]) == ("info", "winnow.request")
    assert line["message"] == "POST /score: 200"
    assert (line["route"], line["status"], line["candidates"]) == ("/score", 200, 4)
    assert (line["model"], line["version"]) == (MODEL, answer.json()["version"])
    assert line["degraded"] == {"missing_product": 1}
    assert line["trace_id"] == TRACE
    assert line["stages_ms"] == answer.json()["timings_ms"]
    assert line["ms"] >= sum(line["stages_ms"].values())
    assert line["time"].endswith("Z")
    written = talkative.log.read_text()
    assert "nobody" not in written
    for word in (QUERY, *ids[:3]):
        assert word not in written


def test_a_refused_request_is_a_warning_and_its_answer_has_an_id(talkative: Service) -> None:
    answer = talkative.client.post("/filter", json={"query": 5})
    line = line_of(talkative, answer)
    assert (line["level"], line["status"], line["candidates"]) == ("warning", 422, None)


def test_an_unknown_path_is_not_written_down(talkative: Service) -> None:
    answer = talkative.client.get("/secret-path")
    line = line_of(talkative, answer)
    assert (line["route"], line["status"]) == ("other", 404)
    assert "secret" not in talkative.log.read_text()


def test_what_the_service_and_uvicorn_say_goes_the_same_way(talkative: Service) -> None:
    said = lines(talkative)
    assert {"winnow.serve", "uvicorn.error"} <= {line["logger"] for line in said}
    assert all({"time", "level", "message", "process"} <= set(line) for line in said)


def test_without_a_share_only_what_failed_is_logged(
    lmdb_store: str, start_service: StartService, ids: list[str]
) -> None:
    settings = {"models": MODELS[0], "workers": "2", "log_share": "0", "log_queries": "true"}
    service = start_service(lmdb_store, settings)
    service.wait_for("/readyz")
    good = service.score("tent", [*ids[:3], "nobody"])
    assert good.json()["coverage"]["degraded"] == {"missing_product": 1}
    late = service.filter(QUERY, (ids * 4)[:10_000], {"deadline_ms": 1})
    assert "deadline" in late.json()["coverage"]["degraded"]
    line = line_of(service, late)
    assert (line["level"], line["status"]) == ("warning", 200)
    assert line["degraded"]["deadline"] > 0
    assert line["query"] == QUERY  # asked for by log_queries
    processes = {line["process"] for line in lines(service)}
    assert len(processes) >= 2  # the parent and its workers, each in whole lines
    assert of_request(service, good.headers["x-request-id"]) == []


def test_text_for_a_terminal(lmdb_store: str, start_service: StartService, ids: list[str]) -> None:
    settings = {"models": MODEL, "log_format": "text", "log_level": "warning", "log_share": "1"}
    service = start_service(lmdb_store, settings)
    service.wait_for("/readyz")
    service.score("tent", ids[:3])
    service.client.post("/score", content=b"{", headers={"X-Request-Id": "broken"})
    give_up = time.monotonic() + 60
    while not (written := service.log.read_text()) and time.monotonic() < give_up:
        time.sleep(0.02)
    (line,) = written.splitlines()
    assert "WARNING winnow.request: POST /score: 400 request_id=broken" in line


@pytest.mark.parametrize(
    ("headers", "request_id", "trace_id"),
    [
        ({b"x-request-id": b"abc-1"}, "abc-1", None),
        ({b"traceparent": PARENT.encode()}, TRACE, TRACE),
        ({b"x-request-id": b"abc", b"traceparent": PARENT.encode()}, "abc", TRACE),
        ({b"x-request-id": b'"},{"', b"traceparent": PARENT.encode()}, TRACE, TRACE),
        ({b"traceparent": f"cc-{TRACE}-00f067aa0ba902b7-01-later".encode()}, TRACE, TRACE),
    ],
)
def test_the_id_of_a_request(
    headers: dict[bytes, bytes], request_id: str, trace_id: str | None
) -> None:
    assert request_ids(headers.items()) == (request_id, trace_id)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"x-request-id": b""},
        {b"x-request-id": b"a" * 129},
        {b"x-request-id": b"a\nb"},
        {b"x-request-id": "schuhgröße".encode()},
        {b"traceparent": b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01"},
        {b"traceparent": f"00-{TRACE}-{'0' * 16}-01".encode()},
        {b"traceparent": f"ff-{TRACE}-00f067aa0ba902b7-01".encode()},
        {b"traceparent": f"00-{TRACE.upper()}-00f067aa0ba902b7-01".encode()},
    ],
)
def test_what_is_no_id_is_replaced_by_a_fresh_one(headers: dict[bytes, bytes]) -> None:
    made, trace_id = request_ids(headers.items())
    assert len(bytes.fromhex(made)) == 16
    assert made != request_ids(headers.items())[0]
    assert trace_id is None


@pytest.mark.parametrize(
    ("share", "status", "degraded", "level"),
    [
        (1.0, 200, {}, logging.INFO),
        (0.0, 200, {}, None),
        (0.0, 200, {"missing_product": 5}, None),
        (0.0, 200, {"missing_product": 5, "deadline": 1}, logging.WARNING),
        (0.0, 200, {"shed": 9}, logging.WARNING),
        (0.0, 429, {}, logging.WARNING),
        (0.0, 503, {}, logging.ERROR),
        (0.0, NOT_ANSWERED, {}, None),
        (1.0, NOT_ANSWERED, {}, logging.INFO),
    ],
)
def test_which_requests_are_logged(
    caplog: pytest.LogCaptureFixture,
    share: float,
    status: int,
    degraded: dict[str, int],
    level: int | None,
) -> None:
    caplog.set_level(logging.INFO)
    facts = RequestFacts("id", None, degraded=degraded)
    RequestLog(share, queries=False).write("POST", "/score", status, 0.001, facts)
    assert [record.levelno for record in caplog.records] == ([] if level is None else [level])


def test_an_error_is_one_line_with_its_traceback() -> None:
    failed = record("it broke")
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        failed.exc_info = sys.exc_info()
    text = JsonLines().format(failed)
    assert "\n" not in text
    line = json.loads(text)
    assert line["message"] == "it broke"
    assert line["traceback"].endswith("ZeroDivisionError: integer division or modulo by zero")


def test_no_value_keeps_a_line_from_being_written() -> None:
    fields: dict[str, object] = {"query": "half a \ud800 pair", "path": Path("x")}
    line = json.loads(JsonLines().format(record("odd", fields)))
    assert (line["query"], line["path"]) == ("half a \ud800 pair", "x")


def test_text_lines_leave_out_what_is_not_known() -> None:
    text = TextLines().format(record("done", {"a": 1, "b": None}))
    assert text.endswith("WARNING winnow.x: done a=1")


async def _noting(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that says which request it works for."""
    request = Request(scope, receive)
    told = {"facts": facts_of(request).request_id, "context": REQUEST_ID.get()}
    await PlainTextResponse(json.dumps(told))(scope, receive, send)


@pytest.mark.parametrize("headers", [{}, {"X-Request-Id": "mine"}])
def test_everything_done_for_a_request_knows_its_id(headers: dict[str, str]) -> None:
    answer = _asked(Observed(_noting, RequestLog(0.0, queries=False), Drain(0.0)), headers)
    given = answer.headers["x-request-id"]
    assert answer.json() == {"facts": given, "context": given}
    assert headers.get("X-Request-Id", given) == given


def _asked(app: Callable[..., Any], headers: dict[str, str]) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://winnow") as client:
            return await client.get("/", headers=headers)

    return asyncio.run(ask())


def test_a_line_names_its_process() -> None:
    assert json.loads(JsonLines().format(record("x")))["process"] == os.getpid()
