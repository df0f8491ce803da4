"""`winnow export`: a checkpoint becomes a published bundle."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import answer, say, show
from cli.judged import Split
from cli.options import Bundles
from cli.progress import progress_bar
from model_store.registry import DEFAULT_ROOT

if TYPE_CHECKING:
    from evaluation.judgments import Judgments
    from export.pairs import Pairs
    from model_store.manifest import Manifest, OfflineMetrics
    from model_store.student import OnnxStudent


def export(
    checkpoint: Annotated[Path, typer.Argument(help="folder that `winnow train` wrote")],
    name: Annotated[str, typer.Option(help="name of the student in the registry")],
    pairs: Annotated[
        Path, typer.Option(help="validation pairs: the gate compares on them, thresholds too")
    ],
    version: Annotated[
        str | None, typer.Option(help="version to publish; else the next whole number")
    ] = None,
    bundles: Bundles = DEFAULT_ROOT,
    judgments: Annotated[
        Path | None, typer.Option(help="judged pairs whose figures go into the manifest")
    ] = None,
    products: Annotated[
        Path | None,
        typer.Option(help="titles of the judged products; else they stand in judgments"),
    ] = None,
    dataset: Annotated[str, typer.Option(help="what the manifest calls the judgements")] = "",
    split: Annotated[Split | None, typer.Option(help="only the judgements of this split")] = None,
    relevant_from: Annotated[
        float, typer.Option(help="lowest grade that counts as relevant")
    ] = 2.0,
    int8_product: Annotated[
        bool, typer.Option("--int8-product", help="index with the int8 product graph")
    ] = False,
    set_current: Annotated[
        bool,
        typer.Option(
            "--set-current", help="name it the active version without looking for vectors"
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="the manifest on standard output")
    ] = False,
) -> None:
    """Three ONNX graphs in float32 and int8, held against PyTorch, published whole or not at all.

    Needs the extra `train` (torch). An int8 graph is the one that runs only where, on --pairs, it
    changes the ROC-AUC by at most 0.002 and, in the mean over thresholds, at most 0.5 % of the
    decisions. The threshold of each sort mode keeps a stated share of the relevant pairs.
    """
    from export.bundle_export import Publication, export_bundle
    from export.checkpoint import load_checkpoint
    from export.pairs import PairColumns, read_pairs
    from model_store.bundle import open_bundle, revise
    from model_store.registry import activate, next_version
    from model_store.student import OnnxStudent

    given = read_pairs(pairs, PairColumns())
    judged = _judgments(judgments, products, split, relevant_from)
    bundles.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=bundles, prefix=".export-") as staging:
        say(f"exporting {checkpoint}: graphs, gate on {len(given):,} pairs, int8 ...")
        exported = export_bundle(
            load_checkpoint(checkpoint),
            given,
            Path(staging),
            Publication(
                name=name,
                version=version or next_version(bundles, name),
                int8_product=int8_product,
            ),
        )
        student = OnnxStudent.load(exported.folder)
        changes = _calibrated(student, given)
        if judged is not None and judgments is not None:
            changes["metrics"] = [_metrics(student, judged, judgments, dataset, split)]
        folder = revise(exported.folder, bundles, changes)
    manifest = open_bundle(folder).manifest
    _show(manifest, folder)
    if as_json:
        answer(manifest.model_dump(mode="json"))
    if set_current:
        activate(bundles, name, manifest.version)
        say(f"{name}: version {manifest.version} is the active one; index the catalogue with it")
    else:
        say(
            f"next: winnow index CATALOGUE --model {name}@{manifest.version} --store STORE, then "
            f"winnow models activate {name} {manifest.version} --store STORE"
        )


def _judgments(
    path: Path | None, products: Path | None, split: Split | None, relevant_from: float
) -> "Judgments | None":
    from evaluation.judgments import ProductFile, read_judgments

    if path is None:
        return None
    titles = ProductFile(products) if products else None
    judged = read_judgments(path, relevant_from=relevant_from, products=titles)
    return judged.of_split(split) if split else judged


def _calibrated(student: "OnnxStudent", pairs: "Pairs") -> dict[str, object]:
    """Score scale and thresholds, both from the pairs, as fields of a manifest."""
    from evaluation.calibration import fit_platt
    from evaluation.scoring import text_scores
    from evaluation.thresholds import RECALL_FLOORS, sort_thresholds
    from model_store.calibration import calibrated
    from model_store.manifest import Calibration, Thresholds

    with progress_bar() as on_progress:  # the fresh bundle is not calibrated: these are raw scores
        raw = text_scores(student, pairs.queries, pairs.titles, on_progress)
    source = f"{pairs.source} ({len(pairs)} pairs)"
    slope, intercept = fit_platt(pairs.labels, raw)
    calibration = Calibration(slope=slope, intercept=intercept, fitted_on=source)
    floors = ", ".join(f"{sort} {floor:.0%}" for sort, floor in RECALL_FLOORS.items())
    thresholds = Thresholds(
        **sort_thresholds(pairs.labels, calibrated(raw, calibration)),
        chosen_on=f"{source}: share of the relevant pairs kept at least {floors}",
    )
    return {"calibration": calibration, "thresholds": thresholds}


def _metrics(
    student: "OnnxStudent", judged: "Judgments", path: Path, dataset: str, split: Split | None
) -> "OfflineMetrics":
    from evaluation.quality import offline_metrics, quality
    from evaluation.scoring import bundle_scores
    from model_store.digest import file_sha256

    with progress_bar() as on_progress:
        scores = bundle_scores(student, judged, on_progress)
    found = quality(judged, scores, student.manifest.thresholds.default)
    return offline_metrics(found, dataset or path.name, split or "all", file_sha256(path))


def _show(manifest: "Manifest", folder: Path) -> None:
    show(
        "The gate: float32 against PyTorch, int8 against float32",
        ("graph", "precision", "largest difference", "mean", "rank correlation", "ROC-AUC", "was"),
        [
            (
                entry.graph,
                entry.precision,
                f"{entry.max_score_difference:.2e}",
                f"{entry.mean_score_difference:.2e}",
                *(
                    "" if value is None else f"{value:.4f}"
                    for value in (entry.spearman, entry.auc, entry.auc_reference)
                ),
            )
            for entry in manifest.parity
        ],
    )
    runs = ", ".join(f"{graph} {entry.run}" for graph, entry in manifest.graphs.items())
    say(f"{manifest.name} {manifest.version} in {folder}: {runs}")
    for entry in manifest.metrics:
        say(
            f"{entry.dataset} {entry.split}: ROC-AUC {entry.roc_auc:.4f}, Neg PR-AUC "
            f"{entry.neg_pr_auc:.4f} ({entry.negative_share:.1%} negatives), {entry.pairs:,} pairs"
        )
