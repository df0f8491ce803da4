"""`winnow transfer`: the pairs that a teacher will label."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.console import answer, say, show
from cli.options import refuse_given
from cli.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distill.logs import LogFile
    from distill.transfer_inputs import JudgedFile, Products, QueryFile
    from distill.transfer_options import LogOptions, TransferOptions

_FOR_LOGS = (
    *("rule", "shown_times", "skipped_times", "behaviour", "memory_mb"),
    *("shown_column", "clicked_column", "ordered_column", "skipped_column"),
)
_FOR_QUERIES = (
    *("queries", "judgments", "pairs_per_query", "rewrites", "pseudo_queries"),
    *("pairs_per_made_query", "bm25_share", "neighbour_share", "random_share"),
    *("bm25_depth", "neighbour_depth", "with_judged", "block_queries", "block_titles", "seed"),
)


def transfer(
    context: typer.Context,
    products: Annotated[Path, typer.Option(help="catalogue: CSV, TSV, JSONL, also .gz, Parquet")],
    out: Annotated[Path, typer.Option(help="table to write: .csv, .tsv or .jsonl, also .gz")],
    queries: Annotated[
        Path | None, typer.Option(help="one per line (.txt) or in a column; their train split")
    ] = None,
    judgments: Annotated[
        Path | None, typer.Option(help="judged pairs: more queries, and products near the judged")
    ] = None,
    logs: Annotated[
        Path | None,
        typer.Option(help="in place of these: a log with shown, clicked, ordered, skipped"),
    ] = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option(
            help="queries that are left out beside those of the rule's valid and test split, such "
            "as a published test part: .txt, or a table; repeatable"
        ),
    ] = None,
    pairs_per_query: Annotated[
        int, typer.Option(help="made for each query, besides its judged ones")
    ] = 20,
    rewrites: Annotated[
        int, typer.Option(help="changed forms of each query, with pairs of their own")
    ] = 0,
    pseudo_queries: Annotated[int, typer.Option(help="so many queries made from titles")] = 0,
    pairs_per_made_query: Annotated[
        int, typer.Option(help="of a rewrite or pseudo-query, besides its source product")
    ] = 10,
    bm25_share: Annotated[float, typer.Option(help="of a query's pairs: found by BM25")] = 0.5,
    neighbour_share: Annotated[float, typer.Option(help="near a judged or source product")] = 0.3,
    random_share: Annotated[float, typer.Option(help="random products; the shares sum to 1")] = 0.2,
    bm25_depth: Annotated[int, typer.Option(help="last rank that may make a pair")] = 200,
    neighbour_depth: Annotated[int, typer.Option(help="titles that count as near another")] = 20,
    with_judged: Annotated[
        bool, typer.Option("--with-judged/--without-judged", help="the judged pairs themselves")
    ] = True,
    block_queries: Annotated[
        int, typer.Option(help="so many like queries share their titles (see train --in-blocks)")
    ] = 1,
    block_titles: Annotated[int, typer.Option(help="titles that they share")] = 16,
    seed: int = 0,
    rule: Annotated[
        Literal["strict", "wide", "clicks"],
        typer.Option(
            help="logs: ordered or shown unclicked; clicked or skipped; or shown at all, with the "
            "click ratio as target, for `winnow train --objective pairwise`"
        ),
    ] = "strict",
    shown_times: Annotated[
        int, typer.Option(help="logs, strict: shown so often unclicked; clicks: shown so often")
    ] = 20,
    skipped_times: Annotated[int, typer.Option(help="logs, wide: skipped so often")] = 5,
    behaviour: Annotated[
        Literal["none", "ordered", "clicked"],
        typer.Option(help="logs: take and mark such pairs as hard positives"),
    ] = "none",
    memory_mb: Annotated[int, typer.Option(help="logs: about so much at once")] = 256,
    shown_column: Annotated[str, typer.Option(help="logs: how often shown")] = "shown",
    clicked_column: Annotated[str, typer.Option(help="logs: how often clicked")] = "clicked",
    ordered_column: Annotated[str, typer.Option(help="logs: how often ordered")] = "ordered",
    skipped_column: Annotated[
        str, typer.Option(help="logs: how often shown above a clicked one; may be missing")
    ] = "skipped",
    encoding: Annotated[str, typer.Option(help="of all files")] = "utf-8-sig",
    query_column: Annotated[str, typer.Option(help="in queries, judgments, logs")] = "query",
    id_column: Annotated[str, typer.Option(help="in products, judgments, logs")] = "product_id",
    title_column: Annotated[str, typer.Option(help="in products, and in judgments")] = "title",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="count per source, write nothing")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="the counts on standard output")] = False,
) -> None:
    """Make the set of unlabelled pairs that `winnow label` gives a teacher to label.

    From logs by BERT2DNN's rules, or from a catalogue and queries. Queries of the valid and test
    split are left out, and those of --held-out. Same inputs, options and seed: same file.
    """
    from distill.logs import LogFile
    from distill.transfer_inputs import JudgedFile, QueryFile, read_products
    from distill.transfer_options import LogOptions, TransferOptions
    from evaluation.judgments import ProductFile
    from evaluation.slices import read_queries

    _refuse_other_options(context, logs)
    read = read_products(ProductFile(products, id_column, title_column, encoding))
    bad = f", {read.bad_lines:,} bad lines" if read.bad_lines else ""
    say(f"{products.name}: {len(read):,} products with distinct titles{bad}")
    kept_apart = frozenset[str]().union(
        *(read_queries(path, query_column, encoding) for path in held_out or ())
    )
    if logs is not None:
        figures = _from_logs(
            LogFile(
                logs,
                query=query_column,
                product_id=id_column,
                shown=shown_column,
                clicked=clicked_column,
                ordered=ordered_column,
                skipped=skipped_column,
                encoding=encoding,
            ),
            read,
            kept_apart,
            LogOptions(
                rule=rule,
                shown_times=shown_times,
                skipped_times=skipped_times,
                behaviour=behaviour,
                memory_mb=memory_mb,
            ),
            out,
            dry_run=dry_run,
        )
    else:
        judged = (
            JudgedFile(judgments, query_column, id_column, title_column, encoding)
            if judgments
            else None
        )
        figures = _from_queries(
            QueryFile(queries, query_column, encoding) if queries else None,
            judged,
            read,
            kept_apart,
            TransferOptions(
                seed=seed,
                pairs_per_query=pairs_per_query,
                rewrites=rewrites,
                pseudo_queries=pseudo_queries,
                pairs_per_made_query=pairs_per_made_query,
                bm25_share=bm25_share,
                neighbour_share=neighbour_share,
                random_share=random_share,
                bm25_depth=bm25_depth,
                neighbour_depth=neighbour_depth,
                judged=with_judged,
                block_queries=block_queries,
                block_titles=block_titles,
            ),
            out,
            dry_run=dry_run,
        )
    if as_json:
        answer(figures)


def _refuse_other_options(context: typer.Context, logs: Path | None) -> None:
    """Options that would say nothing about what is asked for are refused."""
    if logs:
        refuse_given(context, _FOR_QUERIES, "pairs made from queries, not from logs")
    else:
        refuse_given(context, _FOR_LOGS, "pairs from --logs")


def _from_queries(
    queries: "QueryFile | None",
    judged: "JudgedFile | None",
    products: "Products",
    held_out: frozenset[str],
    options: "TransferOptions",
    out: Path,
    *,
    dry_run: bool,
) -> dict[str, object]:
    from distill.transfer import estimate_transfer_set, make_transfer_set
    from distill.transfer_inputs import read_queries

    given = read_queries(products, queries, judged, held_out)
    say(
        f"{len(given.texts):,} queries of the train split; {given.held_out:,} that are held out "
        "are left out"
    )
    _say_if(given.bad_lines, "bad lines of the query file are left out")
    _say_if(given.unknown_products, "judgements of products without a title are left out")
    with progress_bar() as on_progress:
        if dry_run:
            counts = estimate_transfer_set(products, given, options, on_progress)
            sha256, seconds = None, None
        else:
            report = make_transfer_set(products, given, options, out, on_progress)
            counts, sha256, seconds = report.counts, report.sha256, report.seconds
    _say_if(counts.held_out, "made queries are left out: they are, or resemble, held-out ones")
    _say_if(counts.repeated, "made queries are left out: they had come before")
    _show_pairs(counts.pairs, sum(counts.queries.values()), None if dry_run else out, seconds)
    return {
        "transfer": None if dry_run else str(out),
        "sha256": sha256,
        "pairs": dict(counts.pairs),
        "queries": dict(counts.queries),
        "queries_held_out": given.held_out,
        "made_held_out": counts.held_out,
        "made_repeated": counts.repeated,
        "seconds": seconds,
    }


def _from_logs(
    log: "LogFile",
    products: "Products",
    held_out: frozenset[str],
    options: "LogOptions",
    out: Path,
    *,
    dry_run: bool,
) -> dict[str, object]:
    from distill.logs import filter_log
    from distill.transfer_inputs import held_out_with

    with progress_bar() as on_progress:
        is_held_out = held_out_with(held_out)
        report = filter_log(
            log, products, options, out, on_progress, is_held_out=is_held_out, dry_run=dry_run
        )
    counts = report.counts
    _say_if(counts.held_out, "rows of held-out queries are left out")
    _say_if(counts.unknown_products, "rows of products without a title are left out")
    _say_if(counts.behaviour, "pairs are marked as hard positives")
    _show_pairs(counts.pairs, counts.queries, report.path, report.seconds)
    return {
        "transfer": None if dry_run else str(out),
        "sha256": report.sha256,
        "pairs": dict(counts.pairs),
        "queries": {"logged": counts.queries},
        "rows": counts.rows,
        "rows_held_out": counts.held_out,
        "rows_of_unknown_products": counts.unknown_products,
        "behaviour": counts.behaviour,
        "seconds": report.seconds,
    }


def _say_if(count: int, what: str) -> None:
    if count:
        say(f"{count:,} {what}")


def _show_pairs(
    pairs: "Mapping[str, int]", queries: int, out: Path | None, seconds: float | None
) -> None:
    total = sum(pairs.values())
    wrote = f"{out}: {total:,}" if out else f"dry run: about {total:,}"
    took = f" in {seconds:,.0f} s" if out and seconds is not None else ""
    show(
        f"{wrote} pairs of {queries:,} queries{took}",
        ("source", "pairs", "share"),
        [
            (source, f"{count:,}", f"{count / total:.1%}")
            for source, count in sorted(pairs.items(), key=lambda each: -each[1])
        ],
    )
