"""What observing a request costs, beside parts of the same request; `pytest -s` shows it."""

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from time import process_time

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.bodies import json_response, parse
from service.drain import Drain
from service.logs import JsonLines
from service.observed import Observed
from service.request_log import RequestLog
from service.schemas import ScoreRequest

ROUNDS, CALLS = 5, 400
HEADERS = [
    (name.encode(), b"some value of a usual length")
    for name in ("host", "accept", "accept-encoding", "connection", "user-agent", "content-length")
]


async def _answering(scope: Scope, receive: Receive, send: Send) -> None:
    scope["route"] = _answering
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b"{}"})


def _asked(app: ASGIApp) -> float:
    """CPU microseconds of a request; the least of the rounds, which no neighbour made longer."""

    async def send(message: Message) -> None:
        """Nobody reads it."""

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def ask() -> float:
        started = process_time()
        for _ in range(CALLS):
            scope = {"type": "http", "method": "POST", "path": "/score", "headers": HEADERS}
            await app(scope, receive, send)
        return (process_time() - started) / CALLS * 1e6

    return min(asyncio.run(ask()) for _ in range(ROUNDS))


def _called(work: Callable[[], object]) -> float:
    """CPU microseconds of a call, as above."""
    taken = []
    for _ in range(ROUNDS):
        started = process_time()
        for _ in range(CALLS):
            work()
        taken.append((process_time() - started) / CALLS * 1e6)
    return min(taken)


def test_observing_costs_less_than_reading_and_writing_a_thousand_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"product-{number}" for number in range(1000)]
    body = json.dumps({"query": "red running shoes", "product_ids": ids}).encode()
    scores = {"scores": [number / 1000 for number in range(1000)]}
    bare = _asked(_answering)
    silent = _asked(Observed(_answering, RequestLog(0.0, queries=False), Drain(0.0))) - bare
    log = logging.getLogger("winnow.request")
    with (tmp_path / "log").open("w") as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(JsonLines())
        log.addHandler(handler)
        monkeypatch.setattr(log, "propagate", False)
        monkeypatch.setattr(log, "level", logging.INFO)
        written = (
            _asked(Observed(_answering, RequestLog(1.0, queries=False), Drain(0.0))) - bare - silent
        )
        log.removeHandler(handler)
    parts = _called(lambda: parse(ScoreRequest, body, 10_000, 1_000))
    parts += _called(lambda: json_response(scores, {"head": 0.001}))
    print(f"CPU us: observed {silent:.1f}, a line {written:.1f} more, body and answer {parts:.1f}")
    assert silent < parts
    share = RequestLog(0.01, queries=False).share
    assert share * written < silent  # of the requests that went well, one in a hundred has a line
