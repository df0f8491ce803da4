"""What every scorer of a recipe says of the test pairs: teachers, students, baselines.

A published student is scored by its bundle, as it is served; one without a bundle in PyTorch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.recipe_tables import StudentTable
from distill.stack import stacked_probability
from distill.stages.bundles import judged_pairs, published_folder, student_scores
from distill.stages.run import RecipeRun
from distill.stages.students import FOLDERS, in_context
from distill.transfer_options import OnProgress
from evaluation import weighted
from evaluation.agreement import Agreement, agreement
from evaluation.assessment import Scorer
from evaluation.baselines import baseline_scores
from evaluation.judgments import Judgments
from evaluation.resampling import Resampling, Sampled
from export.checkpoint import load_checkpoint
from export.scoring import score_pairs
from model_store.manifest import Manifest
from model_store.student import OnnxStudent


@dataclass(frozen=True)
class Served:
    """What a published bundle says of the test pairs."""

    manifest: Manifest
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Figures:
    """Scores of the n test pairs.

    scorers: those of the report's first table
    in_torch: every checkpoint in float32, uncalibrated, [n]
    served: every published bundle
    roc_auc: of all of them, resampled together; a bundle's checkpoint is "<name> in PyTorch"
    """

    judged: Judgments
    scorers: list[Scorer]
    in_torch: Mapping[str, NDArray[np.float32]]
    served: Mapping[str, Served]
    roc_auc: Mapping[str, Sampled]


def score_test_pairs(run: RecipeRun, on_progress: OnProgress) -> Figures:
    """Scores the test pairs by everything the recipe has made."""
    report, judged = run.recipe.report, run.data.splits["test"]
    in_torch = _torch_scores(run, judged, on_progress)
    served = _served_scores(run, judged, on_progress)
    scorers = [*_teachers(run), *_students(run, in_torch, served), *_baselines(run, judged)]
    scores = {scorer.name: scorer.scores for scorer in scorers}
    scores |= {f"{name} in PyTorch": in_torch[name] for name in served}
    on_progress("intervals", 0, None)
    resampling = Resampling(judged.queries, resamples=report.resamples, seed=run.recipe.seed)
    roc_auc = resampling.samples(
        {name: weighted.roc_auc(judged.labels, each) for name, each in scores.items()}
    )
    return Figures(judged, scorers, in_torch, served, roc_auc)


def agreements(run: RecipeRun, scores: Figures) -> list[Agreement]:
    """Every checkpoint's own probabilities against the labels of what it is held against."""
    by_name = {scorer.name: scorer.scores for scorer in scores.scorers}
    teacher = (run.recipe.against, by_name[run.recipe.against])
    report, queries = run.recipe.report, scores.judged.queries
    resampling = Resampling(queries, resamples=report.resamples, seed=run.recipe.seed)
    relevant_from = run.relevant_probability(run.recipe.against)
    return [agreement(own, teacher, resampling, relevant_from) for own in scores.in_torch.items()]


def teacher_logits(run: RecipeRun, teacher: str, scorer: str = "") -> NDArray[np.float32]:
    """Of the test pairs, in PyTorch, or as `scorer` (".int8") labels."""
    logits: NDArray[np.float32] = np.load(run.at("test", f"{teacher}{scorer}.npy"))
    return logits


def _teachers(run: RecipeRun) -> list[Scorer]:
    """Stacks of teachers, and each teacher."""
    logits = {each.name: teacher_logits(run, each.name) for each in run.recipe.teacher}
    stacked = {
        stack: stacked_probability([logits[name] for name in members])
        for stack, members in run.recipe.stacks.items()
    }
    alone = {name: stacked_probability([each]) for name, each in logits.items()}
    return [Scorer(name, each, probability=True) for name, each in (stacked | alone).items()]


def checkpoints(run: RecipeRun, table: StudentTable) -> dict[str, Path]:
    """The checkpoints of a student, by what the report calls them."""
    found = {table.name: run.checkpoint(table)}
    if table.fine_tune is not None:
        found[before_name(table)] = run.at(FOLDERS["student"], table.name)
    if table.labels_alone is not None:
        found[alone_name(table)] = run.at(FOLDERS["labels-alone"], table.name)
    return found


def alone_name(table: StudentTable) -> str:
    """What the report calls the student that had no teacher."""
    return f"{table.name}, labels alone"


def before_name(table: StudentTable) -> str:
    """What the report calls a student before its second stage."""
    return f"{table.name}, before fine-tuning"


def _torch_scores(
    run: RecipeRun, judged: Judgments, on_progress: OnProgress
) -> dict[str, NDArray[np.float32]]:
    """float32 scores of every checkpoint, uncalibrated."""
    scores: dict[str, NDArray[np.float32]] = {}
    whole = {
        name: (table, folder)
        for table in run.recipe.student
        for name, folder in checkpoints(run, table).items()
    }
    for name, (table, folder) in whole.items():
        pairs = in_context(run, table, judged_pairs(judged))
        checkpoint = load_checkpoint(folder)
        scores[name] = score_pairs(checkpoint.student, checkpoint.tokenizer, pairs)
        on_progress("students in PyTorch", len(scores), len(whole))
    return scores


def _served_scores(run: RecipeRun, judged: Judgments, on_progress: OnProgress) -> dict[str, Served]:
    found = {}
    for table in run.recipe.student:
        if table.publish:
            student = OnnxStudent.load(published_folder(run, table), threads=run.threads)
            raw = student_scores(run, table, student, judged, on_progress)
            found[table.name] = Served(student.manifest, student.calibrate(raw))
    return found


def _students(
    run: RecipeRun, in_torch: Mapping[str, NDArray[np.float32]], served: Mapping[str, Served]
) -> list[Scorer]:
    scorers = []
    for table in run.recipe.student:
        for name in checkpoints(run, table):
            scores = served[name].scores if name in served else in_torch[name]
            scorers.append(Scorer(name, scores, probability=True))
    return scorers


def _baselines(run: RecipeRun, judged: Judgments) -> list[Scorer]:
    titles = run.data.products.titles
    return [
        Scorer(
            name,
            baseline_scores(name, judged.queries, judged.titles, titles),
            probability=False,
        )
        for name in run.recipe.report.baselines
    ]
