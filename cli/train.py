"""`winnow train`: pairs with targets in, a checkpoint out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import Progress

from cli.console import answer, console, say, show

if TYPE_CHECKING:
    from distill.train import Training, Validation
    from distill.training_pairs import PairSource
    from export.pairs import Pairs

# Options that say something of one objective alone.
_OF_OBJECTIVE = {
    "pointwise": ("hard_weight", "hard_column", "pairs_per_title"),
    "pairwise": ("pair_loss", "margin", "least_gap", "random_negatives"),
    "listwise": ("list_size", "list_temperature", "pointwise_weight"),
}


def train(
    context: typer.Context,
    pairs: Annotated[
        Path, typer.Option(help="query, title, target in [0, 1]: CSV, TSV or JSONL, also .gz")
    ],
    out: Annotated[Path, typer.Option(help="checkpoint folder to write; must not exist")],
    student: Annotated[
        str | None,
        typer.Option(help="bert2dnn, deepdot, reprbert, siamese, poly or listbert"),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="checkpoint to go on from, instead of a new student")
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="labels of --pairs in place of targets; several teachers: their mean"),
    ] = None,
    temperature: Annotated[float, typer.Option(help="labels: divides the teachers' logits")] = 1.0,
    behaviour: Annotated[
        bool, typer.Option("--behaviour", help="labels: what was clicked or ordered has target 1")
    ] = False,
    max_pairs: Annotated[int | None, typer.Option(help="only so many, from the start")] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="pairs to validate on; else the valid split of --pairs, whose test split is unused"
        ),
    ] = None,
    objective: Annotated[
        Literal["pointwise", "pairwise", "listwise"],
        typer.Option(help="learn scores, which of two products is better, or a query's order"),
    ] = "pointwise",
    hard_weight: Annotated[
        float,
        typer.Option(help="weight of a human label beside the target; ReprBERT's is 0.5"),
    ] = 0.0,
    hard_column: Annotated[
        str | None,
        typer.Option(help="of the human label, may be empty; with --labels the target column"),
    ] = None,
    pairs_per_title: Annotated[
        int, typer.Option(help="so many pairs of a title in one batch: it is encoded once")
    ] = 1,
    pair_loss: Annotated[Literal["logistic", "margin"], typer.Option(help="pairwise")] = "logistic",
    margin: Annotated[float, typer.Option(help="pairwise, margin: in log odds")] = 1.0,
    least_gap: Annotated[
        float, typer.Option(help="pairwise: targets of a better and a worse product differ so far")
    ] = 0.1,
    random_negatives: Annotated[
        bool,
        typer.Option(
            "--random-negatives/--no-random-negatives", help="pairwise: from the batch, beside them"
        ),
    ] = True,
    list_size: Annotated[int, typer.Option(help="listwise: products of a list at most")] = 32,
    list_temperature: Annotated[float, typer.Option(help="listwise: of both softmaxes")] = 1.0,
    pointwise_weight: Annotated[
        float, typer.Option(help="listwise: weight of cross-entropy beside it")
    ] = 0.0,
    encoder: Annotated[
        Path | None,
        typer.Option(help="folder of a BERT-type checkpoint or a teacher, for all but the bags"),
    ] = None,
    layers: Annotated[int, typer.Option(help="layers taken from the encoder")] = 2,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="random layers, no weights read")
    ] = False,
    late: Annotated[
        bool, typer.Option("--late/--no-late", help="reprbert: interaction of the last layer")
    ] = True,
    intermediate: Annotated[
        bool, typer.Option("--intermediate/--no-intermediate", help="reprbert: of the others")
    ] = True,
    attention: Annotated[
        bool, typer.Option("--attention/--no-attention", help="reprbert: guided by [CLS]")
    ] = True,
    pooling: Annotated[
        Literal["mean", "cls"], typer.Option(help="siamese, poly, listbert: of a text's states")
    ] = "mean",
    codes: Annotated[int, typer.Option(help="poly: vectors of a query")] = 16,
    tokenizer: Annotated[
        Literal["cwub", "wordpiece"],
        typer.Option(help="bert2dnn, deepdot: wordpiece takes that of --encoder"),
    ] = "cwub",
    minimum_frequency: Annotated[
        int, typer.Option(help="cwub: rarer tokens are left out of the vocabulary")
    ] = 2,
    maximum_vocabulary: Annotated[
        int | None, typer.Option(help="cwub: only so many of the most frequent tokens")
    ] = None,
    epochs: Annotated[int, typer.Option(help="at most so many")] = 5,
    patience: Annotated[int, typer.Option(help="validations without a better AUC")] = 2,
    validate_every: Annotated[
        int | None, typer.Option(help="steps; else at the end of each epoch")
    ] = None,
    batch_size: int = 128,
    learning_rate: Annotated[
        float, typer.Option(help="of layers that start random; with --start, of all but encoders")
    ] = 1e-3,
    encoder_learning_rate: Annotated[float, typer.Option(help="of borrowed layers")] = 5e-5,
    warm_up: Annotated[float, typer.Option(help="share of all steps in which rates rise")] = 0.05,
    schedule: Annotated[
        Literal["linear", "constant"], typer.Option(help="rates fall to 0 after it, or stay")
    ] = "linear",
    query_tokens: Annotated[
        int | None, typer.Option(help="limit; else what 99 % of the queries need")
    ] = None,
    product_tokens: Annotated[
        int | None, typer.Option(help="limit; else what 99 % of the titles need")
    ] = None,
    query_column: str = "query",
    title_column: str = "title",
    target_column: str = "target",
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...; else a GPU if there is one")
    ] = None,
    save_minutes: Annotated[
        float, typer.Option(help="between two states from which a stopped training goes on")
    ] = 5.0,
    seed: int = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="the validations on standard output")
    ] = False,
) -> None:
    """Train a student on pairs; keeps the weights with the best validation ROC-AUC.

    Needs the extra `train` (torch). Killed at any moment, the same command goes on where it
    stopped. The same pairs, options, machine and threads give the same weights.

    Two stages are two commands: the second has --start and, for pairs that both a teacher and
    people have labelled, --labels and --hard-weight.
    """
    from distill.objectives import Listwise, Pairwise, Pointwise
    from distill.options import TrainOptions
    from distill.train import train as run_training
    from distill.training_pairs import PairSource
    from export.pairs import PairColumns

    _refuse_options_of_others(context, objective)
    objectives: dict[str, Pointwise | Pairwise | Listwise] = {
        "pointwise": Pointwise(hard_weight=hard_weight, pairs_per_title=pairs_per_title),
        "pairwise": Pairwise(
            pair_loss=pair_loss,
            margin=margin,
            least_gap=least_gap,
            random_negatives=random_negatives,
        ),
        "listwise": Listwise(
            list_size=list_size,
            list_temperature=list_temperature,
            pointwise_weight=pointwise_weight,
        ),
    }
    options = TrainOptions(
        seed=seed,
        objective=objectives[objective],
        epochs=epochs,
        patience=patience,
        validate_every=validate_every,
        batch_size=batch_size,
        learning_rate=learning_rate,
        encoder_learning_rate=encoder_learning_rate,
        warm_up=warm_up,
        schedule=schedule,
        device=device,
        save_minutes=save_minutes,
        start=start,
        query_tokens=query_tokens,
        product_tokens=product_tokens,
        tokenizer=tokenizer,
        minimum_frequency=minimum_frequency,
        maximum_vocabulary=maximum_vocabulary,
        encoder=encoder,
        layers=layers,
        from_scratch=from_scratch,
        late=late,
        intermediate=intermediate,
        attention=attention,
        pooling=pooling,
        codes=codes,
    )
    source = PairSource(
        path=pairs,
        columns=PairColumns(query_column, title_column, target_column),
        labels=tuple(labels or ()),
        temperature=temperature,
        behaviour=behaviour,
        hard_column=_hard_column(hard_column, hard_weight, target_column, labels),
        max_pairs=max_pairs,
    )
    kind = _kind(student, start)
    learn, check = _read(source, validation)
    say(f"{kind}: {len(learn):,} pairs to learn from, {len(check):,} to validate on")
    with _Bars(epochs) as progress:
        training = run_training(kind, learn, check, out, options, progress)
    _show(training, as_json)


def _refuse_options_of_others(context: typer.Context, objective: str) -> None:
    """An option of another objective would say nothing, so it is a mistake."""
    for other, names in _OF_OBJECTIVE.items():
        for name in names if other != objective else ():
            source = context.get_parameter_source(name)
            if source is not None and source.name != "DEFAULT":
                raise typer.BadParameter(
                    f"--{name.replace('_', '-')} is for --objective {other}, not {objective}: "
                    "leave it out"
                )


def _hard_column(
    given: str | None, weight: float, target_column: str, labels: list[Path] | None
) -> str | None:
    """Where the human label is; None where none is asked for."""
    if weight == 0.0:
        if given is not None:
            raise typer.BadParameter("--hard-column has no weight: add --hard-weight, say 0.5")
        return None
    if given is None and not labels:
        raise typer.BadParameter(
            "--hard-weight: expected a human label beside each target: name its --hard-column, or "
            "give --labels of a teacher, in place of whose targets those of the file count as hard"
        )
    return given or target_column


def _kind(student: str | None, start: Path | None) -> str:
    """The student that was named, or else that of the checkpoint."""
    from distill.continuation import kind_of

    if student is not None:
        return student
    if start is None:
        raise typer.BadParameter("expected --student, or --start with a checkpoint to go on from")
    return kind_of(start)


def _read(source: "PairSource", validation: Path | None) -> "tuple[Pairs, Pairs]":
    """Training and validation pairs."""
    from distill.training_pairs import read_training_pairs
    from export.pairs import read_pairs, split_by_query

    say(f"reading {source.path} ...")
    given = read_training_pairs(source)
    if validation is None:
        return split_by_query(given)
    return given, read_pairs(validation, source.columns)


def _show(training: "Training", as_json: bool) -> None:
    if as_json:
        answer([vars(each) for each in training.validations])
    show(
        f"checkpoint {training.folder}: the weights after step {training.best.step:,}",
        ("validation", "step", "epoch", "loss", "validation ROC-AUC"),
        [
            (
                each.number,
                f"{each.step:,}",
                f"{each.epoch:.4g}",
                f"{each.loss:.4f}",
                f"{each.validation_auc:.4f}",
            )
            for each in training.validations
        ],
    )


class _Bars:
    """One bar, with the loss and, at each validation, its AUC."""

    def __init__(self, epochs: int) -> None:
        self._progress = Progress(console=console)
        self._epochs = epochs
        self._task = self._progress.add_task("tokenising", total=None)

    def __enter__(self) -> "_Bars":
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
