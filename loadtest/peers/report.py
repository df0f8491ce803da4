"""All runs in figures: medians over the rounds with their spread, as Markdown and as a plot."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from loadtest.peers.measure import Cell
from loadtest.peers.processes import Memory

FLOOR = "bare job in process"


@dataclass
class Run:
    """One server in one round; `skipped` says why it has no cells."""

    server: str
    workers: int
    round: int
    cold_start_s: float = 0.0
    score_difference: float = 0.0
    memory: Memory | None = None
    cells: list[Cell] = field(default_factory=list)
    skipped: str = ""


@dataclass(frozen=True)
class _Table:
    """Which cells one table shows."""

    kind: str
    candidates: int
    workers: int


def markdown(runs: Sequence[Run], heading: Sequence[str]) -> str:
    """Every table and what was skipped or failed, ready to paste."""
    lines = [*heading, ""]
    for table in _tables(runs):
        lines += [
            f"{table.kind}, {table.candidates:,} candidates, {table.workers} worker"
            + ("s" if table.workers > 1 else ""),
            "",
            "| | p50 ms | p99 ms | x bare | 8 connections: p50 | p99 | requests/s "
            "| memory MB | cold start s |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
            *_rows(runs, table),
            "",
        ]
    lines += [f"- {note}" for note in _notes(runs)]
    return "\n".join(lines) + "\n"


def plot(runs: Sequence[Run], path: Path) -> bool:
    """Sequential p50 per server, one panel per table, log scale; False without matplotlib."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional, for this picture only
    except ModuleNotFoundError:
        return False
    tables = _tables(runs)
    figure = Figure(figsize=(8, 3.2 * len(tables)), layout="constrained")
    panels = figure.subplots(len(tables), squeeze=False)
    for panel, table in zip(panels[:, 0], tables, strict=True):
        bars = [
            (name, median(values))
            for name in _names(runs)
            if (values := _values(runs, table, name, 1, _p50))
        ]
        bars.sort(key=lambda bar: bar[1], reverse=True)
        panel.barh([name for name, _ in bars], [value for _, value in bars])
        panel.set_xscale("log")
        panel.set_xlabel("p50, ms, one connection")
        panel.set_title(
            f"{table.kind}, {table.candidates:,} candidates, workers: {table.workers}", fontsize=9
        )
    figure.savefig(path, dpi=120)
    return True


def _tables(runs: Sequence[Run]) -> list[_Table]:
    found = {
        _Table(cell.kind, cell.candidates, run.workers)
        for run in runs
        if run.server != FLOOR
        for cell in run.cells
    }
    return sorted(found, key=lambda table: (table.kind, table.workers, table.candidates))


def _names(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.server for run in runs))


def _rows(runs: Sequence[Run], table: _Table) -> list[str]:
    rows = []
    for name in _names(runs):
        p50 = _values(runs, table, name, 1, _p50)
        if not p50:
            continue
        mine = [run for run in runs if _shown(run, table, name)]
        columns = (
            p50,
            _values(runs, table, name, 1, _p99),
            _ratios(runs, table, name),
            *(_values(runs, table, name, 8, read) for read in (_p50, _p99, _rate)),
            [run.memory.pss_mb for run in mine if run.memory],
            [run.cold_start_s for run in mine if run.memory],
        )
        rows.append(f"| {name} | " + " | ".join(map(_figure, columns)) + " |")
    return rows


def _p50(cell: Cell) -> float:
    return cell.p50_ms


def _p99(cell: Cell) -> float:
    return cell.p99_ms


def _rate(cell: Cell) -> float:
    return cell.requests_per_s


def _shown(run: Run, table: _Table, name: str) -> bool:
    """The floor has no workers: it stands in the tables of every number of them."""
    return run.server == name and not run.skipped and run.workers in {table.workers, 0}


def _values(
    runs: Sequence[Run], table: _Table, name: str, connections: int, read: Callable[[Cell], float]
) -> list[float]:
    """One figure per round in which every answer was complete."""
    return [
        read(cell)
        for run in runs
        if _shown(run, table, name)
        for cell in run.cells
        if (cell.kind, cell.candidates) == (table.kind, table.candidates)
        and cell.connections == connections
        and not cell.failures
    ]


def _ratios(runs: Sequence[Run], table: _Table, name: str) -> list[float]:
    """Sequential p50 over that of the bare job, in the same round."""
    of_round: dict[int, dict[str, float]] = defaultdict(dict)
    for run in runs:
        for value in _values([run], table, run.server, 1, _p50):
            of_round[run.round][run.server] = value
    return [
        figures[name] / figures[FLOOR]
        for figures in of_round.values()
        if name in figures and FLOOR in figures
    ]


def _figure(values: Sequence[float]) -> str:
    """Median (smallest-largest), three digits."""
    if not values:
        return ""
    middle, least, most = median(values), min(values), max(values)
    if len(values) == 1 or _short(least) == _short(most):
        return _short(middle)
    return f"{_short(middle)} ({_short(least)}-{_short(most)})"


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _notes(runs: Sequence[Run]) -> list[str]:
    notes = [
        f"{run.server}, workers {run.workers}, round {run.round}: not measured: {run.skipped}"
        for run in runs
        if run.skipped
    ]
    for run in runs:
        notes += [
            f"{run.server}, workers {run.workers}, round {run.round}: {cell.kind}, "
            f"{cell.candidates} candidates, connections {cell.connections} does not count: "
            f"{cell.failures} incomplete answers, the first: {cell.first_failure}"
            for cell in run.cells
            if cell.failures
        ]
    return list(dict.fromkeys(notes))
