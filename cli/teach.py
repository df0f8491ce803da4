"""`winnow teach`: judged pairs in, a teacher out: of a pretrained encoder, or of words alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.console import answer, say, show
from cli.options import (
    Device,
    GradeScale,
    RelevantGrade,
    SaveEvery,
    TrainingPairs,
    ValidationPairs,
    refuse_given,
)
from cli.progress import progress_bar

if TYPE_CHECKING:
    from distill.graded_pairs import Grades
    from distill.lexical_teach import TaughtLexical
    from distill.teach import Taught
    from export.pairs import PairColumns, Pairs

Loss = Literal["pointwise", "ranknet", "listnet", "listmle", "approxndcg"]

# Options that say something of one architecture alone.
_OF_CROSS_ENCODER = (
    *("loss", "epochs", "batch_size", "learning_rate", "head_learning_rate", "warm_up"),
    *("weight_decay", "layer_decay", "clip", "pair_tokens", "pooling", "head_layers", "dropout"),
    *("keep_best_by", "list_size", "top_grade", "rank_temperature", "save_every", "device"),
)
_OF_LEXICAL = ("products", "models", "rounds", "look_up", "threads")


def teach(
    context: typer.Context,
    pairs: TrainingPairs,
    out: Annotated[Path, typer.Option(help="teacher's folder to write; must not exist")],
    architecture: Annotated[
        Literal["cross-encoder", "lexical"],
        typer.Option(help="a network that reads both texts, or trees on what their words share"),
    ] = "cross-encoder",
    encoder: Annotated[
        str | None,
        typer.Option(
            help="folder of a BERT-type checkpoint, package:NAME of an installed one, or "
            "OWNER/NAME[@REVISION] on the hub; lexical: a sentence encoder whose vectors the trees "
            "see too, or none"
        ),
    ] = None,
    validation: ValidationPairs = None,
    grades: GradeScale = None,
    relevant_from: RelevantGrade = None,
    binary: Annotated[
        bool, typer.Option("--binary", help="learn relevant or not in place of graded targets")
    ] = False,
    loss: Annotated[Loss, typer.Option(help="pointwise, or over the products of a query")] = (
        "pointwise"
    ),
    epochs: int = 3,
    batch_size: Annotated[int, typer.Option(help="pairs of a step")] = 32,
    learning_rate: Annotated[float, typer.Option(help="of the encoder, at its peak")] = 3e-5,
    head_learning_rate: Annotated[float, typer.Option(help="of the new layers")] = 1e-4,
    warm_up: Annotated[float, typer.Option(help="share of the steps with a rising rate")] = 0.1,
    weight_decay: float = 0.01,
    layer_decay: Annotated[
        float, typer.Option(help="factor on the rate per layer from the top down")
    ] = 1.0,
    clip: Annotated[float, typer.Option(help="largest norm of a gradient")] = 1.0,
    pair_tokens: Annotated[
        int | None, typer.Option(help="limit of a pair; else what 99 % of the pairs need")
    ] = None,
    pooling: Annotated[
        Literal["cls", "mean"], typer.Option(help="what the head reads: [CLS], or all tokens")
    ] = "cls",
    head_layers: Annotated[int, typer.Option(min=1, max=2)] = 2,
    dropout: Annotated[float, typer.Option(help="in the head")] = 0.1,
    keep_best_by: Annotated[
        Literal["roc_auc", "ndcg_at_10"], typer.Option(help="measure on the validation pairs")
    ] = "roc_auc",
    list_size: Annotated[
        int, typer.Option(help="listwise: products of a list; of more, others each epoch")
    ] = 16,
    top_grade: Annotated[
        float, typer.Option(help="listwise and nDCG: the grade of target 1, gain 2^grade - 1")
    ] = 1.0,
    rank_temperature: Annotated[
        float, typer.Option(help="approxndcg: of the sigmoids that stand for a rank")
    ] = 0.1,
    save_every: SaveEvery = 200,
    device: Device = None,
    products: Annotated[
        Path | None,
        typer.Option(help="lexical: more titles of the catalogue, in --title-column, or .txt"),
    ] = None,
    models: Annotated[
        int, typer.Option(help="lexical: models of different seeds; the teacher is their mean")
    ] = 3,
    rounds: Annotated[int, typer.Option(help="lexical: trees of a model at most")] = 600,
    look_up: Annotated[
        bool,
        typer.Option(
            "--look-up",
            help="lexical: the trees also see what else the catalogue has for the query, and what "
            "was said of pairs of other queries; the teacher carries both along",
        ),
    ] = False,
    threads: Annotated[int | None, typer.Option(help="lexical: else one per CPU")] = None,
    query_column: str = "query",
    title_column: str = "title",
    target_column: str = "target",
    encoding: Annotated[str, typer.Option(help="of the pairs' files")] = "utf-8-sig",
    seed: int = 0,
    as_json: Annotated[bool, typer.Option("--json", help="the epochs on standard output")] = False,
) -> None:
    """Teach relevance from judged pairs: fine-tune a cross-encoder, or grow trees on their words.

    Of a cross-encoder (--encoder) the best epoch is kept. A run that was stopped goes on when the
    same command is given again, and ends with the same weights. A lexical teacher (--architecture
    lexical) takes seconds, and sees letters where the other sees pieces of words: stacked, they are
    better than either. With --encoder it also sees how near the texts are to a sentence encoder,
    which nothing fine-tunes; that takes milliseconds per distinct text. Teachers are stacked by
    giving the labels of each (`winnow label`) to `winnow train`. Needs the extra `train` (torch).
    """
    from distill.graded_pairs import parse_grades
    from distill.lexical_options import LexicalOptions
    from distill.lexical_teach import teach_lexical
    from distill.pretrained import encoder_folder
    from distill.teach import teach as run_teaching
    from distill.teach_options import TeachOptions
    from export.pairs import PairColumns

    scale = parse_grades(grades)
    columns = PairColumns(query_column, title_column, target_column)
    if architecture == "lexical":
        refuse_given(context, _OF_CROSS_ENCODER, "--architecture cross-encoder")
        trees = LexicalOptions(
            seed=seed,
            models=models,
            rounds=rounds,
            relevant_from=scale.relevant_from(relevant_from),
            binary=binary,
            look_up=look_up,
        )
        learn, check = _pairs(pairs, validation, columns, scale, encoding)
        titles = _titles(products, title_column, encoding)
        near = None if encoder is None else encoder_folder(encoder)
        with progress_bar() as on_progress:
            grown = teach_lexical(learn, check, titles, out, trees, on_progress, threads, near)
        _tell_lexical(grown, as_json=as_json)
        return
    refuse_given(context, _OF_LEXICAL, "--architecture lexical")
    if encoder is None:
        raise typer.BadParameter(
            "--encoder: expected a folder, package:NAME or OWNER/NAME for a cross-encoder"
        )
    options = TeachOptions(
        loss=loss,
        seed=seed,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        head_learning_rate=head_learning_rate,
        warm_up=warm_up,
        weight_decay=weight_decay,
        layer_decay=layer_decay,
        clip=clip,
        pair_tokens=pair_tokens,
        pooling=pooling,
        head_layers=1 if head_layers == 1 else 2,
        dropout=dropout,
        relevant_from=scale.relevant_from(relevant_from),
        binary=binary,
        keep_best_by=keep_best_by,
        list_size=list_size,
        top_grade=top_grade,
        rank_temperature=rank_temperature,
        save_every=save_every,
    )
    learn, check = _pairs(pairs, validation, columns, scale, encoding)
    folder = encoder_folder(encoder)
    with progress_bar() as on_progress:
        taught = run_teaching(folder, learn, check, out, options, on_progress, device)
    _tell(taught, as_json=as_json)


def _pairs(
    path: Path, validation: Path | None, columns: "PairColumns", grades: "Grades", encoding: str
) -> "tuple[Pairs, Pairs]":
    """Training and validation pairs."""
    from distill.graded_pairs import read_graded_pairs
    from export.pairs import check_apart, split_by_query

    given = read_graded_pairs(path, columns, grades, encoding)
    if validation is None:
        learn, check = split_by_query(given)
    else:
        learn, check = given, read_graded_pairs(validation, columns, grades, encoding)
        check_apart(learn, check)
    say(f"{len(learn):,} pairs to learn from, {len(check):,} to validate on")
    return learn, check


def _titles(products: Path | None, title_column: str, encoding: str) -> list[str]:
    """Titles of the catalogue that no pair need have."""
    from distill.texts import read_texts

    return [] if products is None else read_texts([products], [title_column], encoding)


def _tell_lexical(taught: "TaughtLexical", *, as_json: bool) -> None:
    figures = {"roc_auc": taught.roc_auc, "ndcg_at_10": taught.ndcg_at_10}
    if as_json:
        answer(figures | {"models": [vars(model) for model in taught.models]})
    show(
        f"lexical teacher {taught.folder}: validation ROC-AUC {taught.roc_auc:.4f}, nDCG@10 "
        f"{taught.ndcg_at_10:.4f}",
        ("seed of the model", "rounds", "validation ROC-AUC"),
        [(model.seed, model.rounds, f"{model.roc_auc:.4f}") for model in taught.models],
    )


def _tell(taught: "Taught", *, as_json: bool) -> None:
    figures = [
        {"epoch": epoch.number, "loss": epoch.loss, "best": epoch.best, **epoch.figures}
        for epoch in taught.epochs
    ]
    if as_json:
        answer(figures)
    show(
        f"teacher {taught.folder}: epoch {taught.best.number}, pairs of at most "
        f"{taught.description.pair_tokens} tokens",
        ("epoch", "loss", "validation ROC-AUC", "validation nDCG@10"),
        [
            (
                each["epoch"],
                f"{each['loss']:.4f}",
                f"{each['roc_auc']:.4f}",
                f"{each['ndcg_at_10']:.4f}",
            )
            for each in figures
        ],
    )
