"""`winnow train`: pairs with targets in, a checkpoint out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import train_options
from cli.console import answer, say, show
from cli.options import Device, TrainingPairs, ValidationPairs, refuse_given
from cli.progress import TrainingBars

if TYPE_CHECKING:
    from distill.train import Training
    from distill.training_pairs import PairSource
    from export.pairs import Pairs


def train(
    context: typer.Context,
    pairs: TrainingPairs,
    out: Annotated[Path, typer.Option(help="checkpoint folder to write; must not exist")],
    student: train_options.StudentKind = None,
    start: train_options.Start = None,
    labels: train_options.LabelFolders = None,
    temperature: train_options.Temperature = 1.0,
    behaviour: train_options.Behaviour = False,
    max_pairs: train_options.MaxPairs = None,
    validation: ValidationPairs = None,
    objective: train_options.Objective = "pointwise",
    hard_weight: train_options.HardWeight = 0.0,
    hard_column: train_options.HardColumn = None,
    pairs_per_title: train_options.PairsPerTitle = 1,
    in_blocks: train_options.InBlocks = False,
    pair_loss: train_options.PairLoss = "logistic",
    margin: train_options.Margin = 1.0,
    least_gap: train_options.LeastGap = 0.1,
    random_negatives: train_options.RandomNegatives = True,
    list_size: train_options.ListSize = 32,
    list_temperature: train_options.ListTemperature = 1.0,
    pointwise_weight: train_options.PointwiseWeight = 0.0,
    encoder: train_options.EncoderName = None,
    layers: train_options.Layers = 2,
    from_scratch: train_options.FromScratch = False,
    late: train_options.Late = True,
    intermediate: train_options.Intermediate = True,
    attention: train_options.Attention = True,
    pooling: train_options.Pooling = "mean",
    codes: train_options.Codes = 16,
    tokenizer: train_options.TokenizerKind = "cwub",
    minimum_frequency: train_options.MinimumFrequency = 2,
    maximum_vocabulary: train_options.MaximumVocabulary = None,
    epochs: train_options.Epochs = 5,
    patience: train_options.Patience = 2,
    validate_every: train_options.ValidateEvery = None,
    batch_size: int = 128,
    learning_rate: train_options.LearningRate = 1e-3,
    encoder_learning_rate: train_options.EncoderLearningRate = 5e-5,
    warm_up: train_options.WarmUp = 0.05,
    schedule: train_options.Schedule = "linear",
    query_tokens: train_options.QueryTokens = None,
    product_tokens: train_options.ProductTokens = None,
    query_column: str = "query",
    title_column: str = "title",
    target_column: str = "target",
    device: Device = None,
    save_minutes: train_options.SaveMinutes = 5.0,
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
    from distill.pretrained import encoder_folder
    from distill.train import train as run_training
    from distill.training_pairs import PairSource
    from export.pairs import PairColumns

    for other, names in train_options.OF_OBJECTIVE.items():
        if other != objective:
            refuse_given(context, names, f"--objective {other}, not {objective}")
    objectives: dict[str, Pointwise | Pairwise | Listwise] = {
        "pointwise": Pointwise(
            hard_weight=hard_weight, pairs_per_title=pairs_per_title, in_blocks=in_blocks
        ),
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
        encoder=None if encoder is None else encoder_folder(encoder),
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
    with TrainingBars(epochs) as progress:
        training = run_training(kind, learn, check, out, options, progress)
    _show(training, as_json)


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
    from distill.errors import TrainingRefused
    from distill.graph import SEPARATOR
    from distill.training_pairs import judged_by_people, read_training_pairs
    from export.pairs import check_apart, read_pairs, split_by_query

    say(f"reading {source.path} ...")
    given = read_training_pairs(source)
    if validation is None:
        if any(SEPARATOR in query for query in dict.fromkeys(given.queries)):
            raise TrainingRefused(
                f"{source.path.name}: its queries stand in context, so that one query is several "
                "texts, which would be drawn for training and validation apart: give pairs to "
                "validate on (--validation; winnow context --evaluate)"
            )
        learn, check = split_by_query(given)
        if not len(check):
            raise TrainingRefused(
                f"{source.path.name}: expected queries of the valid split, found none, as in every "
                "transfer set: give judged pairs to validate on (--validation)"
            )
        return learn, judged_by_people(check)
    check = read_pairs(validation, source.columns)
    check_apart(given, check)
    return given, check


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
