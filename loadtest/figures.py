"""Durations to figures: quantiles, medians with their spread, Markdown tables. Measures nothing."""

import statistics
from collections.abc import Sequence

import numpy as np

QUANTILES = (50.0, 90.0, 99.0, 99.9)


def quantiles(values: Sequence[float], chosen: Sequence[float] = QUANTILES) -> dict[str, float]:
    """`{"p50": ..., "max": ...}` in the unit of `values`; NaN where there are none."""
    if not values:
        return {**{f"p{q:g}": float("nan") for q in chosen}, "max": float("nan")}
    found = np.percentile(np.asarray(values), chosen)
    return {
        **{f"p{q:g}": round(float(value), 3) for q, value in zip(chosen, found, strict=True)},
        "max": round(max(values), 3),
    }


def median_spread(values: Sequence[float]) -> str:
    """The median, and the least and greatest in brackets: `4.10 (3.98-4.31)`."""
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{short(middle)} ({short(least)}-{short(most)})"


def short(value: float) -> str:
    """Three digits that count, thousands apart, for people."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lines of a table; every column but the first is aligned to the right."""
    rule = ["---", *["--:"] * (len(columns) - 1)]
    lines = [columns, rule, *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
