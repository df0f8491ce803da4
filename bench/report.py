"""Rounds to figures: quantiles of each stage, ratios, rows of the tables. Measures nothing."""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, median
from typing import Final

import numpy as np

from bench.rounds import LONG, Column, Plan, Round
from loadtest.figures import median_spread, short

# One value per round.
PerRound = list[float]
SHOWN: Final[tuple[Column, ...]] = ("bare", "cold", "warm", "zipf")
# In the order in which they happen; those a service adds come after them.
_STAGES: Final = ("decode", "wait", "query", "rows", "head")
_LAST: Final = ("http", "all")


def per_round(rounds: Sequence[Round], column: Column, stage: str, percent: float) -> PerRound:
    """A quantile of one stage in each round, ms."""
    return [float(np.percentile(round_[column][stage], percent)) for round_ in rounds]


def ratios(rounds: Sequence[Round], plan: Plan) -> dict[str, PerRound]:
    """What a run is for: each ratio in each round."""

    def p50(column: Column, stage: str) -> PerRound:
        return per_round(rounds, column, stage, 50)

    found = {
        "cold / bare": _divided(p50("cold", "all"), p50("bare", "all")),
        "warm / ONNX Runtime's head alone": _divided(
            p50("warm", "all"), p50("heads", "onnxruntime")
        ),
        "warm / its head stage": _divided(p50("warm", "all"), p50("warm", "head")),
        "zipf p99 / p50": _divided(per_round(rounds, "zipf", "all", 99), p50("zipf", "all")),
        "head / ONNX Runtime's head": _divided(
            p50("heads", "service"), p50("heads", "onnxruntime")
        ),
    }
    if plan.long:
        name = f"per candidate, {LONG * plan.candidates:,} / {plan.candidates:,}"
        lists = _divided(p50("long", "all"), p50("long", "short"))
        found[name] = [ratio / LONG for ratio in lists]
    return found


def document(rounds: Sequence[Round], plan: Plan) -> dict[str, object]:
    """Everything for machines: `{"p50": {"median", "min", "max"}, ...}` per column and stage."""
    return {
        "ms": {
            column: {
                stage: {
                    f"p{percent}": spread(per_round(rounds, column, stage, percent))
                    for percent in (50, 99)
                }
                for stage in rounds[0][column]
            }
            for column in rounds[0]
        },
        "ratios": {name: spread(values) for name, values in ratios(rounds, plan).items()},
    }


def spread(values: PerRound) -> dict[str, float]:
    """Median of the rounds, least and greatest."""
    named: dict[str, Callable[[PerRound], float]] = {"median": median, "min": min, "max": max}
    return {name: round(of(values), 4) for name, of in named.items()}


def stage_rows(rounds: Sequence[Round]) -> list[list[str]]:
    """A row per stage, `p50 / p99` in each column, then those of all with their spread."""
    rows = []
    for stage in stages(rounds[0]):
        row = ["http, rest" if stage == "http" else stage]
        for column in SHOWN:
            cells = [
                short(median(per_round(rounds, column, stage, percent)))
                for percent in (50, 99)
                if stage in rounds[0][column]
            ]
            row.append(" / ".join(cells))
        rows.append(row)
    for percent in (50, 99):
        cells = [median_spread(per_round(rounds, column, "all", percent)) for column in SHOWN]
        rows.append([f"all, p{percent}", *cells])
    return rows


def ratio_rows(rounds: Sequence[Round], plan: Plan) -> list[list[str]]:
    """A row per ratio: median and spread."""
    return [[name, median_spread(values)] for name, values in ratios(rounds, plan).items()]


def bars(rounds: Sequence[Round]) -> dict[str, dict[str, float]]:
    """Mean of each stage in each column, ms: unlike medians, they add up to the mean of all."""
    return {
        column: {
            stage: median(mean(round_[column].get(stage, [0.0])) for round_ in rounds)
            for stage in stages(rounds[0])
            if stage != "all"
        }
        for column in SHOWN
    }


def stages(round_: Mapping[Column, Mapping[str, object]]) -> list[str]:
    """Every stage of the shown columns, in the order in which they happen."""
    seen = dict.fromkeys(stage for column in SHOWN for stage in round_[column])
    added = [stage for stage in seen if stage not in {*_STAGES, *_LAST}]
    return [stage for stage in (*_STAGES, *added, *_LAST) if stage in seen]


def _divided(above: PerRound, below: PerRound) -> PerRound:
    return [a / b for a, b in zip(above, below, strict=True)]
