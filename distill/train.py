"""Training of students: pairs with targets in, a checkpoint out. Start reading here.

What is descended on is `options.objective`: by default the soft cross-entropy of BERT2DNN and of
ReprBERT's first stage. Where the targets come from, teachers or people, is not this module's
concern. Two stages are two calls: the second has `options.start`, the first one's checkpoint.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from distill.continuation import checkpoint_sha256, continue_student
from distill.errors import TrainingRefused
from distill.fine_tune import seeded
from distill.objectives import Pairwise, Pointwise
from distill.options import TrainOptions
from distill.pretrained import encoder_sha256
from distill.resume import RunFolder
from distill.start import start_student
from distill.teacher import choose_device
from distill.texts import texts_sha256
from distill.training_pairs import check_classes, pairs_facts
from distill.training_progress import Silence, TrainingProgress, Validation
from distill.training_run import TrainingRun
from export.checkpoint import WEIGHTS_FILE, Facts, save_student_file
from export.pairs import Pairs

__all__ = ["Silence", "Training", "TrainingProgress", "Validation", "train"]

# Options that decide how a training runs, or name what their contents' hash stands for.
_NOT_ITS_IDENTITY = ("device", "save_minutes", "encoder", "start", "objective")
_LEARN_WHICH_IS_BETTER = (
    ", or, where targets only say which of two products is better, as click ratios do, learn that: "
    "objective pairwise"
)


@dataclass(frozen=True)
class Training:
    """What came of a run: the checkpoint's folder holds the weights of the best validation."""

    folder: Path
    best: Validation
    validations: list[Validation]


def train(
    kind: str,
    pairs: Pairs,
    validation: Pairs,
    out: Path,
    options: TrainOptions,
    progress: TrainingProgress,
) -> Training:
    """Trains a student until validation AUC stops rising, and writes its best weights to `out`.

    Call it again with the same arguments after it was stopped, and it goes on; what it needs for
    that lies in `<out>.partial` meanwhile. The same pairs, options, machine and thread count give
    the same weights, stopped or not. torch's own random state is left as it was.

    Raises:
        TrainingRefused: `out` exists, `<out>.partial` is another training's, there is nothing to
            learn or to validate with, options that don't fit together, or the loss is no longer
            finite.
        TeacherRefused: no such device.
        EncoderRefused: the encoder's folder is no BERT-type checkpoint.
        CheckpointRefused: `options.start` is no whole checkpoint.
    """
    run = RunFolder(out, _identity(kind, pairs, validation, options))
    _check_pairs(pairs, validation, options)
    device = choose_device(options.device)
    beginning = run.path / "start"
    try:
        shutil.rmtree(beginning, ignore_errors=True)
        beginning.mkdir(parents=True)
        with (
            seeded(options.seed, device),
            # torch's own sparse gradients need no check, and say so in a warning unless told
            torch.sparse.check_sparse_tensor_invariants(enable=False),  # type: ignore[no-untyped-call]
        ):
            if options.start is None:
                start = start_student(kind, pairs, options, beginning)
            else:
                start = continue_student(kind, options, beginning)
            training = TrainingRun(start, pairs, validation, options, device, run, progress)
            validations = training.to_the_end()
    except BaseException:
        if not run.begun:
            shutil.rmtree(run.path, ignore_errors=True)
        raise
    best = [each for each in validations if each.best][-1]
    facts = _facts(pairs, validation, options, training.steps_per_epoch, validations) | start.facts

    def write(folder: Path) -> None:
        for path in beginning.iterdir():
            shutil.copyfile(path, folder / path.name)
        # As save_weights would: without the header that only a stopped run needs.
        save_file(load_file(run.best_weights(best.number)), folder / WEIGHTS_FILE)
        save_student_file(start.student, start.spec, facts, folder)

    run.finish(write)
    return Training(out, best, validations)


def _check_pairs(pairs: Pairs, validation: Pairs, options: TrainOptions) -> None:
    if not isinstance(options.objective, Pairwise):  # which asks for targets that differ
        check_classes(pairs, "training", instead=_LEARN_WHICH_IS_BETTER)
    check_classes(validation, "validation")
    hard = options.objective.hard_weight if isinstance(options.objective, Pointwise) else 0.0
    if hard and pairs.hard is None:
        raise TrainingRefused(
            f"hard_weight: expected pairs with a teacher's target and a human one, but "
            f"{pairs.source} has one target a pair: leave hard_weight out"
        )


def _identity(
    kind: str, pairs: Pairs, validation: Pairs, options: TrainOptions
) -> Mapping[str, object]:
    """Whatever decides the weights: a stopped training goes on only where it is the same."""
    identity: dict[str, object] = {
        name: value for name, value in asdict(options).items() if name not in _NOT_ITS_IDENTITY
    }
    identity |= {"student": kind, "objective": type(options.objective).__name__.lower()}
    identity |= asdict(options.objective)
    identity["encoder"] = None if options.encoder is None else encoder_sha256(options.encoder)
    identity["start"] = None if options.start is None else checkpoint_sha256(options.start)
    for name, part in (("pairs", pairs), ("validation", validation)):
        hard = b"" if part.hard is None else part.hard.tobytes()
        # Of what is learned, not of its file, which may hold other columns and more rows.
        identity[name] = texts_sha256(
            [*part.queries, *part.titles], after=part.targets.tobytes() + hard
        )
    return identity


def _facts(
    pairs: Pairs,
    validation: Pairs,
    options: TrainOptions,
    steps_per_epoch: int,
    validations: list[Validation],
) -> Facts:
    best = [each for each in validations if each.best][-1]
    objective = asdict(options.objective)
    return {
        "seed": options.seed,
        "objective": type(options.objective).__name__.lower(),
        **objective,
        "steps_per_epoch": steps_per_epoch,
        "steps": validations[-1].step,
        "epochs": validations[-1].epoch,
        "best_step": best.step,
        "best_epoch": best.epoch,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "encoder_learning_rate": options.encoder_learning_rate,
        "warm_up": options.warm_up,
        "schedule": options.schedule,
        "training_loss": best.loss,
        "validation_auc": best.validation_auc,
        **pairs_facts(pairs, validation),
        "torch": torch.__version__,
        **pairs.facts,
    }
