"""The tables of a recipe's report, beside those that every report has."""

from collections.abc import Mapping

import numpy as np

from distill.stages.figures import Figures, alone_name, before_name, teacher_logits
from distill.stages.run import RecipeRun
from distill.stages.stage import path_sha256
from distill.stages.variants import differences
from evaluation import weighted
from evaluation.judgments import Judgments
from evaluation.report import Section, shown
from evaluation.resampling import Interval, Resampling
from export.checkpoint import Facts
from model_store.calibration import calibrated

_SORTS = ("default", "sale", "price")


def sections(run: RecipeRun, scores: Figures, facts: Mapping[str, Facts]) -> list[Section]:
    """All tables that have a row; `facts` are those of each student's checkpoint."""
    every = (
        made(run, facts),
        distillation(run, scores),
        fine_tuning(run, scores),
        variants(run, scores),
        as_served(scores),
        as_they_label(run, scores.judged),
        origins(run),
    )
    return [section for section in every if section.rows]


def made(run: RecipeRun, facts: Mapping[str, Facts]) -> Section:
    """What each student is and learned from."""
    rows = []
    for table in run.recipe.student:
        own = facts[table.name]
        pairs = own.get("start.pairs", own.get("pairs"))
        rows.append(
            (
                table.name,
                table.kind,
                table.encoder or "",
                ", ".join(run.recipe.labels_of(table)) or "clicks",
                table.objective,
                f"{table.temperature:g}",
                f"{pairs:,}",
                run.recipe.seed_of(table),
                run.recipe.bundle_of(table) if table.publish else "",
            )
        )
    columns = ("student", "kind", "encoder", "labels of", "objective", "T", "pairs", "seed")
    return Section("Students", (*columns, "bundle"), rows)


def distillation(run: RecipeRun, scores: Figures) -> Section:
    rows = [
        (table.name, *_gain(scores, table.name, alone_name(table)))
        for table in run.recipe.student
        if table.labels_alone is not None
    ]
    columns = ("student", "labels alone", "distilled", "gain in ROC-AUC")
    return Section("Distillation against the labels alone", columns, rows)


def fine_tuning(run: RecipeRun, scores: Figures) -> Section:
    rows = [
        (table.name, *_gain(scores, table.name, before_name(table)))
        for table in run.recipe.student
        if table.fine_tune is not None
    ]
    return Section("Fine-tuning", ("student", "before", "after", "gain in ROC-AUC"), rows)


def variants(run: RecipeRun, scores: Figures) -> Section:
    """Students that are like another one but for some options."""
    by_name = {table.name: table for table in run.recipe.student}
    rows = [
        (
            table.name,
            differences(by_name[table.like], table),
            *_gain(scores, table.name, table.like),
        )
        for table in run.recipe.student
        if table.like is not None
    ]
    columns = ("student", "what differs", "without", "with", "gain in ROC-AUC")
    return Section("Variants", columns, rows)


def as_served(scores: Figures) -> Section:
    """float32 in PyTorch against the published bundle: figures, and what /filter would do."""
    rows = []
    for name, bundle in scores.served.items():
        exact = calibrated(scores.in_torch[name], bundle.manifest.calibration)
        thresholds = bundle.manifest.thresholds
        changed = []
        for sort in _SORTS:
            threshold = np.float32(getattr(thresholds, sort))
            kept, kept_exactly = bundle.scores >= threshold, exact >= threshold
            changed.append(f"{float((kept != kept_exactly).mean()):.2%}")
        runs = ", ".join(f"{graph} {entry.run}" for graph, entry in bundle.manifest.graphs.items())
        rows.append((name, runs, *_gain(scores, name, f"{name} in PyTorch"), *changed))
    columns = ("student", "graphs that run", "PyTorch float32", "bundle", "difference")
    return Section(
        "The published bundle against PyTorch",
        (*columns, *(f"{sort}: decisions changed" for sort in _SORTS)),
        rows,
    )


def as_they_label(run: RecipeRun, judged: Judgments) -> Section:
    """Teachers in PyTorch, and as the graphs that labelled."""
    resampling = Resampling(
        judged.queries, resamples=run.recipe.report.resamples, seed=run.recipe.seed
    )
    rows = []
    for teacher in run.recipe.teacher:
        scorer = run.recipe.scorer_of(teacher)
        if scorer == "pytorch":
            continue
        sampled = resampling.samples(
            {
                name: weighted.roc_auc(judged.labels, teacher_logits(run, teacher.name, name))
                for name in ("", f".{scorer}")
            }
        )
        exact, fast = sampled[""], sampled[f".{scorer}"]
        rows.append(
            (
                teacher.name,
                shown(exact.interval()),
                scorer,
                shown(fast.interval()),
                _signed(fast.minus(exact).interval()),
            )
        )
    columns = ("teacher", "PyTorch float32", "labels in", "as it labels", "difference in ROC-AUC")
    return Section("Teachers as they label", columns, rows)


def origins(run: RecipeRun) -> Section:
    """Hashes and seeds from which all of this can be made again."""
    recipe = run.recipe
    rows: list[tuple[object, ...]] = [
        (f"recipe {run.file.path.name}", recipe.seed, run.file.sha256),
        *((path.name, "", path_sha256(path)) for path in run.data.files.values()),
        *(
            (path.name, recipe.seed_of(table), path_sha256(path))
            for _, table, path in run.transfer_sets
        ),
        *(
            (f"teacher {each.name}", recipe.seed_of(each), path_sha256(run.teacher(each.name)))
            for each in recipe.teacher
        ),
        *(
            (f"student {each.name}", recipe.seed_of(each), path_sha256(run.checkpoint(each)))
            for each in recipe.student
        ),
    ]
    return Section("Where it comes from", ("", "seed", "sha256"), rows)


def _signed(difference: Interval | None) -> str:
    """A difference with its sign and interval."""
    if difference is None:
        return shown(None)
    return f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def _gain(scores: Figures, name: str, before: str) -> tuple[str, str, str]:
    """ROC-AUC before and after, and their paired difference, as cells."""
    after, was = scores.roc_auc[name], scores.roc_auc[before]
    return shown(was.interval()), shown(after.interval()), _signed(after.minus(was).interval())
