"""`winnow teacher`: a taught teacher converted for labelling, and scoring judged pairs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.console import answer, figure, say, show
from cli.judged import (
    Encoding,
    IdColumn,
    JudgedFile,
    JudgmentsPath,
    ProductsPath,
    QueryColumn,
    RelevanceColumn,
    RelevantFrom,
    Split,
    TitleColumn,
    finite,
)
from cli.options import GradeScale, RelevantGrade, cpu_threads
from cli.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

app = typer.Typer(help="A teacher that is taught: convert it, score with it.", no_args_is_help=True)

Threads = Annotated[int | None, typer.Option(help="else one per CPU")]


@app.command()
def convert(
    teacher: Annotated[Path, typer.Argument(help="folder that `winnow teach` wrote")],
    out: Annotated[Path, typer.Option(help="folder to write; must not exist")],
    pairs: Annotated[
        Path, typer.Option(help="validation pairs: query, title, target in [0, 1] or graded")
    ],
    grades: GradeScale = None,
    relevant_from: RelevantGrade = None,
    precision: Annotated[Literal["int8", "float32"], typer.Option(help="of the weights")] = "int8",
    split: Annotated[Split | None, typer.Option(help="only the queries of this split")] = None,
    query_column: str = "query",
    title_column: str = "title",
    target_column: str = "target",
    encoding: Annotated[str, typer.Option(help="of the pairs' file")] = "utf-8-sig",
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="figures on standard output")] = False,
) -> None:
    """Make an ONNX graph of a teacher, which labels faster on CPUs.

    Refused where its ROC-AUC on the pairs is not that of PyTorch, within 0.003. Rates are pairs
    per second, both on the same threads.
    """
    import numpy as np

    from distill.graded_pairs import parse_grades, read_graded_pairs
    from distill.teacher import load_teacher
    from distill.teacher_conversion import convert_teacher
    from evaluation.judgments import split_of
    from export.pairs import PairColumns

    scale = parse_grades(grades)
    columns = PairColumns(query_column, title_column, target_column)
    given = read_graded_pairs(pairs, columns, scale, encoding)
    if split is not None:
        rows = [row for row, query in enumerate(given.queries) if split_of(query) == split]
        given = given.take(np.array(rows, dtype=np.int64))
    say(f"{teacher}: {len(given):,} pairs, in PyTorch and as {precision} graph")
    found = convert_teacher(
        load_teacher(teacher, "cpu"),
        given,
        out,
        precision=precision,
        threads=cpu_threads(threads),
        relevant_from=scale.relevant_from(relevant_from),
    )
    figures = {name: value for name, value in vars(found).items() if name != "folder"}
    figures["faster"] = found.onnx_pairs_per_s / found.torch_pairs_per_s
    if as_json:
        answer(figures)
    table = [(name, figure(value)) for name, value in figures.items()]
    show(f"teacher {found.folder}", ("figure", "value"), table)


@app.command()
def score(
    teachers: Annotated[
        list[Path], typer.Argument(help="folders of teachers, converted or not; several: stacked")
    ],
    judgments: JudgmentsPath,
    out: Annotated[
        Path | None, typer.Option(help=".npy of probabilities for `evaluate --teacher-scores`")
    ] = None,
    products: ProductsPath = None,
    relevant_from: RelevantFrom = 2.0,
    threshold: Annotated[
        float, typer.Option(callback=finite, help="for accuracy, precision, recall")
    ] = 0.5,
    split: Annotated[Split | None, typer.Option(help="only the queries of this split")] = None,
    encoding: Encoding = "utf-8-sig",
    query_column: QueryColumn = "query",
    id_column: IdColumn = "product_id",
    title_column: TitleColumn = "title",
    relevance_column: RelevanceColumn = "relevance",
    device: Annotated[
        str | None, typer.Option(help="PyTorch: cpu, cuda, ...; else a GPU where there is one")
    ] = None,
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="figures on standard output")] = False,
) -> None:
    """Score judged pairs: ROC-AUC, Neg PR-AUC and nDCG@10 of each teacher and of all stacked.

    Stacked is the mean of their probabilities. The file has one float32 per judged pair (of the
    split), in the order of the judgements.
    """
    from distill.stack import stacked_probability
    from evaluation.judgments import JudgmentColumns
    from evaluation.metrics import check_grades
    from evaluation.quality import quality
    from evaluation.score_files import check_scores_path, write_scores

    columns = JudgmentColumns(query_column, id_column, relevance_column, title_column)
    file = JudgedFile(judgments, products, relevant_from, encoding, columns)
    judged = file.of_split(file.read(), split)
    check_grades(judged.relevance)
    if out is not None:
        check_scores_path(out)
    logits = [
        _logits(folder, judged.queries, judged.titles, device, threads) for folder in teachers
    ]
    scorers = {str(folder): [each] for folder, each in zip(teachers, logits, strict=True)}
    if len(teachers) > 1:
        scorers["stacked"] = logits
    stacked = stacked_probability(logits)
    figures = {
        name: quality(judged, stacked_probability(each), threshold).model_dump()
        for name, each in scorers.items()
    }
    if out is not None:
        write_scores(out, stacked)
    if as_json:
        answer(figures)
    shown = ("roc_auc", "neg_pr_auc", "ndcg_at_10", "accuracy", "f1")
    show(
        f"{len(judged):,} pairs of {judgments.name}",
        ("teacher", *shown),
        [(name, *(figure(found[one]) for one in shown)) for name, found in figures.items()],
    )


def _logits(
    folder: Path, queries: list[str], titles: list[str], device: str | None, threads: int | None
) -> "NDArray[np.float32]":
    """One teacher's logits, with a bar."""
    import numpy as np

    from distill.teacher_onnx import open_teacher

    teacher = open_teacher(folder, device, cpu_threads(threads))
    chunk = 1024
    parts = []
    with progress_bar() as on_progress:
        for start in range(0, len(queries), chunk):
            on_progress(folder.name, start, len(queries))
            end = start + chunk
            parts.append(teacher.logits(queries[start:end], titles[start:end]))
        on_progress(folder.name, len(queries), len(queries))
    return np.concatenate(parts)
