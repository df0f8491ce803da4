"""The plots of the drivers; the only module that imports matplotlib, which is optional."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]


def scatter(path: Path, series: Mapping[str, Points], x: str, y: str) -> None:
    """Dots of each series, y on a logarithmic scale, as PNG."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in series.items():
        axes.scatter([at for at, _ in points], [value for _, value in points], s=3, label=name)
    axes.set(xlabel=x, ylabel=y, yscale="log")
    axes.legend()
    figure.savefig(path)


def lines(path: Path, panels: Mapping[str, Mapping[str, Points]], x: Mapping[str, str]) -> None:
    """One panel each, side by side: lines over a logarithmic x; `x` names it by panel, as PNG."""
    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    for axes, (title, series) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for name, points in series.items():
            axes.plot([at for at, _ in points], [value for _, value in points], "o-", label=name)
        axes.set(title=title, xlabel=x[title], xscale="log", ylim=(0, None))
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    figure.savefig(path)


def stacked_bars(path: Path, bars: Mapping[str, Mapping[str, float]], y: str) -> None:
    """A bar each, its parts on top of each other; a part has one colour in all bars, as PNG."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    names = list(bars)
    bottoms = dict.fromkeys(names, 0.0)
    for part in dict.fromkeys(part for parts in bars.values() for part in parts):
        heights = [bars[name].get(part, 0.0) for name in names]
        axes.bar(names, heights, bottom=list(bottoms.values()), label=part)
        for name, height in zip(names, heights, strict=True):
            bottoms[name] += height
    # Each part ends where the next begins, so matplotlib would leave no room above the last one.
    axes.set(ylabel=y, ylim=(0, 1.05 * max(bottoms.values())))
    axes.legend()
    figure.savefig(path)


def over_time(path: Path, latencies: Points, memory: Points) -> None:
    """Latencies (minute, ms) as dots above memory (minute, MB) as a line, as PNG."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.scatter([at for at, _ in latencies], [ms for _, ms in latencies], s=1, alpha=0.3)
    above.set(ylabel="latency (ms)", yscale="log")
    below.plot([at for at, _ in memory], [mb for _, mb in memory])
    below.set(xlabel="minutes", ylabel="memory (MB)", ylim=(0, None))
    figure.savefig(path)


def rates(path: Path, series: Mapping[str, Points], memory: Points) -> None:
    """Answers per second (second, count) of each kind above memory (second, MB), as PNG."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for name, points in series.items():
        above.plot([at for at, _ in points], [count for _, count in points], label=name)
    above.set(ylabel="answers per second, by when they were due", ylim=(0, None))
    above.legend()
    below.plot([at for at, _ in memory], [mb for _, mb in memory])
    below.set(xlabel="seconds", ylabel="memory (MB)", ylim=(0, None))
    figure.savefig(path)
