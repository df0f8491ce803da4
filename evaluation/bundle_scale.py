"""Calibrating a published bundle: fit on judged pairs, report, publish as a new version."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.curves import threshold_curve
from evaluation.judgments import Judgments
from evaluation.operating_points import ScaleFit
from evaluation.report import shown
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
from evaluation.thresholds import parse_target
from model_store.bundle import revise
from model_store.calibration import calibrated
from model_store.manifest import Calibration, Thresholds
from model_store.registry import next_version

LOSS_COLUMNS = ("", "before", "after, held out")


def publish_scale(
    folder: Path, root: Path, fit: ScaleFit, source: str, version: str | None = None
) -> Path:
    """Publishes a bundle again with the fitted scale and thresholds; its graphs stay.

    So the vector fingerprint stays too, and no catalogue is indexed again.

    Args:
        folder: the bundle that was fitted.
        root: the registry's folder.
        fit: from `fit_scale`.
        source: what the manifest calls the judged pairs.
        version: of the new bundle; None: the next whole number.

    Raises:
        BundleExists: the version is published already.
        ModelStoreError: `folder` is not a whole bundle.
    """
    by_sort = {point.sort: point.threshold for point in fit.points}
    targets = ", ".join(f"{point.sort} {point.target}" for point in fit.points)
    changes = {
        "version": version or next_version(root, folder.parent.name),
        "calibration": Calibration(
            slope=fit.slope, intercept=fit.intercept, fitted_on=f"{source} ({fit.pairs} pairs)"
        ),
        "thresholds": Thresholds(
            default=by_sort["default"],
            price=by_sort["price"],
            sale=by_sort["sale"],
            chosen_on=f"{source} ({fit.pairs} pairs): {targets}",
        ),
    }
    return revise(folder, root, changes)


def write_scale_report(
    folder: Path,
    judgments: Judgments,
    raw: NDArray[np.float32],
    fit: ScaleFit,
    provenance: Provenance,
) -> None:
    """Tables, reliability before and after, and threshold curves, as a report folder.

    Args:
        folder: new, or an earlier report, which is replaced.
        judgments: the n pairs of the fit.
        raw: uncalibrated scores, float32 [n].
        fit: from `fit_scale`.
        provenance: where the figures come from.

    Raises:
        LibraryMissing: no matplotlib.
        EvaluationError: the folder holds something that is no report.
    """
    with report_folder(folder) as staging:
        from evaluation import plots  # noqa: PLC0415 - matplotlib is optional

        plots.draw_reliability(
            staging / "reliability.png",
            {"before": fit.before.reliability, "after, held out": fit.after.reliability},
        )
        scores = calibrated(raw, Calibration(slope=fit.slope, intercept=fit.intercept))
        plots.draw_thresholds(
            staging / "thresholds.png",
            threshold_curve(judgments.labels, scores),
            {
                point.sort: (
                    point.threshold,
                    {"precision": point.precision, "recall": point.recall, "kept": point.kept},
                )
                for point in fit.points
            },
        )
        (staging / MARKDOWN_FILE).write_text(_markdown(fit, provenance), encoding="utf-8")
        document = {**asdict(provenance), "versions": versions(), **fit.model_dump(mode="json")}
        write_json(staging / JSON_FILE, document)


def loss_rows(fit: ScaleFit) -> list[tuple[str, str, str]]:
    """The cells of LOSS_COLUMNS."""
    before, after = fit.before, fit.after
    return [
        ("log loss, nats", shown(before.log_loss), shown(after.log_loss)),
        ("Brier score", shown(before.brier), shown(after.brier)),
        (
            "expected calibration error",
            f"{before.reliability.ece:.4f}",
            f"{after.reliability.ece:.4f}",
        ),
    ]


def point_rows(fit: ScaleFit) -> list[tuple[str, ...]]:
    """One row per figure, one column per sort mode; the first row has the modes' names."""
    points = fit.points
    return [
        ("sort mode", *(point.sort for point in points)),
        ("target", *(point.target for point in points)),
        ("threshold", *(f"{point.threshold:.4f}" for point in points)),
        ("kept", *(_percent(point.kept) for point in points)),
        ("precision", *(_percent(point.precision) for point in points)),
        ("recall", *(_percent(point.recall) for point in points)),
        ("relevant lost, of 1,000 pairs", *(_per_thousand(p.relevant_lost) for p in points)),
        ("irrelevant shown, of 1,000 pairs", *(_per_thousand(p.irrelevant_shown) for p in points)),
    ]


def missed_targets(fit: ScaleFit) -> list[str]:
    """A sentence for every target that held-out queries surely miss: its interval lies below."""
    sentences = []
    for point in fit.points:
        target = parse_target(point.target)
        share = {"precision": point.precision, "recall": point.recall, "keep": point.kept}[
            target.measure
        ]
        if share is not None and share.high < target.share:
            sentences.append(
                f"{point.sort}: {point.target} was asked for, but on held-out queries it is only "
                f"{_percent(share)}: ask for more, or judge more queries"
            )
    return sentences


def _markdown(fit: ScaleFit, provenance: Provenance) -> str:
    further = [
        ("judged pairs", f"{fit.pairs:,} of {fit.queries:,} queries"),
        ("irrelevant", f"{fit.negative_share:.1%}"),
        ("ROC-AUC", str(fit.roc_auc)),
        ("scale", f"sigmoid({fit.slope:.4f} * logit(raw) + {fit.intercept:.4f})"),
        ("intervals", f"{LEVEL:.0%}, {fit.resamples:,} resamples of the queries"),
    ]
    points = point_rows(fit)
    sections = [
        f"# {provenance.title}",
        facts_table(provenance, further),
        "## Losses",
        table(LOSS_COLUMNS, loss_rows(fit)),
        f"Log loss, after less before: {shown(fit.log_loss_change)}.",
        "## Thresholds, and what they do to queries that did not choose them",
        table(points[0], points[1:]),
        *missed_targets(fit),
        f"Held out: scale and thresholds were fitted on {fit.folds - 1} of {fit.folds} folds of "
        "the queries and applied to the other, in turn; those published are fitted on all.",
        "![Reliability](reliability.png)",
        "![Thresholds](thresholds.png)",
    ]
    return "\n\n".join(sections) + "\n"


def _percent(share: Interval | None) -> str:
    if share is None:
        return "too few"
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


def _per_thousand(share: Interval | None) -> str:
    if share is None:
        return "too few"
    return f"{1000 * share.value:.0f} [{1000 * share.low:.0f}, {1000 * share.high:.0f}]"
