"""`winnow teach`: judged pairs and a pretrained encoder in, a teacher out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.console import answer, say, show
from cli.progress import progress_bar

if TYPE_CHECKING:
    from distill.graded_pairs import Grades
    from distill.teach import Taught
    from export.pairs import PairColumns, Pairs

Loss = Literal["pointwise", "ranknet", "listnet", "listmle", "approxndcg"]


def teach(
    encoder: Annotated[
        str,
        typer.Option(help="folder of a BERT-type checkpoint, or OWNER/NAME[@REVISION] on the hub"),
    ],
    pairs: Annotated[
        Path, typer.Option(help="query, title, target in [0, 1]: CSV, TSV or JSONL, also .gz")
    ],
    out: Annotated[Path, typer.Option(help="teacher's folder to write; must not exist")],
    validation: Annotated[
        Path | None,
        typer.Option(
            help="pairs to validate on; else the valid split of --pairs, whose test split is unused"
        ),
    ] = None,
    grades: Annotated[
        str | None,
        typer.Option(help="LOWEST:HIGHEST of the target column, such as 1:3; becomes 0 to 1"),
    ] = None,
    relevant_from: Annotated[
        float | None,
        typer.Option(help="lowest target, or grade, that counts as relevant; else the middle"),
    ] = None,
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
    save_every: Annotated[
        int, typer.Option(help="steps between states from which a stopped run goes on")
    ] = 200,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...; else a GPU where there is one")
    ] = None,
    query_column: str = "query",
    title_column: str = "title",
    target_column: str = "target",
    encoding: Annotated[str, typer.Option(help="of the pairs' files")] = "utf-8-sig",
    seed: int = 0,
    as_json: Annotated[bool, typer.Option("--json", help="the epochs on standard output")] = False,
) -> None:
    """Fine-tune a cross-encoder on judged pairs; keeps the best epoch.

    A run that was stopped goes on when the same command is given again, and ends with the same
    weights. Two teachers with other seeds or encoders are stacked by giving both to `winnow
    label` and `winnow train`. Needs the extra `train` (torch).
    """
    from distill.graded_pairs import Grades, parse_grades
    from distill.pretrained import encoder_folder
    from distill.teach import teach as run_teaching
    from distill.teach_options import TeachOptions
    from export.pairs import PairColumns

    scale = Grades(0.0, 1.0) if grades is None else parse_grades(grades)
    middle = (scale.lowest + scale.highest) / 2
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
        relevant_from=scale.target(middle if relevant_from is None else relevant_from),
        binary=binary,
        keep_best_by=keep_best_by,
        list_size=list_size,
        top_grade=top_grade,
        save_every=save_every,
    )
    columns = PairColumns(query_column, title_column, target_column)
    learn, check = _pairs(pairs, validation, columns, scale, encoding)
    say(f"{len(learn):,} pairs to learn from, {len(check):,} to validate on")
    folder = encoder_folder(encoder)
    with progress_bar() as on_progress:
        taught = run_teaching(folder, learn, check, out, options, on_progress, device)
    _tell(taught, as_json=as_json)


def _pairs(
    path: Path, validation: Path | None, columns: "PairColumns", grades: "Grades", encoding: str
) -> "tuple[Pairs, Pairs]":
    """Training and validation pairs."""
    from distill.graded_pairs import read_graded_pairs
    from export.pairs import split_by_query

    given = read_graded_pairs(path, columns, grades, encoding)
    if validation is None:
        return split_by_query(given)
    return given, read_graded_pairs(validation, columns, grades, encoding)


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
