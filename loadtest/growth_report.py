"""The growth tables as Markdown and as a plot. Measures nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from loadtest.figures import markdown_table, median_spread, short

# One line of a table; a list has one value per round, or per worker where it is memory.
Row = Mapping[str, str | int | float | list[float]]
Sections = Mapping[str, Sequence[Row]]

# Of each section: the panel's title, its x and y, and what tells its lines apart.
_PANELS = {
    "candidates": ("µs per candidate, caches warm", "candidates", "us_per_candidate", ()),
    "catalogue": ("p50, ms", "products", "p50_ms", ("store", "row_cache")),
    "caches": ("hit ratio of the row cache", "row_cache_mb", "hit_ratio", ()),
    "workers": ("requests per second", "workers", "per_second", ()),
}  # threads has a table only


def markdown(found: Sections) -> str:
    """A table per section, ready to paste."""
    parts = []
    for section, rows in found.items():
        columns = list(rows[0])
        table = markdown_table(columns, [[_cell(row[name]) for name in columns] for row in rows])
        parts.append(f"{section}\n\n{table}\n")
        if section == "candidates" and (ratios := long_over_short(rows)):
            parts.append(f"per candidate, 10,000 / 1,000: {median_spread(ratios)}\n")
    return "\n".join(parts)


def long_over_short(rows: Sequence[Row]) -> list[float]:
    """Cost of a candidate among 10,000 over that of one among 1,000, per round."""
    costs = {row["candidates"]: _values(row["us_per_candidate"]) for row in rows}
    return [
        long / short_
        for long, short_ in zip(costs.get(10_000, []), costs.get(1_000, []), strict=False)
    ]


def plot(found: Sections, path: Path) -> None:
    """One panel per section that has one, as PNG; no file where none has."""
    from loadtest.plots import lines  # noqa: PLC0415 - matplotlib is optional

    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    axes: dict[str, str] = {}
    for section, rows in found.items():
        if section not in _PANELS:
            continue
        title, x, y, names = _PANELS[section]
        axes[title] = x
        panel = panels[title] = {}
        for row in rows:
            line = ", ".join(f"{name} {row[name]}" for name in names) or y
            point = (_values(row[x])[0], median(_values(row[y])))
            panel.setdefault(line, []).append(point)
    if panels:
        lines(path, panels, axes)


def _values(cell: str | int | float | list[float]) -> list[float]:
    return cell if isinstance(cell, list) else [float(cell)]


def _cell(cell: str | int | float | list[float]) -> str:
    if isinstance(cell, list):
        return median_spread(cell)
    if isinstance(cell, float):
        return short(cell)
    return f"{cell:,}" if isinstance(cell, int) else cell
