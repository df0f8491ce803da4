"""Progress bars of long commands: rate and time left, on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cli.console import console

if TYPE_CHECKING:
    from distill.train import Validation


class _Rate(ProgressColumn):
    """Steps per second of one phase."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """A callback (phase, done, total or None) that draws one bar per phase."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def report(phase: str, done: int, total: int | None) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=done, total=total)

        yield report


class TrainingBars:
    """The progress of a student's training: one bar with the loss, and a line per validation."""

    def __init__(self, epochs: int) -> None:
        self._progress = Progress(console=console)
        self._epochs = epochs
        self._task = self._progress.add_task("tokenising", total=None)

    def __enter__(self) -> "TrainingBars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def resumed(self, step: int, steps: int) -> None:
        """Where a training that was stopped goes on."""
        self._progress.console.print(
            f"goes on after step {step:,} of {steps:,}, where it was stopped", highlight=False
        )

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Every few steps of an epoch."""
        self._progress.update(
            self._task,
            description=f"epoch {epoch} of at most {self._epochs}, loss {loss:.4f}",
            completed=step,
            total=steps,
        )

    def validation(self, validation: "Validation") -> None:
        """After each validation."""
        best = ", the best so far" if validation.best else ""
        self._progress.console.print(
            f"step {validation.step:,} (epoch {validation.epoch:.4g}): loss "
            f"{validation.loss:.4f}, validation ROC-AUC {validation.validation_auc:.4f}{best}",
            highlight=False,
        )
