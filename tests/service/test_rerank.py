"""POST /rerank in each shape: what is answered, what is left out, what is refused."""

import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from service.rerank_cohere import CohereResponse
from tests.service.conftest import MODELS, Service, StartService
from tests.service.test_operation import counter

PATHS = ("/rerank", "/v1/rerank", "/v2/rerank")
QUERY = "red running shoes"


def ask(service: Service, body: dict[str, object], path: str = "/rerank") -> httpx.Response:
    return service.client.post(path, json={"query": QUERY, **body})


def results(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["results"]
    return found


@pytest.fixture
def few(titles: dict[str, str]) -> dict[str, str]:
    """Products of the shop by id, each with a title of its own."""
    distinct = {title: product for product, title in list(titles.items())[::61]}
    return {product: title for title, product in distinct.items()}


@pytest.mark.parametrize("model", MODELS)
def test_a_text_scores_as_the_stored_row_of_its_title(
    service: Service, titles: dict[str, str], model: str
) -> None:
    chosen = dict(list(titles.items())[::13])
    stored = service.score(QUERY, list(chosen), {"model": model}).json()["scores"]
    for start, stop in ((0, 1), (1, 4), (4, len(chosen))):
        texts = list(chosen.values())[start:stop]
        answer = ask(service, {"documents": texts, "model": model}, "/rerank?format=opensearch")
        assert [each["relevance_score"] for each in results(answer)] == stored[start:stop]


@pytest.mark.parametrize("path", PATHS)
def test_cohere_and_jina_get_their_fields(service: Service, few: dict[str, str], path: str) -> None:
    texts = list(few.values())
    response = ask(service, {"documents": texts, "top_n": 3, "return_documents": True}, path)
    answer = CohereResponse.model_validate_json(response.content, strict=True)
    scores = [each.relevance_score for each in answer.results]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3
    assert [each.document for each in answer.results] == [
        {"text": texts[each.index]} for each in answer.results
    ]
    everything = results(ask(service, {"documents": texts}, path))
    assert [each["relevance_score"] for each in everything[:3]] == scores
    assert len(everything) == len(texts)
    assert "document" not in everything[0]
    assert answer.meta.api_version == {"version": "1" if path == "/v1/rerank" else "2"}
    assert answer.meta.coverage.full
    assert answer.id == response.headers["x-request-id"]
    assert answer.model == MODELS[0]
    assert answer.usage["total_tokens"] == answer.meta.billed_units["search_units"] == 0
    assert "texts;dur=" in response.headers["server-timing"]


def test_documents_may_be_objects(service: Service) -> None:
    plain = results(ask(service, {"documents": ["red shoes for men"]}))[0]
    objects: list[tuple[object, list[str] | None]] = [
        ({"text": "red shoes for men", "id": 7}, None),
        ({"title": "red shoes", "for": "for men"}, ["title", "for"]),
    ]
    for document, fields in objects:
        body: dict[str, object] = {
            "documents": [document],
            "rank_fields": fields,
            "return_documents": True,
        }
        assert results(ask(service, body))[0] == {**plain, "document": document}
    refused = ask(service, {"documents": ["a", {"title": "b"}]})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "documents.1.text"


def test_what_is_not_used_is_said(service: Service) -> None:
    body: dict[str, object] = {"documents": ["a"], "max_tokens_per_doc": 5, "priority": 1}
    (warning,) = ask(service, body).json()["meta"]["warnings"]
    assert warning.startswith("not used: max_tokens_per_doc, priority;")
    assert "warnings" not in ask(service, {"documents": ["a"]}).json()["meta"]


def test_repeated_texts_score_alike_and_ties_keep_their_order(service: Service) -> None:
    found = results(ask(service, {"documents": ["lamp", "red shoes", "lamp", "red shoes"]}))
    assert [each["index"] for each in found] == [1, 3, 0, 2]
    assert found[0]["relevance_score"] == found[1]["relevance_score"]


@pytest.mark.parametrize("text", ["", " ", "😀", "a\x00b", "鞋" * 3_000])
def test_every_text_has_a_finite_score(service: Service, text: str) -> None:
    for model in MODELS:
        (found,) = results(ask(service, {"documents": [text], "model": model}))
        assert 0.0 <= found["relevance_score"] <= 1.0


def test_tei_gets_its_bare_array(service: Service, few: dict[str, str]) -> None:
    texts = list(few.values())
    response = ask(service, {"texts": texts, "return_text": True, "truncate": True})
    assert response.status_code == 200
    answer = response.json()
    expected = results(ask(service, {"documents": texts}))
    assert answer == [
        {
            "index": each["index"],
            "score": each["relevance_score"],
            "text": texts[each["index"]],
        }
        for each in expected
    ]
    assert response.headers["x-compute-type"] == "cpu"
    assert response.headers["x-compute-characters"] == str(sum(map(len, texts)))
    assert response.headers["x-winnow-model"] == MODELS[0]
    raw = ask(service, {"texts": texts, "raw_scores": True, "top_n": 4}).json()
    documents = results(ask(service, {"documents": texts, "raw_scores": True, "top_n": 4}))
    assert [each["relevance_score"] for each in documents] == [each["score"] for each in raw]
    assert len(raw) == 4
    for each, logit in zip(answer, raw, strict=False):
        assert set(logit) == {"index", "score"}
        assert 1 / (1 + math.exp(-logit["score"])) == pytest.approx(each["score"], abs=1e-5)


def test_ids_in_the_place_of_texts(service: Service, few: dict[str, str]) -> None:
    ids = [*few, "nobody", ""]
    scores = service.score(QUERY, list(few)).json()["scores"]
    response = ask(service, {"documents": ids}, "/rerank?documents=ids")
    found = {each["index"]: each["relevance_score"] for each in results(response)}
    assert found == dict(enumerate(scores))  # who has no row is not in it, and is named
    meta = response.json()["meta"]
    assert meta["missing"] == [len(few), len(few) + 1]
    assert meta["coverage"]["degraded"] == {"missing_product": 2}
    tei = ask(service, {"texts": ids}, "/rerank?documents=ids")
    assert {each["index"]: each["score"] for each in tei.json()} == found
    assert json.loads(tei.headers["x-winnow-coverage"]) == meta["coverage"]


@pytest.mark.parametrize("missing", [None, 1.0, 0.25])
def test_an_engine_gets_every_index_in_order_with_a_float(
    service: Service, few: dict[str, str], missing: float | None
) -> None:
    ids = [*few, "nobody"]
    path = "/rerank?documents=ids&format=opensearch"
    if missing is not None:
        path += f"&missing_score={missing}"
    answer = ask(service, {"documents": ids, "top_n": 1, "return_documents": True}, path)
    bare = ask(service, {"texts": ids, "return_text": True}, path).json()
    assert results(answer) == bare
    assert [each["index"] for each in bare] == list(range(len(ids)))
    for each in bare:
        assert list(each) == ["index", "relevance_score"]
        assert type(each["relevance_score"]) is float  # 0 and 1 too: engines cast, and fail
    assert bare[-1]["relevance_score"] == (missing or 0.0)
    assert answer.json()["meta"]["missing"] == [len(few)]


def test_no_documents_are_an_empty_answer(service: Service) -> None:
    assert results(ask(service, {"documents": [], "top_n": 0})) == []
    assert ask(service, {"texts": []}).json() == []
    assert results(ask(service, {"documents": []}, "/rerank?documents=ids")) == []


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/rerank", {}, 422, "`documents`"),
        ("/rerank", {"documents": ["a"], "texts": ["a"]}, 422, "one of them"),
        ("/rerank", {"documents": [1]}, 422, "documents.0"),
        ("/rerank", {"documents": ["a"], "model": "nobody"}, 404, MODELS[0]),
        ("/rerank", {"documents": ["a"], "top_n": -1}, 422, "top_n"),
        ("/rerank", {"documents": ["a"], "embed": True}, 422, "embed"),
        ("/rerank?documents=skus", {"documents": ["a"]}, 422, "documents"),
        ("/rerank?format=opensearch&format=x", {"documents": ["a"]}, 422, "format"),
        ("/rerank?missing_score=2", {"documents": ["a"]}, 422, "missing_score"),
        ("/rerank", {"documents": ["a"] * 257}, 413, "256"),
        ("/rerank?documents=ids", {"documents": ["a"] * 10_001}, 413, "10000"),
        ("/rerank", {"documents": ["a" * 4_001]}, 413, "4000"),
        ("/rerank", {"documents": ["a"], "query": "a" * 1_001}, 422, "1000"),
        ("/rerank", {"documents": ["a"], "deadline_ms": 0.001}, 504, "deadline"),
    ],
)
def test_refusals_name_what_is_wrong(
    service: Service, path: str, body: dict[str, object], status: int, says: str
) -> None:
    response = ask(service, body, path)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert says in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"texts": [1]}, 422, "Validation"),
        ({"texts": ["a"], "truncation_direction": "Left"}, 422, "Validation"),
        ({"texts": ["a"] * 257}, 413, "Validation"),
        ({"texts": ["a"], "model": "nobody"}, 404, "Validation"),
        ({"texts": ["a"], "deadline_ms": 0.001}, 424, "Backend"),
    ],
)
def test_tei_gets_its_errors(
    service: Service, body: dict[str, object], status: int, kind: str
) -> None:
    response = ask(service, body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error_type"] == kind
    assert response.json()["error"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"query":"a","documents":["\\ud800"]}'])
def test_what_is_no_json_object_is_400(service: Service, body: bytes) -> None:
    response = service.client.post("/v1/rerank", content=body)
    assert response.status_code == 400
    assert response.json()["title"] == "Malformed JSON"


def test_requests_are_counted_by_endpoint(service: Service) -> None:
    series = (
        'winnow_degraded_responses_total{endpoint="/v1/rerank",reason="missing_product"}',
        'winnow_request_duration_seconds_count{code="200",endpoint="/v1/rerank"}',
        'winnow_stage_duration_seconds_count{stage="texts"}',
    )
    before = [counter(service.client.get("/metrics").text, each) for each in series]
    ask(service, {"documents": ["nobody"]}, "/v1/rerank?documents=ids&format=opensearch")
    ask(service, {"documents": ["lamp"]}, "/v1/rerank")
    after = [counter(service.client.get("/metrics").text, each) for each in series]
    assert [new - old for old, new in zip(before, after, strict=True)] == [1, 2, 1]


def test_texts_count_for_more_where_requests_are_admitted(
    cheap_store: str, start_service: StartService, ids: list[str]
) -> None:
    """A hundred candidates each; a worker that is idle takes any request."""
    settings = {"models": MODELS[2], "max_candidates": "1000", "max_inflight_candidates": "1000"}
    service = start_service(cheap_store, {**settings, "deadline_ms": "60000"})
    service.wait_for("/readyz")
    texts = [f"lamp {place} {'word ' * 700}" for place in range(200)]
    body = {"query": QUERY, "documents": texts}
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(partial(httpx.post, f"{service.url}/rerank", json=body, timeout=60))
        give_up = time.monotonic() + 30
        while counter(service.client.get("/metrics").text, "winnow_inflight_candidates") != 1000:
            assert time.monotonic() < give_up
        response = ask(service, {"texts": ["lamp"]})
        assert response.status_code == 429
        assert response.json()["error_type"] == "Overloaded"
        assert response.headers["retry-after"] == "1"
        assert service.score(QUERY, ids[:1]).status_code == 429
        assert len(results(long.result())) == 200
    metrics = service.client.get("/metrics").text
    assert counter(metrics, "winnow_inflight_candidates") == 0
    assert counter(metrics, 'winnow_shed_requests_total{endpoint="/rerank"}') == 1
