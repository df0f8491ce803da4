"""POST /explain over a socket: every number in it can be had another way, and is the same."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest

from model_store.calibration import log_odds
from model_store.student import OnnxStudent
from service.schemas import ExplainResponse
from tests.service.conftest import MODELS, Service, StartService, expected_scores
from tests.service.test_bad_requests import problem
from tests.service.test_operation import counter
from vector_store.live import live_header
from vector_store.open import open_store
from vector_store.rows import encoded_at_s

QUERY = ["waterproof", "red", "running", "shoes"]
TITLE = ["Swift", "running", "shoes", "breathable", "crimson"]
LATE = 60_000.0  # the first title waits for its graph to be loaded


def explain(service: Service, **fields: object) -> ExplainResponse:
    """The explanation of a query; it is what the schema documents."""
    body = {"query": " ".join(QUERY), "deadline_ms": LATE, **fields}
    response = service.client.post("/explain", json=body)
    assert response.status_code == 200, response.text
    return ExplainResponse.model_validate_json(response.content)


@pytest.mark.parametrize("model", MODELS)
def test_a_word_of_the_query_adds_what_the_score_loses_without_it(
    service: Service, titles: dict[str, str], model: str
) -> None:
    product = next(each for each, title in titles.items() if "shoes" in title.lower())
    explained = explain(service, product_id=product, model=model)
    asked: dict[str, object] = {"model": model, "raw": True}
    whole = service.score(" ".join(QUERY), [product], asked).json()
    assert explained.score == whole["scores"][0]
    assert explained.raw_score == whole["raw_scores"][0]
    assert [each.token for each in explained.query_tokens] == QUERY
    assert any(abs(each.contribution) > 1e-3 for each in explained.query_tokens)
    for i, each in enumerate(explained.query_tokens):
        shorter = " ".join(QUERY[:i] + QUERY[i + 1 :])
        without = service.score(shorter, [product], asked).json()
        assert each.contribution == pytest.approx(
            whole["scores"][0] - without["scores"][0], abs=2e-6
        )
        odds = log_odds(np.array([whole["raw_scores"][0], without["raw_scores"][0]], np.float32))
        assert each.log_odds == pytest.approx(odds[0] - odds[1], abs=1e-4)
    assert explained.title_tokens is None
    assert explained.row.matches_title is None


@pytest.mark.parametrize("model", MODELS)
def test_a_word_of_the_title_adds_what_the_score_loses_without_it(
    service: Service, students: dict[str, OnnxStudent], model: str
) -> None:
    explained = explain(service, title=" ".join(TITLE), model=model)
    assert explained.row.source == "encoded"
    assert explained.product_id is None
    shorter = [" ".join(TITLE[:i] + TITLE[i + 1 :]) for i in range(len(TITLE))]
    scores = [
        expected_scores(students[model], " ".join(QUERY), [title])[0]
        for title in (" ".join(TITLE), *shorter)
    ]
    assert explained.score == pytest.approx(scores[0], abs=2e-3)
    assert explained.title_tokens is not None
    lower = [each.token.lower() for each in explained.title_tokens]
    assert lower == [word.lower() for word in TITLE]
    for each, without in zip(explained.title_tokens, scores[1:], strict=True):
        assert each.contribution == pytest.approx(scores[0] - without, abs=4e-3)


def test_the_row_says_when_it_was_encoded_and_where_it_was(
    service: Service,
    lmdb_store: str,
    redis_store: str,
    ids: list[str],
    students: dict[str, OnnxStudent],
) -> None:
    unseen = ids[1234]
    assert explain(service, product_id=unseen).row.source == "store"
    service.score("anything", [unseen])
    row = explain(service, product_id=unseen).row
    assert row.source == "cache"
    url = redis_store if "redis" in service.wait_for("/info").json()["store"] else lmdb_store
    manifest = students[MODELS[0]].manifest
    store = open_store(url, read_only=True)
    header = live_header(store, manifest.vector_fingerprint, manifest.d_p)
    (record,) = store.get(header, [unseen])
    store.close()
    assert record is not None
    assert row.encoded_at == datetime.fromtimestamp(encoded_at_s(record), UTC)
    assert 0 <= row.age_s <= time.time() - encoded_at_s(record)


@pytest.mark.parametrize("model", MODELS)
def test_a_title_that_is_not_the_stored_one_is_told(
    service: Service, titles: dict[str, str], model: str
) -> None:
    product, title = next(iter(titles.items()))
    same = explain(service, product_id=product, title=title, model=model)
    assert same.row.matches_title is True
    assert same.title_tokens
    other = explain(service, product_id=product, title=f"{title} for 100 cats", model=model)
    assert other.row.matches_title is False
    assert other.score == same.score  # of the stored row
    spaced = explain(service, product_id=product, title=f" {title} ", model=model)
    assert spaced.row.matches_title is True  # the same row


def test_unknown_and_cut_off_words_are_told(service: Service) -> None:
    words = ["qqzzqq", *["red"] * 200]
    explained = explain(service, query=" ".join(words), title="shoes", model=MODELS[1])
    statuses = [each.status for each in explained.query_tokens]
    assert len(statuses) == 201
    assert statuses[:2] == ["unknown", "known"]
    assert statuses[-1] == "cut"
    assert all(each.contribution == 0 for each in explained.query_tokens if each.status == "cut")


@pytest.mark.parametrize("query", ["", "😀", "a\x00b", "鞋" * 900])
@pytest.mark.parametrize("model", MODELS)
def test_every_pair_is_explained(service: Service, model: str, query: str) -> None:
    explained = explain(service, query=query, title="!", model=model)
    assert 0 <= explained.score <= 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({}, "body"),
        ({"product_id": None, "title": None}, "body"),
        ({"product_id": ""}, "product_id"),
        ({"title": ""}, "title"),
        ({"title": "x" * 2001}, "title"),
        ({"title": "x", "query": "x" * 1001}, "query"),
        ({"title": "x", "query": None}, "query"),
        ({"title": "x", "product_ids": ["p0001"]}, "product_ids"),
    ],
)
def test_an_invalid_field_is_422_and_named(
    service: Service, change: dict[str, object], field: str
) -> None:
    document = problem(service.client.post("/explain", json={"query": "a", **change}), 422)
    errors = document["errors"]
    assert isinstance(errors, list)
    assert errors[0]["field"] == field


def test_a_product_without_a_row_is_404(service: Service) -> None:
    body = {"query": "a", "product_id": "nobody"}
    document = problem(service.client.post("/explain", json=body), 404)
    assert "'nobody'" in str(document["detail"])
    assert document["type"] == "urn:winnow:problem:no-row"


def test_an_unfinished_explanation_is_504(service: Service) -> None:
    body = {"query": "red shoes", "title": "red shoes", "deadline_ms": 0.001}
    document = problem(service.client.post("/explain", json=body), 504)
    assert "raise deadline_ms" in str(document["detail"])


def test_its_encodings_are_admitted_like_candidates(
    cheap_store: str, start_service: StartService
) -> None:
    limits = {"max_candidates": "300", "max_inflight_candidates": "300"}
    service = start_service(cheap_store, {"models": "shop-deepdot", **limits})
    service.wait_for("/readyz")
    body = {"query": "many " * 150, "title": "x", "deadline_ms": LATE}  # as much as there may be
    shed: list[httpx.Response] = []
    answered = 0
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            for answer in threads.map(
                lambda _: service.client.post("/explain", json=body), range(8)
            ):
                answered += answer.status_code == 200
                shed += [answer] if answer.status_code == 429 else []
            if shed:
                break
    assert answered
    problem(shed[0], 429)
    assert shed[0].headers["retry-after"] == "1"
    text = service.wait_for("/metrics").text
    assert counter(text, 'winnow_shed_requests_total{endpoint="/explain"}') == len(shed)
    assert counter(text, "winnow_inflight_candidates") == 0
    done = 'winnow_request_duration_seconds_count{code="200",endpoint="/explain"}'
    assert counter(text, done) == answered
