"""The plain client against the real service: what it sends is understood, what comes is counted."""

import socket

import orjson
import pytest

from loadtest.client import Answer, Client, Outcome, ServerGone, parse_head
from loadtest.closed_loop import measure
from loadtest.traffic import Traffic, read_ids, read_queries
from tests.loadtest.conftest import CATALOGUE, MODEL, QUERIES
from tests.service.conftest import Service


def test_answers_are_whole(service: Service) -> None:
    traffic = Traffic(read_ids(CATALOGUE), read_queries(QUERIES), 7)
    with Client(service.url) as client:
        assert client.get("/readyz").status == 200
        for request in traffic.requests(20):
            answer = client.post(request.path, request.body)
            assert (answer.status, answer.outcome) == (200, "ok")
            body = orjson.loads(answer.body)
            assert body["coverage"]["requested"] == request.candidates
            assert body["model"] == MODEL
            assert answer.timings_ms == body["timings_ms"]
            assert {"decode", "rows", "head"} <= answer.timings_ms.keys()


def test_outcomes(service: Service) -> None:
    with Client(service.url) as client:
        unknown = b'{"query":"shoes","product_ids":["p0001","\\"full\\":true"]}'
        assert client.post("/score", unknown).outcome == "degraded"
        assert client.post("/score", b'{"query":"shoes"}').outcome == "failed"
        assert client.post("/score", b'{"query":"shoes","product_ids":["p0001"]}').outcome == "ok"


@pytest.mark.parametrize(
    ("status", "body", "retry_after_s", "outcome"),
    [
        (429, b"{}", 1, "shed"),
        (429, b"{}", None, "failed"),
        (200, b'{"coverage":{"degraded":{"shed":3}},"passed_through":true}', None, "shed"),
        (200, b'{"coverage":{"degraded":{"shed":3}},"passed_through":false}', None, "failed"),
        (503, b'{"detail":"full"}', 1, "failed"),
    ],
)
def test_outcomes_of_a_busy_service(
    status: int, body: bytes, retry_after_s: int | None, outcome: Outcome
) -> None:
    assert Answer(status, {}, body, retry_after_s).outcome == outcome


def test_every_request_is_measured_once(service: Service) -> None:
    traffic = Traffic(read_ids(CATALOGUE), read_queries(QUERIES), 7)
    measured = measure(service.url, traffic.requests(100, 50), connections=8)
    assert measured.outcomes == {"ok": 100}
    assert len(measured.latencies_ms) == len(measured.stages_ms["head"]) == 100
    assert measured.per_second == pytest.approx(100 / measured.wall_s)


def test_a_connection_that_was_closed_while_idle(service: Service) -> None:
    with Client(service.url) as client:
        assert client.get("/healthz").status == 200
        client._socket.shutdown(socket.SHUT_RDWR)  # as the server does after some idle seconds
        assert client.get("/healthz").status == 200


def test_a_server_that_goes_away(service: Service) -> None:
    with Client(service.url) as client:
        assert client.get("/healthz").status == 200
        service.process.kill()
        service.process.wait()
        with pytest.raises((ServerGone, ConnectionError)):
            client.get("/healthz")
    with pytest.raises(OSError, match="refused"):
        Client(service.url)


def test_what_is_not_understood() -> None:
    with pytest.raises(ServerGone, match="with Content-Length"):
        parse_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")
    with pytest.raises(ValueError, match="expected http://HOST:PORT, got https://a"):
        Client("https://a")
