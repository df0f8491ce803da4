"""`winnow index`: a catalogue, or a file of queries, becomes a live vector set of a student."""

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import answer, say, show
from cli.options import Bundles, StudentReference, cpu_threads, refuse_given
from cli.progress import progress_bar
from indexing.catalogue import Format
from model_store.registry import DEFAULT_ROOT, bundle_folder, find

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexing.catalogue import Catalogue
    from indexing.encode import ChunkEncoder
    from indexing.index import IndexOptions, Report
    from indexing.plan import Plan
    from indexing.student import RowEncoder
    from vector_store.protocol import VectorStore

_TIMEOUT_MS = 10_000  # a batch of thousands of rows may take a busy store this long


def index(
    context: typer.Context,
    model: StudentReference,
    store: Annotated[
        str, typer.Option(envvar="WINNOW_STORE", help="lmdb:PATH, redis://HOST:PORT/DB, ...")
    ],
    catalogue: Annotated[
        Path | None, typer.Argument(help="CSV, TSV, JSONL or Parquet file; text also gzipped")
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="in place of CATALOGUE: queries, one per line (.txt) or in a column"),
    ] = None,
    bundles: Bundles = DEFAULT_ROOT,
    file_format: Annotated[
        Format | None, typer.Option("--format", help="where the file's extension does not tell")
    ] = None,
    encoding: Annotated[str, typer.Option(help="of text files")] = "utf-8",
    id_column: Annotated[str, typer.Option(help="column of the product id")] = "product_id",
    title_column: Annotated[str, typer.Option(help="column of the title")] = "title",
    query_column: Annotated[str, typer.Option(help="column of the query")] = "query",
    text_column: Annotated[
        str | None,
        typer.Option(help="column of what is encoded for the query, such as its context too"),
    ] = None,
    only_changed: Annotated[
        bool, typer.Option("--only-changed", help="copy the rows of unchanged texts")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="count, project the store's size, and stop")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="drop an unfinished set instead of continuing it")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="build even if the store looks too small")
    ] = False,
    activate: Annotated[
        bool, typer.Option("--activate/--no-activate", help="make the finished set live")
    ] = True,
    reject_file: Annotated[
        Path | None, typer.Option(help="where bad lines go; FILE.rejects.jsonl by default")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="ONNX Runtime threads; the CPU quota by default")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="encode on this Ray cluster: HOST:PORT, auto, or local (extra `ray`)"),
    ] = None,
    ray_workers: Annotated[
        int | None, typer.Option(help="with --ray: so many; else as many as there is room for")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the report on standard output")] = False,
) -> None:
    """Encode a catalogue into a new vector set, verify it, and switch to it at once.

    With --queries: the rows of queries that come often, so that a server needn't encode them.

    Killed at any moment, the same command goes on where it stopped. The set that was live stays for
    `winnow sets rollback`; `winnow sets gc` removes old ones.
    """
    from indexing.catalogue import open_catalogue, open_queries
    from indexing.index import IndexOptions
    from indexing.plan import plan, require_room
    from indexing.student import product_rows, query_rows
    from model_store.student import OnnxStudent

    if ray is None and ray_workers is not None:
        raise typer.BadParameter("--ray-workers is for --ray ADDRESS: leave it out")
    file = _one_file(context, catalogue, queries)
    if queries is None:
        source = open_catalogue(
            file,
            file_format=file_format,
            encoding=encoding,
            id_column=id_column,
            title_column=title_column,
        )
    else:
        source = open_queries(
            file,
            file_format=file_format,
            encoding=encoding,
            query_column=query_column,
            text_column=text_column,
        )
    name, _, version = model.partition("@")
    bundle = bundle_folder(bundles, name, version or _version(bundles, name))
    student = OnnxStudent.load(bundle, threads=cpu_threads(threads))
    encoder = product_rows(student) if queries is None else query_rows(student)
    with progress_bar() as on_progress:
        target = _open(store, dry_run=dry_run)
        planned = plan(
            source, encoder, target, store, timeout_ms=_TIMEOUT_MS, on_progress=on_progress
        )
    _show_plan(encoder, planned, store)
    if dry_run:
        return
    if not force:
        require_room(planned)
    options = IndexOptions(
        reject_file=reject_file or file.with_name(f"{file.name}.rejects.jsonl"),
        only_changed=only_changed,
        activate=activate,
        restart=restart,
    )
    try:
        with _chunks(ray, ray_workers, threads or 1, bundle, encoder, options) as chunks:
            report = _build(source, encoder, target, options, planned.count.rows, chunks)
    finally:
        target.close()
    _show_report(report, as_json)


def _one_file(context: typer.Context, catalogue: Path | None, queries: Path | None) -> Path:
    """The file to index; options that say nothing about it are refused."""
    file = queries or catalogue
    if file is None or (queries and catalogue):
        both = f"both ({catalogue} and {queries})" if file else "neither"
        raise typer.BadParameter(f"expected one of CATALOGUE and --queries FILE, got {both}")
    of_a_catalogue, of_queries = ("id_column", "title_column"), ("query_column", "text_column")
    of_the_other = of_a_catalogue if queries else of_queries
    kinds = ("a catalogue", "queries") if queries else ("queries", "a catalogue")
    refuse_given(context, of_the_other, f"{kinds[0]}, but {file} holds {kinds[1]}")
    return file


def _build(
    source: "Catalogue",
    encoder: "RowEncoder",
    target: "VectorStore",
    options: "IndexOptions",
    rows: int,
    chunks: "ChunkEncoder | None",
) -> "Report":
    from indexing.index import index_rows

    with progress_bar() as on_progress:
        return index_rows(source, encoder, target, options, on_progress, rows, chunks)


@contextmanager
def _chunks(
    address: str | None,
    workers: int | None,
    threads: int,
    bundle: Path,
    encoder: "RowEncoder",
    options: "IndexOptions",
) -> "Iterator[ChunkEncoder | None]":
    """Where chunks are encoded: None for this process."""
    if address is None:
        yield None
        return
    from indexing.ray_encode import RayChunks, open_product_rows, open_query_rows
    from indexing.ray_work import ray_cluster

    open_rows = open_product_rows if encoder.holds == "products" else open_query_rows
    with ray_cluster(address, workers, threads) as cluster:
        say(f"encoding on {cluster.workers} Ray workers")
        opened = partial(open_rows, threads=threads)
        yield RayChunks(bundle, opened, encoder, cluster, options.batch_titles)


def _version(bundles: Path, name: str) -> str:
    """The active version; before the first activation, which needs a set, the newest one."""
    student = find(bundles, name)
    return student.current or student.versions[-1]


def _open(store: str, *, dry_run: bool) -> "VectorStore":
    """The store; a dry run makes no folder for one that is not there yet."""
    from vector_store.memory import MemoryStore
    from vector_store.open import open_store

    scheme, _, path = store.partition(":")
    if dry_run and scheme == "lmdb" and not Path(path).exists():
        return MemoryStore()
    return open_store(store, timeout_ms=_TIMEOUT_MS)


def _show_plan(encoder: "RowEncoder", planned: "Plan", store: str) -> None:
    entries, size = planned.count.entries, planned.record_bytes
    say(
        f"{encoder.model}: {entries:,} {planned.holds} x {size} bytes "
        f"= {entries * size / 1e6:,.1f} MB of rows; about {planned.set_bytes / 1e6:,.1f} MB in "
        f"{store.partition(':')[0]}"
    )
    if planned.count.bad_lines:
        say(f"{planned.count.bad_lines:,} bad lines will be written to the reject file")
    if planned.room.left_bytes is not None:
        say(f"left there: {planned.room.left_bytes / 1e6:,.0f} MB ({planned.room.limit})")
    if planned.room.evicts:
        say(
            f"warning: Redis evicts rows when it is full (maxmemory-policy {planned.room.evicts}): "
            f"set noeviction, or {planned.holds} go missing"
        )


def _show_report(report: "Report", as_json: bool) -> None:
    if as_json:
        answer(
            {
                "set_id": report.set_id,
                "how": report.how,
                "rows_read": report.rows_read,
                report.holds: report.inserted,
                "encoded": report.encoded,
                "copied": report.copied,
                "rejected": report.rejected,
                "duplicates": report.duplicates,
                "reject_file": str(report.reject_file),
                "verified": report.verified,
                "live": report.live,
                "previous_live": report.previous_live,
                "seconds": round(report.seconds, 3),
            }
        )
    if report.how != "new":
        say(f"{report.how}: {report.why}")
    say(
        f"set {report.set_id}: {report.inserted:,} {report.holds} ({report.encoded:,} encoded, "
        f"{report.copied:,} copied) from {report.rows_read:,} rows in {report.seconds:,.1f} s; "
        f"{report.verified} encoded again and found equal; {'live' if report.live else 'not live'}"
    )
    bad = report.rejected
    if report.holds == "queries":
        title = f"{report.rejected:,} rows gave no query: {report.reject_file}"
        if report.duplicates:
            say(f"{report.duplicates:,} rows repeated a query, which is stored once")
    else:
        bad += report.duplicates
        title = (
            f"{bad:,} rows gave no product ({report.rejected:,} bad, {report.duplicates:,} "
            f"duplicate ids; the first product of an id is kept): {report.reject_file}"
        )
    if bad:
        show(
            title,
            ("line", "reason", "text"),
            [(line.line_number, line.reason, line.text[:80]) for line in report.first_rejects],
        )
