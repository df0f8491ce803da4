"""`winnow label`: a teacher's logits of all pairs of a transfer set."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import answer, say
from cli.progress import progress_bar

if TYPE_CHECKING:
    from distill.labelling import ScoreShards
    from distill.teacher import PairScorer


def label(
    teacher: Annotated[
        Path,
        typer.Option(
            help="folder that `winnow teach` or `winnow teacher convert` wrote, or a student's "
            "checkpoint, which labels far more for the same time"
        ),
    ],
    pairs: Annotated[Path, typer.Option(help="query, title: CSV, TSV or JSONL, also .gz")],
    out: Annotated[Path, typer.Option(help="folder of the labels, as labels/NAME")],
    first: Annotated[
        int | None,
        typer.Option(help="label only so many pairs from the start; asked for more, it goes on"),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="refuse a teacher that is not converted to int8")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(help="of a teacher in PyTorch: cpu, cuda; a GPU where there is one"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; all by default, with --ray one per worker")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="label on this Ray cluster: HOST:PORT, auto, or local (extra `ray`)"),
    ] = None,
    ray_workers: Annotated[
        int | None, typer.Option(help="with --ray: so many; else as many as there is room for")
    ] = None,
    query_column: str = "query",
    title_column: str = "title",
    encoding: Annotated[str, typer.Option(help="of the pairs' file")] = "utf-8-sig",
    as_json: Annotated[bool, typer.Option("--json", help="the report on standard output")] = False,
) -> None:
    """Label pairs with a teacher: what students learn from.

    Killed at any moment, the same command goes on where it stopped. Every 4,096 pairs are one
    shard, which comes out the same wherever it is scored.
    """
    from distill.labelling import label as run_labelling
    from distill.labelling import open_scorer
    from distill.labels import PairsFile

    if ray is None and ray_workers is not None:
        raise typer.BadParameter("--ray-workers is for --ray ADDRESS: leave it out")
    if threads is not None and threads < 1:
        raise typer.BadParameter(f"--threads: expected 1 or more, got {threads}")
    if first is not None and first < 1:
        raise typer.BadParameter(f"--first: expected 1 or more, got {first}")
    if int8:
        _require_int8(teacher)
    scorer = open_scorer(teacher, device if ray is None else "cpu", threads)
    say(f"{pairs.name} -> {out}, by the teacher {teacher} ({scorer.sha256[:12]})")
    with (
        _scoring(ray, ray_workers, teacher, scorer, device, threads) as score,
        progress_bar() as on_progress,
    ):
        report = run_labelling(
            PairsFile(pairs, query_column, title_column, encoding),
            teacher.resolve().name,
            scorer.sha256,
            score,
            out,
            on_progress,
            first,
        )
    rate = report.labelled / report.seconds if report.seconds else 0.0
    before = report.rows - report.labelled
    say(
        f"{out}: {report.rows:,} labels, {report.labelled:,} of them new in {report.seconds:,.0f} s"
        f" ({rate:,.0f}/s){f'; {before:,} were there' if before else ''}"
    )
    if as_json:
        answer(
            {
                "labels": str(out),
                "teacher_sha256": scorer.sha256,
                "rows": report.rows,
                "labelled": report.labelled,
                "seconds": round(report.seconds, 3),
            }
        )


def _require_int8(teacher: Path) -> None:
    from distill.errors import TeacherRefused
    from distill.teacher_file import TEACHER_FILE, OnnxTeacherFile, read_teacher_file

    precision = read_teacher_file(teacher / TEACHER_FILE, OnnxTeacherFile).precision
    if precision != "int8":
        raise TeacherRefused(
            f"{teacher}: expected int8, got {precision}: winnow teacher convert --precision int8"
        )


@contextmanager
def _scoring(
    address: str | None,
    workers: int | None,
    teacher: Path,
    scorer: "PairScorer",
    device: str | None,
    threads: int | None,
) -> "Iterator[ScoreShards]":
    """Where shards are scored."""
    from distill.labelling import open_scorer, score_here

    if address is None:
        yield score_here(scorer)
        return
    from distill.ray_labelling import score_on_ray
    from indexing.ray_work import ray_cluster

    gpus = 1 if (device or "").startswith("cuda") else 0
    with ray_cluster(address, workers, threads or 1, gpus) as cluster:
        say(f"labelling on {cluster.workers} Ray workers")
        opened = partial(open_scorer, device=device or "cpu", threads=threads or 1)
        yield score_on_ray(cluster, teacher, opened, scorer.sha256)
