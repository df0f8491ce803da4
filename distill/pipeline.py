"""A recipe followed: its stages in their order, each taken where it has to be. Start reading here.

    data -> encoder -> pretrain -> shorten -> teacher -> convert -> transfer -> wide -> labels
    -> student -> fine-tune -> labels-alone -> export -> calibrate -> publish -> context -> judge
    -> report

What a stage is made from decides whether it is taken again (stages/stage.py); what teaching,
labelling and training do when they were stopped in the middle is theirs to say.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, get_args

from distill.errors import RecipeRefused, TrainingRefused
from distill.recipe_tables import StudentTable
from distill.stages.bundles import calibrate_stage, export_stage, publish_stage
from distill.stages.context import context_stage
from distill.stages.labels import labels_stage, transfer_stage
from distill.stages.lexical import lexical_stage
from distill.stages.report import report_stage
from distill.stages.run import RecipeRun
from distill.stages.stage import Kind, Stage, Taken, Work
from distill.stages.students import fine_tune_stage, labels_alone_stage, labels_kind, student_stage
from distill.stages.teachers import (
    convert_stage,
    data_stage,
    encoder_stage,
    judge_stage,
    pretrain_stage,
    shorten_stage,
    teacher_stage,
)
from distill.start import ENCODERS, check_options
from evaluation.report_folder import check_report

KINDS: tuple[Kind, ...] = get_args(Kind)
# What a recipe may have of one that it shares, for students of that one alone.
_ENCODERS: tuple[Kind, ...] = ("encoder", "pretrain", "shorten")


class RecipeProgress(Protocol):
    """What a caller hears while a recipe is followed."""

    def begins(self, stage: Stage, why: str | None) -> None:
        """The turn of a stage: why it is taken, or None where it is done already."""
        ...

    def phase(self, phase: str, done: int, total: int | None) -> None:
        """How far the stage is."""
        ...

    def ends(self, taken: Taken) -> None:
        """The stage is done."""
        ...


@dataclass(frozen=True)
class Planned:
    """A stage and why it would be taken (None: it is done)."""

    stage: Stage
    why: str | None


def stages(run: RecipeRun) -> list[Stage]:
    """The stages of a recipe, in their order, without encoders that nobody begins with; no work
    is done.

    Raises:
        RecipeRefused: a file or package that the recipe names is not there.
        EncoderRefused: an encoder is neither a folder nor on the hub.
        LibraryMissing: the report's plots need matplotlib.
        EvaluationError: where the report is to lie, something else does.
    """
    check_report(run.at(f"report-{run.recipe.name}"))
    for table in run.recipe.student:
        _check_student(table)
    every = in_order(list(_stages(run)))
    return _leading_to([each.title for each in every if each.kind not in _ENCODERS], every)


def in_order(every: Sequence[Stage]) -> list[Stage]:
    """By kind, but none before what it is made from: a student that labels for another one has
    its labels between the two.
    """
    makers = _makers(every)
    waiting = sorted(every, key=lambda stage: KINDS.index(stage.kind))
    ordered: list[Stage] = []
    while waiting:
        titles = {stage.title for stage in waiting}
        ready = next(each for each in waiting if not (_made_by(each, makers) & titles))
        waiting.remove(ready)
        ordered.append(ready)
    return ordered


def _makers(every: Sequence[Stage]) -> dict[Path, str]:
    return {path: stage.title for stage in every for path in stage.leaves}


def _made_by(stage: Stage, makers: Mapping[Path, str]) -> set[str]:
    """Titles of the stages that leave an input of this one, or the folder that it lies in."""
    places = {place for path in stage.inputs.values() for place in (path, *path.parents)}
    return {makers[place] for place in places & makers.keys()} - {stage.title}


def follow(run: RecipeRun, until: Sequence[str], progress: RecipeProgress) -> list[Taken]:
    """Takes the stages that are not done: all, or those of a kind or title in `until`, and what
    they are made from.

    The same recipe, files, machine and thread count give the same students, stopped or not.

    Raises:
        RecipeRefused: no such stage, or another command is at work in the folder.
        DistillError, EvaluationError, ExportError, ModelStoreError: as the stages.
    """
    chosen = _leading_to(until, stages(run))
    work = Work(run.work)
    taken = []
    with work.locked():
        for stage in chosen:
            progress.begins(stage, work.why(stage))
            taken.append(work.take(stage, progress.phase))
            progress.ends(taken[-1])
    return taken


def plan(run: RecipeRun, until: Sequence[str]) -> list[Planned]:
    """What `follow` would do, as far as it can be known: a stage whose input is made anew may
    turn out to be done.

    Raises:
        RecipeRefused and others: as `stages`.
    """
    work, planned = Work(run.work), []
    made_anew: dict[str, str] = {}  # outputs -> the stage that makes them
    for stage in _leading_to(until, stages(run)):
        inputs = {str(path): name for name, path in stage.inputs.items()}
        waits = [f"after {made_anew[path]}" for path in inputs if path in made_anew]
        why = waits[0] if waits else work.why(stage)
        if why is not None:
            made_anew |= {str(path): stage.title for path in (*stage.outputs(), *stage.leaves)}
        planned.append(Planned(stage, why))
    return planned


def _stages(run: RecipeRun) -> Iterator[Stage]:
    recipe = run.recipe
    yield data_stage(run)
    yield from (encoder_stage(run, table) for table in recipe.encoder)
    yield from (pretrain_stage(run, table) for table in recipe.pretrain)
    yield from (shorten_stage(run, table) for table in recipe.shorten)
    yield from (transfer_stage(run, kind, table, out) for kind, table, out in run.transfer_sets)
    labels: dict[tuple[Kind, str], None] = {}  # each once, in the order of the students
    for table in recipe.student:
        kinds = [labels_kind(run, table)]
        if table.fine_tune is not None or table.context is not None:
            kinds.append("labels-judged")
        labels |= {(kind, name): None for kind in kinds for name in recipe.labels_of(table)}
    yield from (labels_stage(run, kind, name) for kind, name in labels)
    for teacher in recipe.teacher:
        if teacher.folder is None:
            make = lexical_stage if teacher.is_lexical else teacher_stage
            yield make(run, teacher)
        if run.scorer(teacher.name) != run.teacher(teacher.name):
            yield convert_stage(run, teacher)
        yield judge_stage(run, teacher)
    for student in recipe.student:
        yield student_stage(run, student)
        if student.fine_tune is not None:
            yield fine_tune_stage(run, student)
        if student.labels_alone is not None:
            yield labels_alone_stage(run, student)
        if student.publish:
            yield export_stage(run, student)
            yield calibrate_stage(run, student)
            yield publish_stage(run, student)
            if student.context is not None:
                yield context_stage(run, student)
    yield report_stage(run)


def _check_student(table: StudentTable) -> None:
    """Refuses before hours of teaching what training would refuse after them."""
    try:
        check_options(table.kind, table.options)
    except TrainingRefused as error:
        raise RecipeRefused(f"student {table.name!r}: {error}") from error
    needs = table.kind in ENCODERS or table.options.tokenizer == "wordpiece"
    if needs != (table.encoder is not None):
        got = repr(table.encoder) if table.encoder else "none"
        raise RecipeRefused(
            f"student {table.name!r}: encoder: expected {'one' if needs else 'none'} for kind "
            f"{table.kind} with tokenizer {table.options.tokenizer}, got {got}"
        )


def _leading_to(names: Sequence[str], every: list[Stage]) -> list[Stage]:
    """The stages of these kinds or titles, and those that they are made from; without any, all."""
    if not names:
        return every
    known = dict.fromkeys(name for stage in every for name in (stage.kind, stage.title))
    if unknown := [name for name in names if name not in known]:
        raise RecipeRefused(
            f"expected a stage of this recipe, {', '.join(known)}, got {unknown[0]!r}"
        )
    makers, chosen = _makers(every), set[str]()
    for stage in reversed(every):  # what a stage is made from stands before it
        if stage.title in chosen or not {stage.kind, stage.title}.isdisjoint(names):
            chosen |= {stage.title} | _made_by(stage, makers)
    return [stage for stage in every if stage.title in chosen]
