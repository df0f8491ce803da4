"""Damaged bodies and headers: an answer that is documented, no hang, and nothing stays behind."""

import json
import random
import socket
from collections import Counter

import pytest

from loadtest.client import Client, ServerGone
from tests.fuzz.conftest import MODEL, SEED, Fuzz, memory_mb
from tests.fuzz.mutations import mutated, reshaped
from tests.service.conftest import Service

DOCUMENTED = {200, 400, 404, 413, 415, 422, 424, 429, 504}  # 503 is for a store or a student away
PATHS = ("/score",) * 4 + ("/filter",) * 2 + ("/explain",) + ("/v1/rerank",) * 2  # of `bodies`
ANSWERS_WITHIN_S = 60
MORE_MB = 24  # of memory in the later half of the inputs: what malloc keeps of the largest bodies


@pytest.fixture(scope="module")
def bodies(product_ids: list[str]) -> list[bytes]:
    """Good bodies of all calls, in the order of PATHS, with every field in one of them."""
    ids = product_ids
    requests: list[dict[str, object]] = [
        {"query": "red lamp", "product_ids": ids[:8]},
        {"query": "椅子 2", "product_ids": [*ids[5:9], "no such", 'é"\\'], "model": MODEL},
        {"query": "x" * 60, "product_ids": ids[:40], "deadline_ms": 9000, "strict": True},
        {"query": "lamp", "product_ids": [], "raw": True},
        {
            **{"query": "lamp", "product_ids": ids[:6], "sort": "price", "order": "asc"},
            **{"sort_values": [1, 2.5, None, -3e10, 0, 7], "min_keep": 2, "missing": "drop"},
        },
        {"query": "lamp", "product_ids": ids[:300], "sort": "sale", "threshold": 0.25},
        {"query": "red lamp", "product_id": ids[0], "title": "A 灯", "deadline_ms": 9000},
        {
            **{"query": "lamp", "documents": ["desk lamp", {"text": "椅子"}], "top_n": 2},
            **{"return_documents": True, "rank_fields": ["text"], "model": MODEL},
        },
        {"query": "lamp", "texts": ["desk lamp", 'é"\\'], "raw_scores": True, "return_text": True},
    ]
    return [
        json.dumps(each, ensure_ascii=number % 2 == 0).encode()
        for number, each in enumerate(requests)
    ]


def test_good_bodies_are_good(service: Service, bodies: list[bytes]) -> None:
    with Client(service.url) as client:
        answers = [client.post(path, body) for path, body in zip(PATHS, bodies, strict=True)]
    assert [answer.status for answer in answers] == [200] * len(PATHS), answers


def test_damaged_bodies(service: Service, bodies: list[bytes], fuzz: Fuzz) -> None:
    chance, count = random.Random(SEED), fuzz.share(0.7)
    came: Counter[str] = Counter()
    right = _right_answer(service, bodies[0])
    middle_mb = 0.0
    with Client(service.url, ANSWERS_WITHIN_S) as client:
        for number in range(count):
            if number == count // 2:
                middle_mb = memory_mb(service)
            place = chance.randrange(len(bodies))
            path, good = (
                chance.choice((*(PATHS[place],) * 3, "/score", "/filter", "/rerank")),
                bodies[place],
            )
            body = mutated(good, bodies, chance) if number % 2 else reshaped(good, chance)
            answer = client.post(path, body)
            assert answer.status in DOCUMENTED, (number, path, body[:500], answer)
            _check_answer(answer.status, answer.body)
            came[str(answer.status)] += 1
    assert _right_answer(service, bodies[0]) == right
    grown_mb = memory_mb(service) - middle_mb
    fuzz.tell("bodies", count, dict(came), grown_mb=round(grown_mb, 1))
    assert grown_mb < MORE_MB
    assert came["200"] > count // 20  # not all of them are refused by the first check
    assert came["422"] > count // 20


def test_damaged_heads(service: Service, bodies: list[bytes], fuzz: Fuzz) -> None:
    """The bytes before the body; where the connection is closed without an answer, it is closed."""
    chance, count = random.Random(SEED + 1), fuzz.share(0.2)
    heads = [
        b"POST /score HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nX-Request-Id: abc-1\r\nX-Winnow-Key: k\r\n\r\n",
        b"POST /filter HTTP/1.1\r\nHost: shop\r\nAccept: application/octet-stream\r\n"
        b"Content-Length: %d\r\nAuthorization: Bearer x\r\nConnection: keep-alive\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n"
        b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n"
        b"1\r\n{\r\n0\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\n\r\n",
        b"GET /metrics?x=%%00 HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\n\r\n",
    ]
    good = [
        (head % len(body) if b"%d" in head else head) + body
        for head in heads
        for body in bodies[:2]
    ]
    came: Counter[str] = Counter()
    for number in range(count):
        request = mutated(chance.choice(good), good, chance)
        status = _send(service, request)
        assert status is None or status < 500 or status in {501, 505}, (number, request, status)
        came[str(status or "closed")] += 1
    assert _right_answer(service, bodies[0])[0] == 200
    fuzz.tell("heads", count, dict(came))
    assert came["200"] > 0


def _right_answer(service: Service, body: bytes) -> tuple[int, list[float]]:
    with Client(service.url) as client:
        answer = client.post("/score", body)
    return answer.status, json.loads(answer.body)["scores"]


def _check_answer(status: int, body: bytes) -> None:
    """JSON in every case; a refusal says what is wrong."""
    if status == 200 and not body.startswith((b"{", b"[")):
        assert len(body) % 4 == 0
        return
    document = json.loads(body)
    if status != 200:
        assert document.get("error") or (document["status"] == status and document["detail"])
        return
    if isinstance(document, list) or "results" in document:
        results = document if isinstance(document, list) else document["results"]
        assert len({each["index"] for each in results}) == len(results)
        return
    if "query_tokens" in document:
        assert 0 <= document["score"] <= 1
        return
    covered = document["coverage"]
    if "scores" in document:
        scores = document["scores"]
        assert len(scores) == covered["requested"]
        assert all(score is None or 0.0 <= score <= 1.0 for score in scores)
    else:
        assert len(document["kept"]) + len(document["removed"]) == covered["requested"]


def _send(service: Service, request: bytes) -> int | None:
    """The status of the first answer; None: the connection was closed without one.

    What is sent ends there: a server that waits for more of it hears that none comes.
    """
    with socket.create_connection(("127.0.0.1", service.port), ANSWERS_WITHIN_S) as connection:
        received = b""
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(1 << 16):
                received += chunk
        except TimeoutError:
            raise  # it hangs
        except OSError:
            pass  # it had answered, or closed, before all was sent
    if not received:
        return None
    if not received.startswith(b"HTTP/1.1 "):
        raise ServerGone(f"no HTTP/1.1: {received[:100]!r}")
    return int(received[9:12])
