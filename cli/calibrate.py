"""`winnow calibrate`: a published student's score scale and thresholds, fitted on judged pairs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import answer, console, say, show
from cli.judged import (
    Encoding,
    IdColumn,
    JudgedFile,
    JudgmentsPath,
    ProductsPath,
    QueryColumn,
    RelevanceColumn,
    RelevantFrom,
    SplitOrAll,
    TitleColumn,
    command_line,
)
from cli.options import Bundles, StudentReference, cpu_threads
from cli.progress import progress_bar
from cli.scorers import say_context
from model_store.registry import DEFAULT_ROOT, bundle_folder

if TYPE_CHECKING:
    from evaluation.operating_points import ScaleFit
    from evaluation.report_folder import Provenance
    from model_store.manifest import Manifest

_Target = Annotated[
    str,
    typer.Option(
        metavar="TARGET",
        help="recall=SHARE (of the relevant pairs, kept), precision=SHARE (of the kept pairs, "
        "relevant) or keep=SHARE (of all pairs)",
    ),
]


def calibrate(
    model: StudentReference,
    judgments: JudgmentsPath,
    default: _Target = "recall=0.99",
    sale: _Target = "recall=0.95",
    price: _Target = "recall=0.9",
    products: ProductsPath = None,
    bundles: Bundles = DEFAULT_ROOT,
    split: Annotated[
        SplitOrAll,
        typer.Option(help="the queries to fit on: never those that the student is tested on"),
    ] = "valid",
    relevant_from: RelevantFrom = 2.0,
    encoding: Encoding = "utf-8-sig",
    query_column: QueryColumn = "query",
    id_column: IdColumn = "product_id",
    title_column: TitleColumn = "title",
    relevance_column: RelevanceColumn = "relevance",
    folds: Annotated[int, typer.Option(min=2, help="of the queries, for the expectations")] = 5,
    bootstrap: Annotated[
        int, typer.Option(min=100, help="resamples of the queries, for 95 % intervals")
    ] = 1_000,
    seed: Annotated[int, typer.Option(min=0, help="of folds and resamples")] = 0,
    version: Annotated[
        str | None, typer.Option(help="version to publish; else the next whole number")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="folder for tables and plots (extra plot)")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="fit and show, publish no version")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="the fit on standard output")] = False,
) -> None:
    """Fit the score scale, choose the threshold of each sort mode, publish both as a new version.

    The expectations shown are of queries that neither scale nor threshold was fitted on
    (cross-fitting). The new version's rows are the old one's: nothing is indexed again. Where
    the scores don't separate relevant pairs from others as asked, nothing is written.
    """
    from evaluation.bundle_scale import missed_targets, publish_scale, write_scale_report
    from evaluation.judgments import JudgmentColumns
    from evaluation.operating_points import FitOptions, fit_scale
    from evaluation.report_folder import Provenance, check_report
    from evaluation.scoring import raw_scores
    from evaluation.thresholds import parse_target
    from model_store.errors import BundleExists
    from model_store.student import OnnxStudent

    options = FitOptions(
        targets={
            "default": parse_target(default),
            "sale": parse_target(sale),
            "price": parse_target(price),
        },
        folds=folds,
        resamples=bootstrap,
        seed=seed,
    )
    if report is not None:
        check_report(report)
    name, _, given_version = model.partition("@")
    folder = bundle_folder(bundles, name, given_version or None)
    if version is not None and (bundles / name / version).exists():
        raise BundleExists(f"{name} {version} is published already: name another version")
    columns = JudgmentColumns(query_column, id_column, relevance_column, title_column)
    file = JudgedFile(judgments, products, relevant_from, encoding, columns)
    judged = file.of_split(file.read(), split)
    student = OnnxStudent.load(folder, threads=cpu_threads())
    say_context(student.manifest)
    with progress_bar() as on_progress:
        raw = raw_scores(student, judged.queries, judged.titles, on_progress)
    with console.status("fit and intervals"):
        fit = fit_scale(judged, raw, student.manifest.calibration, options)
    if not as_json:
        _show(fit, student.manifest)
    missed = missed_targets(fit)
    for sentence in missed:
        say(f"warning: {sentence}")
    provenance = Provenance(
        title=f"Calibration of {name} {student.manifest.version}",
        data=f"{judgments.name}, split {split}, relevant from {relevant_from:g}",
        data_sha256=file.sha256(),
        command=command_line(),
        seed=seed,
    )
    if report is not None:
        write_scale_report(report, judged, raw, fit, provenance)
        say(f"report: {report / 'report.md'}")
    published = None
    if dry_run:
        say("dry run: nothing was published")
    else:
        published = _announced(publish_scale(folder, bundles, fit, provenance.data, version))
    if as_json:
        answer(_document(fit, student.manifest, published, provenance) | {"missed_targets": missed})


def _announced(folder: Path) -> "Manifest":
    """Says what was published, and what comes next."""
    from model_store.bundle import open_bundle

    manifest = open_bundle(folder).manifest
    say(
        f"{manifest.name} {manifest.version} in {folder}: vector fingerprint "
        f"{manifest.vector_fingerprint[:8]} as before, nothing to index"
    )
    say(f"next: winnow models activate {manifest.name} {manifest.version} --store STORE")
    return manifest


def _show(fit: "ScaleFit", manifest: "Manifest") -> None:
    from evaluation.bundle_scale import LOSS_COLUMNS, loss_rows, point_rows

    was = manifest.calibration
    say(
        f"{manifest.name} {manifest.version} on {fit.pairs:,} pairs of {fit.queries:,} queries "
        f"({fit.negative_share:.1%} irrelevant): ROC-AUC {fit.roc_auc}"
    )
    say(
        f"scale: sigmoid({fit.slope:.4f} * logit(raw) + {fit.intercept:.4f}), "
        f"was {was.slope:.4f} and {was.intercept:.4f} ({was.fitted_on})"
    )
    show("expected loss, 95 % intervals", LOSS_COLUMNS, loss_rows(fit))
    sorts, *figures = point_rows(fit)
    show("thresholds, and what they do to queries that did not choose them", sorts, figures)


def _document(
    fit: "ScaleFit",
    manifest: "Manifest",
    published: "Manifest | None",
    provenance: "Provenance",
) -> dict[str, object]:
    return {
        "model": manifest.name,
        "fitted": manifest.version,
        "published": None if published is None else published.version,
        "vector_fingerprint": manifest.vector_fingerprint,
        "data": provenance.data,
        "data_sha256": provenance.data_sha256,
        **fit.model_dump(mode="json"),
    }
