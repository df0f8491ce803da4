"""Training, just enough: pairs with soft targets in, a checkpoint out.

The loss is BERT2DNN's and ReprBERT's first stage: mean sigmoid cross-entropy against the target
(BERT2DNN eq. 4; no temperature, no hard labels mixed in). Where the targets come from, a teacher
or people, is not this module's concern.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from distill.errors import TrainingRefused
from distill.optimise import LearningRates, Optimisers
from distill.options import TrainOptions
from distill.start import Start, start_student
from evaluation.metrics import roc_auc
from export.checkpoint import Facts, save_student_file, save_weights
from export.pairs import Pairs
from export.scoring import score_tokens
from export.students.student import Student
from export.tokens import TokenRows, bucketed_batches

_REPORT_EVERY = 20  # steps between two reports of progress


@dataclass(frozen=True)
class Epoch:
    """How one pass over the training pairs ended; the loss is the mean over its steps."""

    number: int
    loss: float
    validation_auc: float
    best: bool


class TrainingProgress(Protocol):
    """What a caller hears while training runs; all steps are counted from 1."""

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Every few steps of an epoch, and at its end."""
        ...

    def epoch(self, epoch: Epoch) -> None:
        """After each epoch's validation."""
        ...


class Silence:
    """The progress nobody listens to."""

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None: ...
    def epoch(self, epoch: Epoch) -> None: ...


@dataclass(frozen=True)
class Training:
    """What came of a run: the checkpoint's folder holds the best epoch."""

    folder: Path
    best: Epoch
    epochs: list[Epoch]


def train(
    kind: str,
    pairs: Pairs,
    validation: Pairs,
    out: Path,
    options: TrainOptions,
    progress: TrainingProgress,
) -> Training:
    """Trains a student until validation AUC stops rising, and writes its best epoch to `out`.

    The same pairs, options, machine and thread count give the same weights. torch's own random
    state is left as it was.

    Raises:
        TrainingRefused: `out` exists, there is nothing to learn or to validate with, or the loss
            is no longer finite.
        EncoderRefused: ReprBERT's encoder folder is no BERT-type checkpoint.
    """
    if out.exists():
        raise TrainingRefused(f"{out}: exists already; training never overwrites: name another")
    _check_pairs(pairs, validation)
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as staging,
        torch.random.fork_rng(devices=[]),
        # torch's own sparse gradients need no check, and say so in a warning unless told
        torch.sparse.check_sparse_tensor_invariants(enable=False),  # type: ignore[no-untyped-call]
    ):
        folder = Path(staging) / out.name
        folder.mkdir()
        torch.manual_seed(options.seed)
        start = start_student(kind, pairs, options, folder)
        epochs = _run(start, pairs, validation, options, folder, progress)
        best = [epoch for epoch in epochs if epoch.best][-1]
        facts = _facts(pairs, validation, options, epochs, best) | start.facts
        save_student_file(start.student, start.spec, facts, folder)
        folder.rename(out)
    return Training(out, best, epochs)


def _check_pairs(pairs: Pairs, validation: Pairs) -> None:
    for name, part in (("training", pairs), ("validation", validation)):
        relevant = int(part.labels.sum())
        if not 0 < relevant < len(part):
            raise TrainingRefused(
                f"{part.source}: expected relevant and irrelevant {name} pairs (target >= 0.5 and "
                f"below), got {relevant} relevant of {len(part)}: give more pairs"
            )


def _run(
    start: Start,
    pairs: Pairs,
    validation: Pairs,
    options: TrainOptions,
    folder: Path,
    progress: TrainingProgress,
) -> list[Epoch]:
    """The epochs up to early stopping; the best one's weights lie in `folder` afterwards."""
    student, tokenizer = start.student, start.tokenizer
    learn = _Material(
        TokenRows(tokenizer, pairs.queries, "query"),
        TokenRows(tokenizer, pairs.titles, "product"),
        torch.from_numpy(pairs.targets),
    )
    check_queries = TokenRows(tokenizer, validation.queries, "query")
    check_titles = TokenRows(tokenizer, validation.titles, "product")
    rates = LearningRates(
        encoder=options.learning_rate if options.from_scratch else options.encoder_learning_rate,
        new=options.learning_rate,
    )
    steps = options.epochs * math.ceil(len(pairs) / options.batch_size)
    optimisers = Optimisers(student, rates, steps)
    order = np.random.default_rng(options.seed)
    epochs: list[Epoch] = []
    best = -math.inf
    for number in range(1, options.epochs + 1):
        loss = _one_epoch(student, learn, optimisers, order, options.batch_size, number, progress)
        scores = score_tokens(student, check_queries, check_titles)
        auc = roc_auc(validation.labels, scores)
        epochs.append(Epoch(number, loss, auc, best=auc > best))
        progress.epoch(epochs[-1])
        if auc > best:
            best = auc
            save_weights(student, folder)
        elif not any(epoch.best for epoch in epochs[-options.patience :]):
            break
    return epochs


@dataclass(frozen=True)
class _Material:
    """Training pairs as tokens; targets are float32 [n]."""

    queries: TokenRows
    titles: TokenRows
    targets: torch.Tensor


def _one_epoch(
    student: Student,
    learn: _Material,
    optimisers: Optimisers,
    order: np.random.Generator,
    batch_size: int,
    epoch: int,
    progress: TrainingProgress,
) -> float:
    """One pass over the pairs; the mean loss of its steps."""
    student.train()
    query_row, title_row = learn.queries.text_row, learn.titles.text_row
    batches = bucketed_batches(learn.titles.lengths[title_row], batch_size, order)
    losses = []
    for step, rows in enumerate(batches, start=1):
        logit = student(*learn.queries.batch(query_row[rows]), *learn.titles.batch(title_row[rows]))
        loss = functional.binary_cross_entropy_with_logits(logit, learn.targets[rows])
        optimisers.step(loss)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise TrainingRefused(
                f"epoch {epoch}, step {step}: the loss is {losses[-1]}: training diverged; "
                "choose a smaller learning rate"
            )
        if step % _REPORT_EVERY == 0 or step == len(batches):
            progress.step(epoch, step, len(batches), float(np.mean(losses[-_REPORT_EVERY:])))
    return float(np.mean(losses))


def _facts(
    pairs: Pairs, validation: Pairs, options: TrainOptions, epochs: list[Epoch], best: Epoch
) -> Facts:
    return {
        "seed": options.seed,
        "epochs": len(epochs),
        "best_epoch": best.number,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "training_loss": best.loss,
        "validation_auc": best.validation_auc,
        "pairs_file": pairs.source,
        "pairs_sha256": pairs.sha256,
        "pairs": len(pairs),
        "validation_file": validation.source,
        "validation_sha256": validation.sha256,
        "validation_pairs": len(validation),
        "torch": torch.__version__,
    }
