"""The plots of reports; the only module here that imports matplotlib, which is optional.

Figures are drawn without pyplot, so no display and no global state is touched. Colours are Okabe
and Ito's, which stay apart for colour-blind readers; more than eight scorers go on with dashes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from evaluation.assessment import Scored, ScorerFigures
from evaluation.curves import (
    CurvePlot,
    ThresholdCurve,
    precision_recall_points,
    roc_points,
)
from evaluation.reliability import Reliability
from evaluation.resampling import Interval
from evaluation.thresholds import MIN_KEPT

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
_DASHES = ("-", "--", "-.")
_LEVELS = ("--", "-.", ":")
_MARKERS = "osD^vP"
_GREY = "0.5"

_Place = Literal["best", "lower right", "upper left"]
_DPI = 130
_INSIDE = 10  # lines of a legend that leave a panel readable
_MARGIN = 0.3  # inches, about a longer one, which stands beside the panel
_APART = 0.09  # of the axis: labels of ticks that are nearer run into each other


def draw_roc(path: Path, scored: Scored, figures: Sequence[ScorerFigures]) -> None:
    """ROC of every scorer, as PNG."""
    figure, axes = _one_panel(6, 5.6)
    labels = scored.judgments.labels
    for place, (scorer, found) in enumerate(zip(scored.scorers, figures, strict=True)):
        false_rate, true_rate = roc_points(labels, scorer.scores)
        label = f"{scorer.name}  {_short(found.figures['roc_auc'])}"
        _line(axes, false_rate, true_rate, label, place)
    axes.plot([0, 1], [0, 1], ":", color=_GREY, label="chance  0.500")
    axes.set(
        title=f"ROC, {len(labels):,} judged pairs",
        xlabel="share of irrelevant pairs kept",
        ylabel="share of relevant pairs kept",
        xlim=(0, 1),
        ylim=(0, 1.005),
        aspect="equal",
    )
    _legend(axes, "lower right", "area under the curve")
    _save(figure, path)


def draw_precision_recall(path: Path, scored: Scored) -> None:
    """Precision against recall, of relevant and of irrelevant pairs, side by side, as PNG."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    labels = scored.judgments.labels
    for axes, of_irrelevant in zip(figure.subplots(1, 2), (False, True), strict=True):
        for place, scorer in enumerate(scored.scorers):
            recall, precision = precision_recall_points(
                labels, scorer.scores, of_irrelevant=of_irrelevant
            )
            # Steps, as the area is counted: between two scores there is no threshold.
            area = float(np.diff(recall, prepend=0) @ precision)
            axes.step(
                np.append(0, recall),
                np.append(precision[0], precision),
                label=f"{scorer.name}  {area:.3f}",
                color=_colour(place),
                linestyle=_dash(place),
                linewidth=1.5,
            )
        share = float((labels != of_irrelevant).mean())
        what = "irrelevant" if of_irrelevant else "relevant"
        axes.axhline(share, linestyle=":", color=_GREY, label=f"chance  {share:.3f}")
        axes.set(
            title=f"Finding {what} pairs ({share:.1%} of {len(labels):,})",
            xlabel=f"recall: share of the {what} pairs found",
            ylabel=f"precision: share of the found that are {what}",
            xlim=(0, 1),
            ylim=(0, 1.01),
        )
        _legend(axes, "best", "Neg PR-AUC" if of_irrelevant else "area under the curve")
    _save(figure, path)


def draw_reliability(path: Path, reliabilities: Mapping[str, Reliability]) -> None:
    """Share of relevant pairs against probability, and below it the pairs of each bin, as PNG."""
    figure = Figure(figsize=(6.4, 7), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], ":", color=_GREY, label="as it says  0.000")
    for place, (name, found) in enumerate(reliabilities.items()):
        bins = [(part.mean_probability, part.relevant) for part in found.bins]
        points = [(x, y) for x, y in bins if x is not None and y is not None]
        _error_bars(upper, points, f"{name}  {found.ece:.3f}", place, joined=True)
        edges = [found.bins[0].low, *(part.high for part in found.bins)]
        lower.stairs(
            [part.pairs for part in found.bins],
            edges,
            color=_colour(place),
            linestyle=_dash(place),
            linewidth=1.5,
        )
    upper.set(
        title="Reliability, bins of 0.1",
        ylabel="share of relevant pairs",
        xlim=(0, 1),
        ylim=(-0.02, 1.02),
    )
    lower.set(xlabel="probability of relevance (mean of the bin)", ylabel="pairs in the bin")
    lower.set_ylim(bottom=0)
    lower.yaxis.set_major_formatter("{x:,.0f}")
    _legend(upper, "upper left", "expected calibration error")
    lower.grid(visible=True, alpha=0.25)
    _save(figure, path)


def draw_score_histograms(path: Path, scored: Scored) -> None:
    """Scores of relevant and of irrelevant pairs, one panel per scorer, as PNG."""
    count = len(scored.scorers)
    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.2 * columns, 3 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    labels = scored.judgments.labels
    for axes, scorer in zip(panels, scored.scorers, strict=False):
        finite = scorer.scores[np.isfinite(scorer.scores)]
        span = (0.0, 1.0) if scorer.probability else (float(finite.min()), float(finite.max()))
        for name, mine, colour in (
            ("relevant", labels, _COLOURS[0]),
            ("irrelevant", ~labels, _COLOURS[1]),
        ):
            scores = scorer.scores[mine]
            shares = np.full(len(scores), 100 / len(scores))  # percent of the class
            axes.hist(scores, bins=25, range=span, weights=shares, color=colour, alpha=0.25)
            axes.hist(
                scores,
                bins=25,
                range=span,
                weights=shares,
                color=colour,
                histtype="step",
                linewidth=1.5,
                label=f"{name} ({len(scores):,})",
            )
        what = "probability" if scorer.probability else "score"
        axes.set(title=scorer.name, xlabel=what, ylabel="% of the class per bin", xlim=span)
        axes.grid(visible=True, alpha=0.25)
    for axes in panels[count:]:
        axes.set_visible(False)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=2, frameon=False)
    _save(figure, path)


def draw_curves(path: Path, plot: CurvePlot) -> None:
    """Curves with error bars over what was varied, such as temperature, as PNG."""
    figure, axes = _one_panel(7, 4.6)
    for place, curve in enumerate(plot.curves):
        points = sorted(((point.x, point.y) for point in curve.points), key=lambda point: point[0])
        _error_bars(axes, points, curve.name, place, joined=True)
    for place, (name, level) in enumerate(plot.levels):
        axes.axhline(level, color=_GREY, linestyle=_LEVELS[place % len(_LEVELS)], label=name)
    axes.set(title=plot.title, xlabel=plot.x_label, ylabel=plot.y_label)
    if plot.log_x:
        axes.set_xscale("log")
    varied = sorted({point.x for curve in plot.curves for point in curve.points})
    if len(varied) <= 12:  # the values that were tried, not round numbers between them
        ticks = _apart(varied, log=plot.log_x)
        axes.set_xticks(ticks, [f"{value:,.10g}" for value in ticks], minor=False)
        axes.set_xticks([], minor=True)
    _legend(axes, "best", None)
    _save(figure, path)


def draw_thresholds(
    path: Path,
    curve: ThresholdCurve,
    marks: Mapping[str, tuple[float, Mapping[str, Interval | None]]],
) -> None:
    """Precision, recall and share kept against the threshold, as PNG.

    Args:
        path: of the PNG.
        curve: of the pairs that the thresholds were chosen on.
        marks: by sort mode, its threshold and the held-out "precision", "recall" and "kept".
    """
    figure, axes = _one_panel(8.6, 5)
    enough = curve.pairs_kept >= MIN_KEPT  # above, precision is that of a handful of pairs
    lines = (
        ("precision", "precision", curve.thresholds[enough], curve.precision[enough]),
        ("recall", "recall", curve.thresholds, curve.recall),
        ("kept", "share of pairs kept", curve.thresholds, curve.kept),
    )
    for place, (measure, name, thresholds, values) in enumerate(lines):
        _line(axes, thresholds, values, name, place)
        points = [
            (threshold, held_out)
            for threshold, figures in marks.values()
            if (held_out := figures[measure]) is not None
        ]
        _error_bars(axes, points, None, place, joined=False)
    for place, (sort, (threshold, _)) in enumerate(marks.items()):
        style = _LEVELS[place % len(_LEVELS)]
        axes.axvline(threshold, color=_GREY, linestyle=style, label=f"{sort}  {threshold:.3f}")
    axes.set(
        title=f"Thresholds, {curve.pairs_kept[0]:,.0f} judged pairs",
        xlabel="threshold: smallest calibrated score that is kept",
        ylabel="share",
        xlim=(0, 1),
        ylim=(-0.02, 1.02),
    )
    axes.grid(visible=True, alpha=0.25)
    figure.legend(
        loc="outside right upper",
        title="lines: all judged pairs\ndots: held out, 95 %",
        fontsize=9,
        title_fontsize=9,
        alignment="left",
    )
    _save(figure, path)


def _one_panel(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _line(
    axes: Axes, xs: NDArray[np.float64], ys: NDArray[np.float64], label: str, place: int
) -> None:
    axes.plot(xs, ys, label=label, color=_colour(place), linestyle=_dash(place), linewidth=1.5)


def _error_bars(
    axes: Axes,
    points: Sequence[tuple[float, Interval]],
    label: str | None,
    place: int,
    *,
    joined: bool,
) -> None:
    axes.errorbar(
        [x for x, _ in points],
        [y.value for _, y in points],
        # A value can lie just outside its percentile interval; a bar has no negative length.
        yerr=[
            [max(0.0, y.value - y.low) for _, y in points],
            [max(0.0, y.high - y.value) for _, y in points],
        ],
        label=label,
        color=_colour(place),
        marker=_MARKERS[place % len(_MARKERS)],
        markersize=5,
        linestyle=_dash(place) if joined else "none",
        linewidth=1.5,
        capsize=3,
        elinewidth=1,
    )


def _apart(values: Sequence[float], *, log: bool) -> list[float]:
    """Of ascending values the first, and each that is far enough from the one before."""
    places = np.log(values) if log else np.asarray(values)
    least = _APART * (places[-1] - places[0])
    kept: list[int] = []
    for at, place in enumerate(places):
        if not kept or place - places[kept[-1]] >= least:
            kept.append(at)
    return [values[at] for at in kept]


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _dash(place: int) -> str:
    return _DASHES[place // len(_COLOURS) % len(_DASHES)]


def _short(figure: Interval | None) -> str:
    return "" if figure is None else f"{figure.value:.3f}"


def _legend(axes: Axes, place: _Place, title: str | None) -> None:
    """Inside the panel; beside it, in a wider figure, where it would hide the lines."""
    axes.grid(visible=True, alpha=0.25)
    legend = axes.legend(loc=place, title=title, fontsize=9, title_fontsize=9, alignment="left")
    if len(legend.get_texts()) <= _INSIDE:
        return
    legend.set_loc("upper left")
    legend.set_bbox_to_anchor((1.02, 1.0))
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 (every panel here is of a figure)
    figure.draw_without_rendering()  # before that, a legend has no width
    beside = legend.get_window_extent().width / figure.dpi + _MARGIN
    width, height = figure.get_size_inches()
    figure.set_size_inches(width + beside, height)


def _save(figure: Figure, path: Path) -> None:
    # Without the version of matplotlib in it, the same figures give the same bytes.
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})
