"""Figures from rounds that were made up, so that every one can be reckoned by hand."""

import pytest

from bench.report import bars, ratios, spread, stage_rows, stages
from bench.rounds import Plan, Round

PLAN = Plan(candidates=100, requests=1, warmup=1, rounds=2, seed=7, long=True)


def _round(cold: float) -> Round:
    return {
        "cold": {"decode": [1.0], "query": [2.0], "added": [0.5], "http": [0.5], "all": [cold]},
        "bare": {"query": [3.0], "rows": [4.0], "head": [1.0], "all": [8.0]},
        "warm": {"head": [2.0], "http": [2.0], "all": [4.0]},
        "heads": {"onnxruntime": [5.0], "service": [2.0]},
        "zipf": {"head": [1.0, 3.0], "all": [5.0, 5.0]},
        "long": {"all": [30.0], "short": [4.0]},
    }


def test_ratios() -> None:
    found = {name: spread(values)["median"] for name, values in ratios([_round(4.0)], PLAN).items()}
    assert found == {
        "cold / bare": 0.5,
        "warm / ONNX Runtime's head alone": 0.8,
        "warm / its head stage": 2.0,
        "zipf p99 / p50": 1.0,
        "head / ONNX Runtime's head": 0.4,
        "per candidate, 1,000 / 100": 0.75,
    }


def test_spread_over_the_rounds() -> None:
    rounds = [_round(4.0), _round(8.0), _round(16.0)]
    assert ratios(rounds, PLAN)["cold / bare"] == [0.5, 1.0, 2.0]
    assert spread([0.5, 2.0, 1.0]) == {"median": 1.0, "min": 0.5, "max": 2.0}
    assert stage_rows(rounds)[-2] == [
        *("all, p50", "8.00 (8.00-8.00)", "8.00 (4.00-16.0)", "4.00 (4.00-4.00)"),
        "5.00 (5.00-5.00)",
    ]


def test_stages_in_their_order() -> None:
    """A stage that the service adds one day is shown, not lost."""
    assert stages(_round(4.0)) == ["decode", "query", "rows", "head", "added", "http", "all"]


def test_the_parts_of_a_bar_add_up() -> None:
    shown = bars([_round(4.0)])
    assert shown["zipf"]["head"] == pytest.approx(2.0)
    assert sum(shown["cold"].values()) == pytest.approx(4.0)
