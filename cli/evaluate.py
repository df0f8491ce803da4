"""`winnow evaluate`: figures of a student on judged pairs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.console import answer, say, show
from cli.progress import progress_bar
from model_store.manifest import Precision
from model_store.registry import DEFAULT_ROOT, bundle_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evaluation.judgments import Judgments

Split = Literal["train", "valid", "test"]


def evaluate(
    judgments: Annotated[Path, typer.Option(help="judged pairs: CSV, TSV or JSONL, also .gz")],
    model: Annotated[
        str | None, typer.Option(help="published student: NAME or NAME@VERSION")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="or a checkpoint folder, evaluated in PyTorch")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="score through this running service, by product id")
    ] = None,
    products: Annotated[
        Path | None, typer.Option(help="file with the titles; without it they stand in judgments")
    ] = None,
    bundles: Annotated[
        Path, typer.Option(envvar="WINNOW_BUNDLES", help="folder of published bundles")
    ] = DEFAULT_ROOT,
    relevant_from: Annotated[
        float, typer.Option(help="lowest grade that counts as relevant")
    ] = 2.0,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="for accuracy, precision, recall; the default sort's threshold, else 0.5"
        ),
    ] = None,
    split: Annotated[Split | None, typer.Option(help="only the queries of this split")] = None,
    encoding: Annotated[str, typer.Option(help="of the judgement and product files")] = "utf-8-sig",
    query_column: Annotated[str, typer.Option(help="in judgments")] = "query",
    id_column: Annotated[str, typer.Option(help="in judgments and products")] = "product_id",
    title_column: Annotated[str, typer.Option(help="in products, else in judgments")] = "title",
    relevance_column: Annotated[str, typer.Option(help="in judgments")] = "relevance",
    precision: Annotated[
        Precision | None, typer.Option(help="float32 or int8, in place of the bundle's choice")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="no table, only the JSON on standard output")
    ] = False,
) -> None:
    """ROC-AUC, Neg PR-AUC, NDCG@10 and the figures at a threshold.

    JSON on standard output, a table for people on standard error.
    """
    from evaluation.judgments import JudgmentColumns, ProductFile, read_judgments
    from evaluation.quality import quality

    if (model is None) == (checkpoint is None) or (url and model is None):
        raise typer.BadParameter("name one of --model NAME [--url URL] or --checkpoint FOLDER")
    judged = read_judgments(
        judgments,
        relevant_from=relevant_from,
        products=ProductFile(products, id_column, title_column, encoding) if products else None,
        columns=JudgmentColumns(query_column, id_column, relevance_column, title_column),
        encoding=encoding,
    )
    if split:
        judged = judged.of_split(split)
    scores, chosen = (
        (_torch_scores(checkpoint, judged), 0.5)
        if checkpoint is not None
        else _served_scores(model or "", bundles, url, precision, judged)
    )
    found = quality(judged, scores, chosen if threshold is None else threshold)
    figures = found.model_dump()
    if not as_json:
        rows = [(name, _figure(value)) for name, value in figures.items()]
        show(f"{model or checkpoint} on {judgments.name}", ("figure", "value"), rows)
    if found.unscored or found.unknown_products:
        say(
            f"left out: {found.unscored} pairs that got no score, {found.unknown_products} "
            "judgements of products without a title"
        )
    answer({"model": model, "checkpoint": str(checkpoint) if checkpoint else None, **figures})


def _served_scores(
    model: str, bundles: Path, url: str | None, precision: Precision | None, judged: "Judgments"
) -> "tuple[NDArray[np.float32], float]":
    """Scores through a bundle or a service, and the default sort's threshold."""
    from evaluation.scoring import bundle_scores, service_scores, service_threshold
    from model_store.student import OnnxStudent
    from service.cpus import available_cpus

    name, _, version = model.partition("@")
    if url:
        with progress_bar() as on_progress:
            return service_scores(url, name, judged, on_progress), service_threshold(url, name)
    student = OnnxStudent.load(
        bundle_folder(bundles, name, version or None),
        threads=max(1, int(available_cpus())),
        precision=precision,
    )
    with progress_bar() as on_progress:
        scores = bundle_scores(student, judged, on_progress)
    return scores, student.manifest.thresholds.default


def _torch_scores(checkpoint: Path, judged: "Judgments") -> "NDArray[np.float32]":
    from export.checkpoint import load_checkpoint
    from export.scoring import score_tokens
    from export.tokens import TokenRows

    loaded = load_checkpoint(checkpoint)
    return score_tokens(
        loaded.student,
        TokenRows(loaded.tokenizer, judged.queries, "query"),
        TokenRows(loaded.tokenizer, judged.titles, "product"),
    )


def _figure(value: object) -> str:
    return (
        f"{value:.4f}" if isinstance(value, float) else "undefined" if value is None else str(value)
    )
