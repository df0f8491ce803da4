"""What /filter keeps, as a pure function."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.coverage import DEADLINE, MISSING_PRODUCT, SCORED, SHED, STORE_ERROR, coverage
from service.filtering import Page, filter_page, ordered

NAN = float("nan")
Missing = Literal["keep", "drop", "last"]


@dataclass(frozen=True)
class Listed:
    """A Page with its positions as lists, which can be compared."""

    kept: list[int]
    removed: list[int]
    passed_through: bool


def listed(page: Page) -> Listed:
    return Listed(page.kept.tolist(), page.removed.tolist(), page.passed_through)


def page(
    scores: list[float],
    threshold: float,
    min_keep: int = 0,
    missing: Missing = "keep",
    sort_values: list[float | None] | None = None,
    order: Literal["asc", "desc"] = "asc",
) -> Listed:
    values = np.array(scores, dtype=np.float32)
    codes = np.where(np.isnan(values), MISSING_PRODUCT, SCORED).astype(np.uint8)
    by = None if sort_values is None else np.array(sort_values, dtype=np.float64)
    positions = ordered(len(scores), by, order)
    return listed(filter_page(values, codes, positions, threshold, min_keep, missing))


def test_the_threshold_is_inclusive_and_order_is_kept() -> None:
    assert page([0.2, 0.5, 0.9, 0.4999], 0.5) == Listed([1, 2], [0, 3], passed_through=False)


def test_a_score_sent_back_as_the_threshold_keeps_its_product() -> None:
    score = float(str(np.float32(0.73120004)))
    assert page([score], score).kept == [0]


@pytest.mark.parametrize(
    ("missing", "kept", "removed"),
    [("keep", [0, 1], [2]), ("drop", [1], [0, 2]), ("last", [1, 0], [2])],
)
def test_missing_products(missing: Missing, kept: list[int], removed: list[int]) -> None:
    assert page([NAN, 0.9, 0.1], 0.5, missing=missing) == Listed(
        kept, removed, passed_through=False
    )


def test_min_keep_brings_back_the_best_in_place() -> None:
    assert page([0.1, 0.3, 0.2, 0.9], 0.95, min_keep=2).kept == [1, 3]
    assert page([0.1, 0.3], 0.95, min_keep=10).kept == [0, 1]


def test_sort_values_order_the_answer_stably_null_last() -> None:
    assert page([0.9] * 4, 0.5, sort_values=[3, None, 1, 3]).kept == [2, 0, 3, 1]
    assert page([0.9] * 4, 0.5, sort_values=[3, None, 1, 3], order="desc").kept == [0, 3, 2, 1]


@pytest.mark.parametrize("code", [DEADLINE, STORE_ERROR, SHED])
def test_what_could_not_be_scored_in_time_passes_through_whole(code: int) -> None:
    scores = np.array([0.0, NAN, 0.9], dtype=np.float32)
    codes = np.array([SCORED, code, SCORED], dtype=np.uint8)
    assert listed(filter_page(scores, codes, ordered(3, None, "asc"), 0.5, 0, "drop")) == Listed(
        [0, 1, 2], [], passed_through=True
    )


def test_an_empty_page() -> None:
    assert page([], 0.5, min_keep=3) == Listed([], [], passed_through=False)


@given(
    scores=st.lists(st.one_of(st.floats(0, 1, width=32), st.just(NAN)), max_size=30),
    threshold=st.floats(0, 1, width=32),
    min_keep=st.integers(0, 40),
    missing=st.sampled_from(["keep", "drop", "last"]),
)
def test_kept_and_removed_are_a_partition_and_only_low_scores_go(
    scores: list[float], threshold: float, min_keep: int, missing: Missing
) -> None:
    result = page(scores, threshold, min_keep, missing)
    assert sorted(result.kept + result.removed) == list(range(len(scores)))
    assert len(result.kept) >= min(min_keep, len(scores))
    for position in result.removed:
        assert np.isnan(scores[position]) or scores[position] < threshold
    if min_keep == 0:
        for position in result.kept:
            assert np.isnan(scores[position]) or scores[position] >= threshold


def test_coverage_counts_every_reason() -> None:
    codes = np.array([SCORED, SCORED, MISSING_PRODUCT, DEADLINE], dtype=np.uint8)
    assert coverage(codes) == {
        "requested": 4,
        "scored": 2,
        "percent": 50.0,
        "full": False,
        "degraded": {"missing_product": 1, "deadline": 1},
    }
    assert coverage(codes[:0]) == {
        "requested": 0,
        "scored": 0,
        "percent": 100.0,
        "full": True,
        "degraded": {},
    }
