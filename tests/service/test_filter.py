"""POST /filter over a socket; tests/service/test_filtering.py has the rules themselves."""

import pytest

from model_store.student import OnnxStudent
from service.schemas import FilterResponse
from tests.service.conftest import MODELS, Service

QUERY = "waterproof tent"


@pytest.mark.parametrize("sort", ["default", "price", "sale"])
def test_it_keeps_what_scores_at_least_the_threshold_of_the_sort_mode(
    service: Service, ids: list[str], students: dict[str, OnnxStudent], sort: str
) -> None:
    candidates = ids[:400]
    scores = service.score(QUERY, candidates).json()["scores"]
    response = service.filter(QUERY, candidates, {"sort": sort})
    answer = response.json()
    FilterResponse.model_validate_json(response.content, strict=True)
    threshold = getattr(students[MODELS[0]].manifest.thresholds, sort)
    assert answer["threshold"] == threshold
    by_score = dict(zip(candidates, scores, strict=True))
    assert answer["kept"] == [p for p in candidates if by_score[p] >= threshold]
    assert answer["removed"] == [p for p in candidates if by_score[p] < threshold]
    assert answer["passed_through"] is False


def test_a_threshold_of_the_request_wins(service: Service, ids: list[str]) -> None:
    assert service.filter(QUERY, ids[:50], {"threshold": 0.0}).json()["kept"] == ids[:50]
    answer = service.filter(QUERY, ids[:50], {"threshold": 1.0, "min_keep": 4}).json()
    assert len(answer["kept"]) == 4


def test_unknown_products_are_kept_unless_asked_otherwise(service: Service, ids: list[str]) -> None:
    candidates = ["nobody", *ids[:2]]
    kept = service.filter(QUERY, candidates, {"threshold": 0.0}).json()["kept"]
    assert kept == candidates
    dropped = service.filter(QUERY, candidates, {"threshold": 0.0, "missing": "drop"}).json()
    assert dropped["kept"] == ids[:2]
    assert dropped["removed"] == ["nobody"]
    last = service.filter(QUERY, candidates, {"threshold": 0.0, "missing": "last"}).json()
    assert last["kept"] == [*ids[:2], "nobody"]


def test_sort_values_order_the_page(service: Service, ids: list[str]) -> None:
    fields = {"threshold": 0.0, "sort": "price", "sort_values": [3, 1.5, None, 2]}
    assert service.filter(QUERY, ids[:4], fields).json()["kept"] == [ids[i] for i in (1, 3, 0, 2)]


def test_out_of_time_the_list_passes_through_unchanged(service: Service, ids: list[str]) -> None:
    answer = service.filter(QUERY, ids[:30], {"threshold": 1.0, "deadline_ms": 0.001}).json()
    assert answer["kept"] == ids[:30]
    assert answer["removed"] == []
    assert answer["passed_through"] is True
    assert answer["coverage"]["degraded"] == {"deadline": 30}


def test_duplicates_stay(service: Service, ids: list[str]) -> None:
    answer = service.filter(QUERY, [ids[0]] * 3, {"threshold": 0.0}).json()
    assert answer["kept"] == [ids[0]] * 3
