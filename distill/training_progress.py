"""What a training tells while it runs; nothing here imports torch."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Validation:
    """How training stood when it was validated.

    number: counted from 1
    step: steps done, of all
    epoch: passes over the pairs done, a fraction where validation is more often
    loss: mean over the steps since the validation before
    best: the best ROC-AUC so far
    """

    number: int
    step: int
    epoch: float
    loss: float
    validation_auc: float
    best: bool


class TrainingProgress(Protocol):
    """What a caller hears while training runs; all steps are counted from 1."""

    def resumed(self, step: int, steps: int) -> None:
        """Once, where a training that was stopped goes on after `step` of all its steps."""
        ...

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Every few steps of an epoch, and at its end."""
        ...

    def validation(self, validation: Validation) -> None:
        """After each validation."""
        ...


class Silence:
    """The progress nobody listens to."""

    def resumed(self, step: int, steps: int) -> None: ...
    def step(self, epoch: int, step: int, steps: int, loss: float) -> None: ...
    def validation(self, validation: Validation) -> None: ...
