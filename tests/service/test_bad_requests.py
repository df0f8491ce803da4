"""Every bad input gets the stated problem document, which says what was expected."""

import json

import httpx
import pytest

from service.schemas import Problem
from tests.service.conftest import MODELS, Service

GOOD: dict[str, object] = {"query": "shoes", "product_ids": ["p0001"]}


def problem(response: httpx.Response, status: int) -> dict[str, object]:
    """The problem document of an answer, after checking that it is one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = Problem.model_validate_json(response.content)
    assert document.status == status
    found: dict[str, object] = response.json()
    return found


@pytest.mark.parametrize("path", ["/score", "/filter"])
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"query": ', b"\xff\xfe", b"nonsense", b'{"query": "\\ud800"}', b"[" * 9999],
)
def test_malformed_json_is_400(service: Service, path: str, body: bytes) -> None:
    problem(service.client.post(path, content=body), 400)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"query": None}, "query"),
        ({"query": 5}, "query"),
        ({"query": "x" * 1001}, "query"),
        ({"product_ids": "p1"}, "product_ids"),
        ({"product_ids": [1]}, "product_ids.0"),
        ({"product_ids": ["p1", None]}, "product_ids.1"),
        ({"product_ids": [""]}, "product_ids.0"),
        ({"product_ids": ["x" * 257]}, "product_ids.0"),
        ({"model": 7}, "model"),
        ({"deadline_ms": 0}, "deadline_ms"),
        ({"deadline_ms": -1}, "deadline_ms"),
        ({"deadline_ms": "fast"}, "deadline_ms"),
        ({"raw": "yes"}, "raw"),
        ({"treshold": 0.5}, "treshold"),
    ],
)
def test_an_invalid_field_of_score_is_422_and_named(
    service: Service, change: dict[str, object], field: str
) -> None:
    document = problem(service.client.post("/score", json={**GOOD, **change}), 422)
    errors = document["errors"]
    assert isinstance(errors, list)
    assert errors[0]["field"] == field
    assert field in str(document["detail"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sort": "cheapest"}, "sort"),
        ({"sort": None}, "sort"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"min_keep": -1}, "min_keep"),
        ({"min_keep": 1.5}, "min_keep"),
        ({"missing": "neutral"}, "missing"),
        ({"sort_values": [1, 2]}, "sort_values"),
        ({"sort_values": [float("inf")]}, "sort_values"),
        ({"sort_values": ["cheap"]}, "sort_values.0"),
        ({"order": "up"}, "order"),
    ],
)
def test_an_invalid_field_of_filter_is_422_and_named(
    service: Service, change: dict[str, object], field: str
) -> None:
    body = json.dumps({**GOOD, "sort": "price", **change})
    document = problem(service.client.post("/filter", content=body), 422)
    errors = document["errors"]
    assert isinstance(errors, list)
    assert errors[0]["field"] == field


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"text"'])
def test_json_that_is_no_object_is_422(service: Service, body: bytes) -> None:
    problem(service.client.post("/score", content=body), 422)


def test_one_candidate_too_many_is_413_and_names_the_limit(service: Service) -> None:
    assert service.score("shoes", ["p0001"] * 10_000).status_code == 200
    document = problem(service.score("shoes", ["p0001"] * 10_001), 413)
    assert document["limit"] == 10_000
    assert "10001" in str(document["detail"])


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_too_large_is_413(service: Service, chunked: bool) -> None:
    body = b'{"query": "' + b"x" * (4 * 2**20) + b'"}'
    content = iter([body[: 2**20], body[2**20 :]]) if chunked else body
    document = problem(service.client.post("/score", content=content), 413)
    assert document["limit"] == 4 * 2**20


def test_a_compressed_body_is_415(service: Service) -> None:
    headers = {"Content-Encoding": "gzip"}
    problem(service.client.post("/score", content=b"\x1f\x8b", headers=headers), 415)


@pytest.mark.parametrize("name", ["nobody", ""])
def test_an_unknown_model_is_404_and_names_those_there_are(service: Service, name: str) -> None:
    document = problem(service.score("shoes", ["p0001"], {"model": name}), 404)
    assert document["models"] == list(MODELS)


def test_unknown_paths_and_methods_are_problems_too(service: Service) -> None:
    problem(service.client.get("/nowhere"), 404)
    response = service.client.get("/score")
    problem(response, 405)
    assert response.headers["allow"] == "POST"
