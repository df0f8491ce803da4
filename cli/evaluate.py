"""`winnow evaluate`: figures of a student on judged pairs, compared with others', as a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import student_references
from cli.console import answer, console, figure, say, show
from cli.judged import (
    IdColumn,
    JudgedFile,
    JudgmentsPath,
    ProductsPath,
    RelevanceColumn,
    RelevantFrom,
    Split,
    TitleColumn,
    command_line,
    finite,
)
from cli.options import Bundles
from cli.scorers import (
    TEACHER,
    baseline_scorers,
    bundle_scores,
    given_scorers,
    known_baselines,
    named_files,
    service_scores,
    torch_scores,
)
from model_store.manifest import Precision
from model_store.registry import DEFAULT_ROOT

if TYPE_CHECKING:
    from evaluation.assessment import Assessment, Scored
    from evaluation.quality import Quality


def evaluate(
    judgments: JudgmentsPath,
    model: Annotated[
        str | None,
        typer.Option(
            help="published student: NAME, or NAME@VERSION for one that is not active",
            autocompletion=student_references,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="or a checkpoint folder, evaluated in PyTorch")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="score through this running service, by product id")
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(exists=True, help="file with the API key of that service")
    ] = None,
    products: ProductsPath = None,
    bundles: Bundles = DEFAULT_ROOT,
    relevant_from: RelevantFrom = 2.0,
    threshold: Annotated[
        float | None,
        typer.Option(
            callback=finite,
            help="for accuracy, precision, recall; the default sort's threshold, else 0.5",
        ),
    ] = None,
    split: Annotated[Split | None, typer.Option(help="only the queries of this split")] = None,
    encoding: Annotated[
        str,
        typer.Option(help="of the judgement and product files, --train-queries, --query-counts"),
    ] = "utf-8-sig",
    query_column: Annotated[
        str, typer.Option(help="in judgments, --train-queries and --query-counts")
    ] = "query",
    id_column: IdColumn = "product_id",
    title_column: TitleColumn = "title",
    relevance_column: RelevanceColumn = "relevance",
    precision: Annotated[
        Precision | None, typer.Option(help="float32 or int8, in place of the bundle's choice")
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=100, help="resamples of the queries, for 95 % intervals")
    ] = 1_000,
    seed: Annotated[int, typer.Option(min=0, help="of the resamples")] = 0,
    teacher_scores: Annotated[
        Path | None,
        typer.Option(
            help="the teacher's probabilities: .npy aligned with the evaluated pairs, or a table "
            "with columns query, title and score"
        ),
    ] = None,
    teacher_relevant_from: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="probability from which the teacher calls a pair relevant; where it has learned "
            "grades, the place of --relevant-from among them",
        ),
    ] = 0.5,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="scores of another scorer, as --teacher-scores; also an order without "
            "probabilities, if one lies outside [0, 1]",
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="overlap, tfidf or bm25 (extra train), as a scorer")
    ] = None,
    slices: Annotated[
        bool, typer.Option("--slices", help="ROC-AUC by query frequency and lengths")
    ] = False,
    train_queries: Annotated[
        Path | None,
        typer.Option(help="slices seen / unseen: .txt with a query per line, or a table"),
    ] = None,
    query_counts: Annotated[
        Path | None,
        typer.Option(help="slices head / tail: a table of queries with a column count"),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="folder for tables and plots (extra plot)")
    ] = None,
    save_scores: Annotated[
        Path | None, typer.Option(help=".npy for --compare and --teacher-scores of other runs")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="no table, only the JSON on standard output")
    ] = False,
) -> None:
    """ROC-AUC, Neg PR-AUC, NDCG@10 and the figures at a threshold.

    With intervals by resampling queries, and differences from other scorers on the same pairs.
    JSON on standard output, tables for people on standard error.
    """
    from evaluation.assessment import AssessOptions, Scorer, assess, scored_by_all
    from evaluation.judgments import JudgmentColumns
    from evaluation.metrics import check_grades
    from evaluation.quality import quality
    from evaluation.report_folder import check_report
    from evaluation.score_files import check_scores_path, write_scores
    from evaluation.slices import read_frequencies, read_queries

    student_name = _student_name(model, checkpoint, url)
    if precision is not None and (url is not None or checkpoint is not None):
        raise typer.BadParameter(
            "--precision is of a bundle that is scored here: leave it out with --url, --checkpoint"
        )
    if api_key_file is not None and url is None:
        raise typer.BadParameter("--api-key-file is of the service: give its --url too")
    if teacher_relevant_from != 0.5 and teacher_scores is None:
        raise typer.BadParameter("--teacher-relevant-from is of --teacher-scores: give these too")
    lexical = known_baselines(baseline or [])
    others = named_files(compare or [], taken=(TEACHER, student_name, *lexical))
    if report is not None:
        check_report(report)
    columns = JudgmentColumns(query_column, id_column, relevance_column, title_column)
    file = JudgedFile(judgments, products, relevant_from, encoding, columns)
    every = file.read()
    judged = file.of_split(every, split)
    # All that can be refused is refused before the student scores: a bad file should not cost
    # minutes.
    check_grades(judged.relevance)
    if save_scores is not None:
        check_scores_path(save_scores)
    scorers = given_scorers(judged, teacher_scores, others)
    scorers += baseline_scorers(lexical, every, judged, file)
    options = AssessOptions(
        reference=student_name if scorers else None,
        teacher=TEACHER if teacher_scores else None,
        teacher_relevant_from=teacher_relevant_from,
        train_queries=(
            read_queries(train_queries, query_column, encoding) if train_queries else None
        ),
        frequencies=(
            read_frequencies(query_counts, query_column, encoding) if query_counts else None
        ),
        with_slices=slices or any((train_queries, query_counts, report)),
        resamples=bootstrap,
        seed=seed,
    )
    if checkpoint is not None:
        scores, chosen = torch_scores(checkpoint, judged), 0.5
    elif url is not None:
        scores, chosen = service_scores(url, student_name, judged, api_key_file)
    else:
        scores, chosen = bundle_scores(student_name, bundles, precision, judged)
    if save_scores is not None:
        write_scores(save_scores, scores)
    found = quality(judged, scores, chosen if threshold is None else threshold)
    student = Scorer(student_name, scores, probability=True)
    scored = scored_by_all(judged, [student, *scorers])
    with console.status("intervals"):
        assessment = assess(scored, options)
    if not as_json:
        _show(found, assessment, judgments)
    if found.unscored or found.unknown_products:
        say(
            f"left out: {found.unscored} pairs that got no score, {found.unknown_products} "
            "judgements of products without a title"
        )
    if report is not None:
        _write_report(report, scored, assessment, file, split)
    answer(
        {
            "model": model,
            "checkpoint": str(checkpoint) if checkpoint else None,
            **found.model_dump(),
            **_document(assessment),
        }
    )


def _student_name(model: str | None, checkpoint: Path | None, url: str | None) -> str:
    if (model is None) == (checkpoint is None) or (url and model is None):
        raise typer.BadParameter("name one of --model NAME [--url URL] or --checkpoint FOLDER")
    return str(model or checkpoint)


def _show(found: "Quality", assessment: "Assessment", judgments: Path) -> None:
    from evaluation.report import (
        COMPARISON_COLUMNS,
        FIGURE_COLUMNS,
        SLICE_COLUMNS,
        agreement_rows,
        comparison_rows,
        figure_rows,
        slice_row,
    )

    student = assessment.scorers[0]
    intervals = {
        name: f"{figure.low:.4f} to {figure.high:.4f}"
        for name, figure in student.figures.items()
        if figure is not None and not assessment.left_out
    }
    rows = [(name, figure(value), intervals.get(name, "")) for name, value in vars(found).items()]
    show(f"{student.scorer} on {judgments.name}", ("figure", "value", "95 % interval"), rows)
    if len(assessment.scorers) > 1:
        pairs = f"{assessment.pairs:,} pairs that all have scored"
        show(f"every scorer on the {pairs}", FIGURE_COLUMNS, figure_rows(assessment))
        show("pair by pair", COMPARISON_COLUMNS, comparison_rows(assessment))
    if assessment.agreement:
        names, *figures = agreement_rows(assessment)
        show("against the teacher's labels", names, figures)
    if assessment.slices:
        show(
            "slices",
            (*SLICE_COLUMNS, "ROC-AUC"),
            [slice_row(entry, [student.scorer]) for entry in assessment.slices],
        )


def _write_report(
    folder: Path,
    scored: "Scored",
    assessment: "Assessment",
    file: JudgedFile,
    split: Split | None,
) -> None:
    from evaluation.report import write_report
    from evaluation.report_folder import Provenance

    provenance = Provenance(
        title=f"{scored.scorers[0].name} on {file.path.name}",
        data=f"{file.path.name}, split {split or 'all'}, relevant from {file.relevant_from:g}",
        data_sha256=file.sha256(),
        command=command_line(),
        seed=assessment.seed,
    )
    with console.status("report"):
        write_report(folder, scored, assessment, provenance)
    say(f"report: {folder / 'report.md'}")


def _document(assessment: "Assessment") -> dict[str, object]:
    """What the JSON has beside the student's own figures.

    Without `intervals` where some scorer lacks pairs: those of `scorers` are of the others alone.
    """
    whole = assessment.model_dump(mode="json")
    return {
        "intervals": None if assessment.left_out else whole["scorers"][0]["figures"],
        "resamples": whole["resamples"],
        "seed": whole["seed"],
        "scorers": whole["scorers"],
        "scored_by_all": whole["pairs"],
        "agreement": whole["agreement"],
        "slices": whole["slices"],
    }
