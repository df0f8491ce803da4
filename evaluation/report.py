"""What was found on judged pairs, as a report folder: tables, plots, JSON."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from evaluation.assessment import METRICS, Assessment, Scored, ScorerFigures
from evaluation.curves import CurvePlot
from evaluation.report_folder import (
    JSON_FILE,
    MARKDOWN_FILE,
    Provenance,
    facts_table,
    report_folder,
    table,
    versions,
    write_json,
)
from evaluation.resampling import LEVEL, Interval
from evaluation.slices import Slice

_METRICS = {"roc_auc": "ROC-AUC", "neg_pr_auc": "Neg PR-AUC", "ndcg_at_10": "NDCG@10"}

FIGURE_COLUMNS = ("scorer", *_METRICS.values())
COMPARISON_COLUMNS = ("scorer", "", *_METRICS.values())
SLICE_COLUMNS = ("slice", "", "pairs", "queries", "irrelevant")


@dataclass(frozen=True)
class Section:
    """A table that a caller adds to a report."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[object]]


def write_report(
    folder: Path,
    scored: Scored,
    assessment: Assessment,
    provenance: Provenance,
    curves: Sequence[CurvePlot] = (),
    sections: Sequence[Section] = (),
    *,
    not_drawn: Collection[str] = (),
) -> None:
    """Writes the report of an assessment.

    Args:
        folder: new, or an earlier report, which is replaced.
        scored: what was assessed.
        assessment: what `assess` found on it.
        provenance: where the figures come from.
        curves: more plots, such as quality by temperature, each as `<name>.png`.
        sections: more tables, which stand before the plots.
        not_drawn: names of scorers that stand in the tables alone; many curves hide each other.

    Raises:
        LibraryMissing: no matplotlib.
        EvaluationError: the folder holds something that is no report.
    """
    with report_folder(folder) as staging:
        seen = replace(
            scored, scorers=tuple(each for each in scored.scorers if each.name not in not_drawn)
        )
        figures = [each for each in assessment.scorers if each.scorer not in not_drawn]
        plots = _draw(staging, seen, figures, curves)
        document = {
            **asdict(provenance),
            "versions": versions(),
            "plots": [file for file, _ in plots],
            "curves": [_curve_document(plot) for plot in curves],
            "sections": [asdict(section) for section in sections],
            **assessment.model_dump(mode="json"),
        }
        parts = [*_sections(assessment, provenance), *map(_added, sections), _images(plots)]
        text = "\n\n".join(parts)
        (staging / MARKDOWN_FILE).write_text(text + "\n", encoding="utf-8")
        write_json(staging / JSON_FILE, document)


def _sections(found: Assessment, provenance: Provenance) -> list[str]:
    further: list[tuple[str, object]] = [
        ("judged pairs", f"{found.pairs:,} of {found.queries:,} queries"),
        ("left out", f"{found.left_out:,} not scored, {found.unknown_products:,} without a title"),
        ("irrelevant", f"{found.negative_share:.1%} (the Neg PR-AUC of a random order)"),
        ("intervals", f"{LEVEL:.0%}, {found.resamples:,} resamples of the queries"),
    ]
    sections = [
        f"# {provenance.title}",
        facts_table(provenance, further),
        "## Figures",
        table(FIGURE_COLUMNS, figure_rows(found)),
    ]
    compared = comparison_rows(found)
    if compared:
        sections += [
            "## Compared, pair by pair",
            table(COMPARISON_COLUMNS, compared),
        ]
    agreement = agreement_rows(found)
    if found.agreement:
        sections += [
            "## Students against the teacher's labels",
            table(agreement[0], agreement[1:]),
        ]
    if found.slices:
        names = [entry.scorer for entry in found.scorers]
        sections += [
            "## Slices: ROC-AUC",
            table((*SLICE_COLUMNS, *names), [slice_row(entry, names) for entry in found.slices]),
        ]
    return sections


def _added(section: Section) -> str:
    return f"## {section.title}\n\n{table(section.columns, section.rows)}"


def figure_rows(found: Assessment) -> list[tuple[str, ...]]:
    """One row per scorer: its name and its metrics."""
    return [
        (entry.scorer, *(shown(entry.figures[metric]) for metric in METRICS))
        for entry in found.scorers
    ]


def comparison_rows(found: Assessment) -> list[tuple[str, ...]]:
    """Differences from the reference and ratios to the teacher, where there are such."""
    rows = []
    for entry in found.scorers:
        for figures, sign, other in (
            (entry.difference, "less", found.reference),
            (entry.ratio, "over", found.teacher),
        ):
            if figures is not None:
                cells = (shown(figures[metric]) for metric in METRICS)
                rows.append((entry.scorer, f"{sign} {other}", *cells))
    return rows


def agreement_rows(found: Assessment) -> list[tuple[str, ...]]:
    """One row per figure, one column per student; the first row has the students' names."""
    entries = found.agreement
    at = f"{entries[0].relevant_from:.4g}" if entries else ""
    rows: list[tuple[str, ...]] = [
        (name, *(shown(figure) for figure in figures))
        for name, figures in (
            ("ROC-AUC", [entry.roc_auc for entry in entries]),
            (f"accuracy at {at}", [entry.accuracy for entry in entries]),
            ("accuracy, all called alike", [entry.constant_accuracy for entry in entries]),
            (f"F1 at {at}", [entry.f1 for entry in entries]),
            ("Pearson", [entry.pearson for entry in entries]),
            ("mean", [entry.student_mean for entry in entries]),
            ("teacher's mean", [entry.teacher_mean for entry in entries]),
            ("variance", [entry.student_variance for entry in entries]),
            ("teacher's variance", [entry.teacher_variance for entry in entries]),
        )
    ]
    return [("", *(entry.student for entry in entries)), *rows]


def slice_row(entry: Slice, scorers: Sequence[str]) -> tuple[str, ...]:
    """The cells of SLICE_COLUMNS, and the ROC-AUC of each scorer."""
    share = "" if entry.negative_share is None else f"{entry.negative_share:.1%}"
    figures = (entry.note or shown(entry.roc_auc[scorer]) for scorer in scorers)
    return (entry.kind, entry.name, f"{entry.pairs:,}", f"{entry.queries:,}", share, *figures)


def shown(figure: Interval | None) -> str:
    """A figure with its interval; "too few" where there is none."""
    return "too few" if figure is None else str(figure)


def _draw(
    folder: Path, scored: Scored, figures: Sequence[ScorerFigures], curves: Sequence[CurvePlot]
) -> list[tuple[str, str]]:
    """Draws all plots; their files and titles, in the report's order."""
    from evaluation import plots  # noqa: PLC0415 - matplotlib is optional

    drawn = [
        ("roc.png", "ROC"),
        ("precision_recall.png", "Precision and recall"),
        ("scores.png", "Scores by class"),
    ]
    plots.draw_roc(folder / "roc.png", scored, figures)
    plots.draw_precision_recall(folder / "precision_recall.png", scored)
    plots.draw_score_histograms(folder / "scores.png", scored)
    reliabilities = {
        entry.scorer: entry.reliability for entry in figures if entry.reliability is not None
    }
    if reliabilities:
        plots.draw_reliability(folder / "reliability.png", reliabilities)
        drawn.insert(2, ("reliability.png", "Reliability"))
    for plot in curves:
        plots.draw_curves(folder / f"{plot.name}.png", plot)
        drawn.append((f"{plot.name}.png", plot.title))
    return drawn


def _curve_document(plot: CurvePlot) -> dict[str, object]:
    return {
        "name": plot.name,
        "x": plot.x_label,
        "y": plot.y_label,
        "levels": dict(plot.levels),
        "curves": {
            curve.name: [{"x": point.x, **point.y.model_dump()} for point in curve.points]
            for curve in plot.curves
        },
    }


def _images(plots: Sequence[tuple[str, str]]) -> str:
    return "\n\n".join(f"## {title}\n\n![{title}]({file})" for file, title in plots)
