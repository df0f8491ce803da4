"""POST /score over a socket: what is scored, how it is answered, and that nothing sways a score."""

import random

import numpy as np
import pytest

from model_store.student import OnnxStudent
from service.schemas import ScoreResponse
from tests.service.conftest import MODELS, Service, expected_scores


@pytest.mark.parametrize("model", MODELS)
def test_scores_are_those_of_the_bundle(
    service: Service, students: dict[str, OnnxStudent], titles: dict[str, str], model: str
) -> None:
    chosen = list(titles)[::7]
    answer = service.score("red running shoes", chosen, {"model": model}).json()
    expected = expected_scores(
        students[model], "red running shoes", [titles[product] for product in chosen]
    )
    np.testing.assert_allclose(answer["scores"], expected, atol=2e-3)
    assert answer["model"] == model
    assert answer["version"] == students[model].manifest.version


def test_the_answer_is_what_the_schema_documents(service: Service, ids: list[str]) -> None:
    response = service.score("拉杆箱", ids[:20])
    assert response.headers["content-type"] == "application/json"
    answer = ScoreResponse.model_validate_json(response.content, strict=True)
    assert answer.coverage.full
    assert set(answer.timings_ms) == {"decode", "wait", "query", "rows", "head"}
    assert "head;dur=" in response.headers["server-timing"]


def test_the_first_model_is_the_default(service: Service, ids: list[str]) -> None:
    assert service.score("a", ids[:1]).json()["model"] == MODELS[0]


@pytest.mark.parametrize("model", MODELS)
def test_a_score_depends_on_nothing_but_its_pair(
    service: Service, ids: list[str], model: str
) -> None:
    fields: dict[str, object] = {"model": model}
    everything = service.score("cordless drill", ids, fields).json()["scores"]
    score_of = dict(zip(ids, everything, strict=True))
    shuffled = random.Random(5).sample(ids, len(ids))
    for candidates in (shuffled, shuffled[:513], shuffled[:1], shuffled[:3] * 2):
        answer = service.score("cordless drill", candidates, fields).json()["scores"]
        assert answer == [score_of[product] for product in candidates]


def test_unknown_products_are_null_and_counted(service: Service, ids: list[str]) -> None:
    answer = service.score("shoes", ["nobody", ids[0], "x" * 256, "ü" * 200]).json()
    assert [score is None for score in answer["scores"]] == [True, False, True, True]
    assert answer["coverage"] == {
        "requested": 4,
        "scored": 1,
        "percent": 25.0,
        "full": False,
        "degraded": {"missing_product": 3},
    }


def test_no_candidates(service: Service) -> None:
    response = service.score("shoes", [])
    assert response.status_code == 200
    assert response.json()["scores"] == []
    assert response.json()["coverage"]["full"] is True


@pytest.mark.parametrize("query", ["", " ", "😀", "a\x00b", "鞋" * 900, "zzzz unknown qqqq"])
@pytest.mark.parametrize("model", MODELS)
def test_every_query_has_finite_scores(
    service: Service, ids: list[str], model: str, query: str
) -> None:
    response = service.score(query, ids[:3], {"model": model})
    assert response.status_code == 200
    assert all(0.0 <= score <= 1.0 for score in response.json()["scores"])


def test_raw_scores_stand_under_their_own_name(service: Service, ids: list[str]) -> None:
    assert "raw_scores" not in service.score("a", ids[:2]).json()
    answer = service.score("a", ids[:2], {"raw": True}).json()
    assert len(answer["raw_scores"]) == 2


def test_the_binary_answer_holds_the_same_scores(service: Service, ids: list[str]) -> None:
    candidates = [*ids[:50], "nobody"]
    scores = service.score("phone case", candidates).json()["scores"]
    response = service.client.post(
        "/score",
        json={"query": "phone case", "product_ids": candidates},
        headers={"Accept": "application/octet-stream"},
    )
    assert response.headers["content-type"] == "application/octet-stream"
    binary = np.frombuffer(response.content, dtype="<f4")
    assert np.isnan(binary[-1])
    assert scores[-1] is None
    np.testing.assert_array_equal(binary[:-1], np.array(scores[:-1], dtype=np.float32))
    assert '"missing_product":1' in response.headers["x-winnow-coverage"]
    assert response.headers["x-winnow-model"] == MODELS[0]


def test_a_deadline_that_has_passed_scores_nothing_and_says_so(
    service: Service, ids: list[str]
) -> None:
    response = service.score("shoes", ids[:10], {"deadline_ms": 0.001})
    assert response.status_code == 200
    assert response.json()["scores"] == [None] * 10
    assert response.json()["coverage"]["degraded"] == {"deadline": 10}


def test_a_strict_deadline_is_504(service: Service, ids: list[str]) -> None:
    response = service.score("shoes", ids[:10], {"deadline_ms": 0.001, "strict": True})
    assert response.status_code == 504
    assert response.headers["content-type"] == "application/problem+json"
