"""From checkpoints to bundles: export, calibration on validation judgements, publication.

Both lie in registries of the work folder until a bundle is whole; only then it joins the registry
that is served from, under a version that nobody has had.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.recipe_data import LABELS
from distill.recipe_tables import StudentTable
from distill.stages.run import RecipeRun
from distill.stages.stage import Result, Stage, path_sha256
from distill.stages.students import context_inputs, in_context
from distill.stages.teachers import data_inputs, data_options
from distill.transfer_options import OnProgress
from evaluation.bundle_scale import publish_scale, write_scale_report
from evaluation.errors import NoCleanSeparation
from evaluation.judgments import Judgments
from evaluation.operating_points import FitOptions, fit_scale
from evaluation.quality import offline_metrics, quality
from evaluation.report_folder import versions
from evaluation.scoring import raw_scores
from evaluation.thresholds import parse_target
from export.bundle_export import Publication, export_bundle
from export.checkpoint import Facts, load_checkpoint
from export.pairs import Pairs, read_pairs
from model_store.bundle import open_bundle, revise
from model_store.manifest import Manifest
from model_store.registry import activate, next_version, published
from model_store.student import OnnxStudent

_VERSION = "1"  # of the bundles in the work folder's own registries

# What two bundles with the same contents differ in.
_OF_ONE_PUBLICATION = {"version", "created", "bundle_fingerprint"}


def export_stage(run: RecipeRun, table: StudentTable) -> Stage:
    """Graphs, held against PyTorch on validation pairs; thresholds come later."""
    name, root = run.recipe.bundle_of(table), run.at("exported")
    out = root / name / _VERSION

    def write(on_progress: OnProgress) -> None:
        if out.exists():
            return
        pairs = in_context(run, table, read_pairs(run.judged("valid"), LABELS))
        on_progress("graphs", 0, 1)
        publication = Publication(name=name, version=_VERSION, int8_product=table.int8_product)
        with _said_how_to_go_on(table):
            export_bundle(load_checkpoint(run.checkpoint(table)), pairs, root, publication)
        on_progress("graphs", 1, 1)

    def result() -> Result:
        graphs = open_bundle(out).manifest.graphs
        return {graph: entry.run for graph, entry in graphs.items()}

    return Stage(
        kind="export",
        name=table.name,
        options={"bundle": name, "int8_product": table.int8_product},
        inputs={
            "the student": run.checkpoint(table),
            "validation judgements": run.judged("valid"),
            **context_inputs(run, table),
        },
        outputs=lambda: [out],
        run=write,
        result=result,
        leaves=[root / name],
    )


def calibrate_stage(run: RecipeRun, table: StudentTable) -> Stage:
    """Score scale and thresholds, fitted on validation judgements."""
    name, root = run.recipe.bundle_of(table), run.at("calibrated")
    exported, out = run.at("exported", name, _VERSION), root / name / _VERSION
    report = run.at("calibration", table.name)
    options = _fit_options(run, table)

    def write(on_progress: OnProgress) -> None:
        if out.exists():
            return
        student = OnnxStudent.load(exported, threads=run.threads)
        valid = run.data.splits["valid"]
        raw = student_scores(run, table, student, valid, on_progress)
        with _said_how_to_go_on(table):
            fit = fit_scale(valid, raw, student.manifest.calibration, options)
        provenance = run.provenance(f"Calibration of {name}", "valid", options.seed)
        write_scale_report(report, valid, raw, fit, provenance)
        publish_scale(exported, root, fit, provenance.data, _VERSION)

    def result() -> Result:
        manifest = open_bundle(out).manifest
        scale, thresholds = manifest.calibration, manifest.thresholds
        return {"slope": scale.slope, "intercept": scale.intercept, "default": thresholds.default}

    return Stage(
        kind="calibrate",
        name=table.name,
        options={
            **run.recipe.calibrate.model_dump(mode="json"),
            "seed": options.seed,
            "resamples": options.resamples,
            "dataset": run.dataset,
        },
        inputs={
            "the bundle": exported,
            "validation judgements": run.judged("valid"),
            **context_inputs(run, table),
        },
        outputs=lambda: [out, report],
        run=write,
        result=result,
        leaves=[root / name, report],
    )


def publish_stage(run: RecipeRun, table: StudentTable) -> Stage:
    """The bundle with its figures on the test split and its history, as a version of the registry.

    A bundle with the same contents that is there already is not published again.
    """
    name = run.recipe.bundle_of(table)
    calibrated, record = run.at("calibrated", name, _VERSION), _record(run, table)

    def write(on_progress: OnProgress) -> None:
        test = run.data.splits["test"]
        student = OnnxStudent.load(calibrated, threads=run.threads)
        scores = student.calibrate(student_scores(run, table, student, test, on_progress))
        found = quality(test, scores, student.manifest.thresholds.default)
        test_sha256 = path_sha256(run.judged("test"))
        metrics = offline_metrics(found, run.dataset, "test", test_sha256)
        training = student.manifest.training | history(run, table)
        changes: dict[str, object] = {"metrics": [metrics], "training": training}
        version = _published_before(run, name, student.manifest.model_copy(update=changes))
        if version is None:
            version = next_version(run.bundles, name)
            revise(calibrated, run.bundles, {**changes, "version": version})
        if run.recipe.publish.set_current:
            activate(run.bundles, name, version)
        record.parent.mkdir(exist_ok=True)
        fingerprint = open_bundle(run.bundles / name / version).manifest.bundle_fingerprint
        document = {"name": name, "version": version, "bundle_fingerprint": fingerprint}
        record.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def result() -> Result:
        manifest = open_bundle(published_folder(run, table)).manifest
        (metrics,) = manifest.metrics
        return {"version": manifest.version, "test ROC-AUC": metrics.roc_auc}

    return Stage(
        kind="publish",
        name=table.name,
        options={
            **data_options(run),
            **run.recipe.publish.model_dump(mode="json"),
            "dataset": run.dataset,
        },
        inputs={
            **data_inputs(run),  # grades, of which the judged pairs' file has only targets
            "the bundle": calibrated,
            "test judgements": run.judged("test"),
            **context_inputs(run, table),
        },
        outputs=lambda: [record, published_folder(run, table)] if record.exists() else [record],
        run=write,
        result=result,
        leaves=[record],
    )


@contextmanager
def _said_how_to_go_on(table: StudentTable) -> Iterator[None]:
    """A student that can't be served costs the others and the report nothing but a key."""
    try:
        yield
    except NoCleanSeparation as error:
        raise NoCleanSeparation(
            f"student {table.name!r}: {error}. Other targets in [calibrate] may be reached; with "
            "`publish = false` it is left out, and the others and the report go on from here"
        ) from error


def published_folder(run: RecipeRun, table: StudentTable) -> Path:
    """Where a published student lies in the registry; only after its stage."""
    document = json.loads(_record(run, table).read_text(encoding="utf-8"))
    return run.bundles / str(document["name"]) / str(document["version"])


def student_scores(
    run: RecipeRun,
    table: StudentTable,
    student: OnnxStudent,
    judged: Judgments,
    on_progress: OnProgress,
) -> NDArray[np.float32]:
    """Raw scores of n judged pairs through a bundle, float32 [n]."""
    pairs = in_context(run, table, judged_pairs(judged))
    return raw_scores(student, pairs.queries, pairs.titles, on_progress)


def judged_pairs(judged: Judgments) -> Pairs:
    """Judged pairs as pairs, with their labels as targets."""
    targets = judged.labels.astype(np.float32)
    return Pairs("judgements", "", judged.queries, judged.titles, targets)


def history(run: RecipeRun, table: StudentTable) -> Facts:
    """What a bundle's manifest says of where it came from: recipe, data, teachers, versions."""
    recipe = run.recipe
    facts: Facts = {
        "recipe": recipe.name,
        "recipe_sha256": run.file.sha256,
        "recipe_seed": recipe.seed,
        "transfer_sha256": path_sha256(run.pairs_of(table)),
    }
    facts |= {f"{name}_sha256": path_sha256(path) for name, path in run.data.files.items()}
    for teacher in recipe.teacher:
        if teacher.name in recipe.labels_of(table):
            facts[f"teacher.{teacher.name}.sha256"] = path_sha256(run.teacher(teacher.name))
            facts[f"teacher.{teacher.name}.seed"] = recipe.seed_of(teacher)
    for student in recipe.student:
        if student.name in recipe.labels_of(table):
            facts[f"student.{student.name}.sha256"] = path_sha256(run.checkpoint(student))
    if table.context is not None:  # texts that are indexed for it (stages/context.py)
        options = table.context.options
        facts |= {"context.neighbours": options.neighbours, "context.words": options.words}
        facts["context.keep_from"] = options.keep_from
    return facts | {f"version.{name}": found for name, found in versions().items()}


def _record(run: RecipeRun, table: StudentTable) -> Path:
    return run.at("published", f"{table.name}.json")


def _published_before(run: RecipeRun, name: str, changed: Manifest) -> str | None:
    """The version of the registry that has these contents, if there is one."""

    def contents(manifest: Manifest) -> dict[str, object]:
        return manifest.model_dump(mode="json", exclude=_OF_ONE_PUBLICATION)

    for student in published(run.bundles):
        for version in student.versions if student.name == name else ():
            manifest = open_bundle(run.bundles / name / version).manifest
            if contents(manifest) == contents(changed):
                return version
    return None


def _fit_options(run: RecipeRun, table: StudentTable) -> FitOptions:
    calibrate = run.recipe.calibrate
    return FitOptions(
        targets={
            "default": parse_target(calibrate.default),
            "sale": parse_target(calibrate.sale),
            "price": parse_target(calibrate.price),
        },
        folds=calibrate.folds,
        resamples=run.recipe.report.resamples,
        seed=run.recipe.seed_of(table),
    )
