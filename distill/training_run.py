"""The steps and validations of one training, from where it stands to its end."""

import math
import shutil
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from distill.errors import TrainingRefused
from distill.list_distillation import ListwiseMaterial
from distill.objectives import Pairwise, Pointwise
from distill.optimise import Adam, LearningRates, make_word_tables_sparse
from distill.options import TrainOptions
from distill.pairwise import PairwiseMaterial
from distill.pointwise import PointwiseMaterial
from distill.resume import Epoch, RunFolder
from distill.start import Start
from distill.student_pairs import StudentPairs
from distill.training_progress import TrainingProgress, Validation
from evaluation.metrics import roc_auc
from export.checkpoint import Facts
from export.pairs import Pairs
from export.scoring import score_tokens
from export.tokens import TokenRows

_REPORT_EVERY = 20  # steps between two reports of progress


class _Material(Protocol):
    """What is learned from: `pointwise`, `pairwise` and `list_distillation` have one each."""

    steps: int  # of an epoch

    def batches(self, epoch: int) -> list[Any]: ...
    def loss(self, batch: Any) -> Tensor: ...


class TrainingRun:
    """One training from where it stands to its end."""

    def __init__(
        self,
        start: Start,
        pairs: Pairs,
        validation: Pairs,
        options: TrainOptions,
        device: torch.device,
        folder: RunFolder,
        progress: TrainingProgress,
    ) -> None:
        """Tokenises both parts and takes up the state that a stopped training has left."""
        self._student = start.student
        self._module = cast(nn.Module, start.student).to(device)
        self._options = options
        self._device = device
        self._folder = folder
        self._progress = progress
        self._labels = validation.labels
        self._queries = TokenRows(start.tokenizer, validation.queries, "query")
        self._titles = TokenRows(start.tokenizer, validation.titles, "product")
        self._material = _material(
            StudentPairs(start.student, start.tokenizer, pairs, device), options
        )
        self.steps_per_epoch = self._material.steps
        self._steps = options.epochs * self.steps_per_epoch
        make_word_tables_sparse(self._module)
        self._optimiser = Adam(self._module, _rates(options), self._steps)
        # A "round", from one validation to the next, is what resume.py knows as an epoch.
        self._round = min(self._steps, options.validate_every or self.steps_per_epoch)
        self._position = folder.restore(self._module, self._optimiser, device)
        self._losses: deque[float] = deque(maxlen=_REPORT_EVERY)
        self._saved_s = time.monotonic()

    def to_the_end(self) -> list[Validation]:
        """All validations; the weights of the best one lie in the run's folder."""
        position, rounds = self._position, math.ceil(self._steps / self._round)
        if done := self._done():
            self._progress.resumed(done, self._steps)
        batches = self._batches()
        while position.epoch <= rounds and not self._out_of_patience():
            self._module.train()
            while position.step < self._round and self._done() < self._steps:
                self._one_step(*next(batches))
            self._validate()
        return [self._validation(each) for each in position.epochs]

    def _done(self) -> int:
        """Steps behind us."""
        return (self._position.epoch - 1) * self._round + self._position.step

    def _batches(self) -> Iterator[tuple[int, int, Any]]:
        """Epoch and place of the next batches, both counted from 1, with the batch."""
        first, place = divmod(self._done(), self.steps_per_epoch)
        for epoch in range(first + 1, self._options.epochs + 1):
            batches = self._material.batches(epoch)
            for number in range(place, len(batches)):
                yield epoch, number + 1, batches[number]
            place = 0

    def _one_step(self, epoch: int, place: int, batch: Any) -> None:
        loss = self._material.loss(batch)
        self._optimiser.descend(loss, self._done())
        value = loss.item()
        if not math.isfinite(value):
            shutil.rmtree(self._folder.path)  # the same command would come to the same end
            raise TrainingRefused(
                f"epoch {epoch}, step {place}: the loss is {value}: training diverged; "
                "choose a smaller learning rate"
            )
        self._position.step += 1
        self._position.loss += value
        self._losses.append(value)
        if place % _REPORT_EVERY == 0 or place == self.steps_per_epoch:
            mean = sum(self._losses) / len(self._losses)
            self._progress.step(epoch, place, self.steps_per_epoch, mean)
        if time.monotonic() - self._saved_s >= 60 * self._options.save_minutes:
            self._save()

    def _validate(self) -> None:
        position = self._position
        scores = score_tokens(self._student, self._queries, self._titles, self._device)
        auc = roc_auc(self._labels, scores)
        best = auc > max((each.value for each in position.epochs), default=-math.inf)
        figures: Facts = {"step": self._done()}
        loss = position.loss / position.step
        position.epochs.append(Epoch(position.epoch, loss, auc, best, figures))
        if best:
            self._folder.save_best(self._module.state_dict(), position.epoch)
        position.epoch, position.step, position.loss = position.epoch + 1, 0, 0.0
        self._save()
        self._progress.validation(self._validation(position.epochs[-1]))

    def _save(self) -> None:
        self._folder.save(self._module, self._optimiser, self._device, self._position)
        self._saved_s = time.monotonic()

    def _out_of_patience(self) -> bool:
        recent = self._position.epochs[-self._options.patience :]
        return len(recent) == self._options.patience and not any(each.best for each in recent)

    def _validation(self, ended: Epoch) -> Validation:
        step = cast(int, ended.figures["step"])
        return Validation(
            ended.number, step, step / self.steps_per_epoch, ended.loss, ended.value, ended.best
        )


def _material(pairs: StudentPairs, options: TrainOptions) -> _Material:
    """What the objective learns from."""
    objective, size, seed = options.objective, options.batch_size, options.seed
    if isinstance(objective, Pointwise):
        return PointwiseMaterial(pairs, objective, batch_size=size, seed=seed)
    if isinstance(objective, Pairwise):
        return PairwiseMaterial(pairs, objective, batch_size=size, seed=seed)
    return ListwiseMaterial(pairs, objective, batch_size=size, seed=seed)


def _rates(options: TrainOptions) -> LearningRates:
    return LearningRates(
        encoder=options.learning_rate if options.from_scratch else options.encoder_learning_rate,
        new=options.learning_rate,
        warm_up=options.warm_up,
        schedule=options.schedule,
    )
