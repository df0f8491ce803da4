"""`winnow train`: pairs with soft targets in, a checkpoint out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from cli.console import answer, console, say, show

if TYPE_CHECKING:
    from distill.train import Epoch


def train(
    student: Annotated[str, typer.Option(help="bert2dnn, deepdot or reprbert")],
    pairs: Annotated[
        Path, typer.Option(help="query, title, target in [0, 1]: CSV, TSV or JSONL, also .gz")
    ],
    out: Annotated[Path, typer.Option(help="checkpoint folder to write; must not exist")],
    validation: Annotated[
        Path | None,
        typer.Option(
            help="pairs to validate on; else the valid split of --pairs, whose test split is unused"
        ),
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="reprbert: folder of a BERT-type checkpoint")
    ] = None,
    layers: Annotated[int, typer.Option(help="reprbert: layers taken from the encoder")] = 2,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="reprbert: random layers, no weights read")
    ] = False,
    minimum_frequency: Annotated[
        int, typer.Option(help="bert2dnn, deepdot: rarer tokens are left out of the vocabulary")
    ] = 2,
    epochs: Annotated[int, typer.Option(help="at most so many")] = 5,
    patience: Annotated[int, typer.Option(help="epochs without a better validation AUC")] = 2,
    batch_size: int = 128,
    learning_rate: Annotated[float, typer.Option(help="of all layers that start random")] = 1e-3,
    encoder_learning_rate: Annotated[float, typer.Option(help="of borrowed layers")] = 5e-5,
    query_tokens: Annotated[
        int | None, typer.Option(help="limit; else what 99 % of the queries need")
    ] = None,
    product_tokens: Annotated[
        int | None, typer.Option(help="limit; else what 99 % of the titles need")
    ] = None,
    query_column: str = "query",
    title_column: str = "title",
    target_column: str = "target",
    seed: int = 0,
    as_json: Annotated[bool, typer.Option("--json", help="the epochs on standard output")] = False,
) -> None:
    """Train a student on pairs; keeps the epoch with the best validation ROC-AUC.

    Needs the extra `train` (torch). The same pairs, options, machine and threads give the same
    weights.
    """
    from distill.options import TrainOptions
    from distill.train import train as run_training
    from export.pairs import PairColumns, read_pairs, split_by_query

    options = TrainOptions(
        seed=seed,
        epochs=epochs,
        patience=patience,
        batch_size=batch_size,
        learning_rate=learning_rate,
        encoder_learning_rate=encoder_learning_rate,
        query_tokens=query_tokens,
        product_tokens=product_tokens,
        minimum_frequency=minimum_frequency,
        encoder=encoder,
        layers=layers,
        from_scratch=from_scratch,
    )
    columns = PairColumns(query_column, title_column, target_column)
    given = read_pairs(pairs, columns)
    if validation is None:
        learn, check = split_by_query(given)
    else:
        learn, check = given, read_pairs(validation, columns)
    say(f"{student}: {len(learn):,} pairs to learn from, {len(check):,} to validate on")
    with _Bars(epochs) as progress:
        training = run_training(student, learn, check, out, options, progress)
    if as_json:
        answer([vars(epoch) for epoch in training.epochs])
    show(
        f"checkpoint {training.folder}: epoch {training.best.number}",
        ("epoch", "loss", "validation ROC-AUC"),
        [
            (epoch.number, f"{epoch.loss:.4f}", f"{epoch.validation_auc:.4f}")
            for epoch in training.epochs
        ],
    )


class _Bars:
    """One bar per epoch, with the loss and, at its end, the validation AUC."""

    def __init__(self, epochs: int) -> None:
        self._progress = Progress(console=console)
        self._epochs = epochs
        self._task = self._progress.add_task("tokenising", total=None)

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Every few steps of an epoch."""
        self._progress.update(
            self._task,
            description=f"epoch {epoch} of at most {self._epochs}, loss {loss:.4f}",
            completed=step,
            total=steps,
        )

    def epoch(self, epoch: "Epoch") -> None:
        """After each epoch's validation."""
        best = ", the best so far" if epoch.best else ""
        self._progress.console.print(
            f"epoch {epoch.number}: loss {epoch.loss:.4f}, "
            f"validation ROC-AUC {epoch.validation_auc:.4f}{best}",
            highlight=False,
        )
