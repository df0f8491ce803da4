"""`winnow import`: relevance data as others publish it becomes tables that every command takes."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import answer, say, show
from cli.progress import progress_bar

if TYPE_CHECKING:
    from importing.dataset import Imported
    from importing.layout import Layout

app = typer.Typer(
    help="Published relevance data becomes a catalogue, judgements and pairs.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(help="as the project publishes it, archives unpacked")]
Out = Annotated[Path, typer.Option(help="folder to write; must not exist")]
RelevantFrom = Annotated[
    float | None,
    typer.Option(help="lowest relevance that counts as relevant; else that of the layout"),
]
AsJson = Annotated[bool, typer.Option("--json", help="what import.json has, on standard output")]


@app.command()
def wands(
    folder: Folder, out: Out, relevant_from: RelevantFrom = None, as_json: AsJson = False
) -> None:
    """Import wayfair/WANDS: query.csv, product.csv, label.csv. Exact is 2, Partial 1, else 0."""
    from importing.published import wands

    _import(wands(folder), out, relevant_from, as_json)


@app.command()
def esci(
    path: Annotated[
        Path, typer.Argument(help="folder with both Parquet files, or one table of them merged")
    ],
    out: Out,
    locale: Annotated[str, typer.Option(help="us, es or jp")] = "us",
    small: Annotated[
        bool, typer.Option("--small", help="only the reduced version, that of task 1")
    ] = False,
    relevant_from: RelevantFrom = None,
    as_json: AsJson = False,
) -> None:
    """Import Amazon's Shopping Queries (ESCI). Exact is 3, Substitute 2, Complement 1, else 0.

    The published test queries stay what they are, and of the train queries some are kept to
    validate on.
    """
    from importing.published import esci

    _import(esci(path, locale=locale, small=small), out, relevant_from, as_json)


@app.command()
def homedepot(
    folder: Folder, out: Out, relevant_from: RelevantFrom = None, as_json: AsJson = False
) -> None:
    """Import Kaggle's Home Depot: train.csv, and the products of test.csv. Relevance is 1 to 3."""
    from importing.published import homedepot

    _import(homedepot(folder), out, relevant_from, as_json)


@app.command()
def csv(
    judgments: Annotated[
        Path, typer.Argument(help="judged pairs: .csv, .tsv, also .gz, or .parquet")
    ],
    out: Out,
    products: Annotated[
        Path | None, typer.Option(help="table of products; else titles stand in judgments")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="table of queries that judgments name by --query-id-column")
    ] = None,
    query_column: Annotated[str, typer.Option(help="in queries, else in judgments")] = "query",
    query_id_column: Annotated[str, typer.Option(help="in queries and judgments")] = "query_id",
    id_column: Annotated[str, typer.Option(help="in judgments and products")] = "product_id",
    title_column: Annotated[str, typer.Option(help="in products, else in judgments")] = "title",
    relevance_column: Annotated[str, typer.Option(help="in judgments")] = "relevance",
    split_column: Annotated[
        str | None, typer.Option(help="in judgments, train or test; else the split is by query")
    ] = None,
    other_column: Annotated[
        list[str] | None,
        typer.Option(help="of products, to be kept in the catalogue: price, sales, ..."),
    ] = None,
    grade: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help="what a grade means; else grades are numbers"),
    ] = None,
    encoding: Annotated[str, typer.Option(help="of text files")] = "utf-8",
    relevant_from: Annotated[
        float, typer.Option(help="lowest relevance that counts as relevant")
    ] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Import tables of any shop: say what their columns are called."""
    from importing.layout import JudgmentTable, Layout, ProductTable, QueryTable
    from importing.table import table_of

    judged = table_of(judgments, encoding)
    titled = judged if products is None else table_of(products, encoding)
    named = None if queries is None else table_of(queries, encoding)
    others = {name: name for name in other_column or ()}
    layout = Layout(
        name="csv",
        products=(ProductTable(titled, id_column, title_column, others),),
        judgments=JudgmentTable(
            judged,
            query_column if named is None else query_id_column,
            id_column,
            relevance_column,
            split_column,
        ),
        queries=None if named is None else QueryTable(named, query_id_column, query_column),
        grades=_grades(grade),
        relevant_from=relevant_from,
    )
    _import(layout, out, None, as_json)


def _grades(given: list[str] | None) -> dict[str, float] | None:
    """Relevance by grade, from NAME=NUMBER each.

    Raises:
        typer.BadParameter: another form, or a name that is taken.
    """
    grades: dict[str, float] = {}
    for text in given or ():
        name, separator, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            separator = ""
        if not (name and separator) or name in grades:
            raise typer.BadParameter(f"expected --grade NAME=NUMBER, each name once, got {text!r}")
        grades[name] = value
    return grades or None


def _import(layout: "Layout", out: Path, relevant_from: float | None, as_json: bool) -> None:
    from importing.dataset import import_dataset

    if relevant_from is not None:
        layout = replace(layout, relevant_from=relevant_from)
    with progress_bar() as on_progress:
        imported = import_dataset(layout, out, on_progress)
    if as_json:
        answer(imported.facts())
    _show(imported)


def _show(imported: "Imported") -> None:
    counts, out = imported.counts, imported.folder
    total = counts["judgments"]
    show(
        f"{out}: {counts['products']:,} products, {counts['queries']:,} queries, {total:,} "
        f"judgements, {counts['relevant']:,} of them relevant "
        f"({imported.layout.relevant_from:g} or more)",
        ("relevance", "judgements", "share"),
        [
            (f"{grade:g}", f"{n:,}", f"{n / total:.1%}")
            for grade, n in sorted(imported.relevance.items(), reverse=True)
        ],
    )
    published = imported.layout.judgments.split is not None
    parts = ", ".join(f"{n:,} {split}" for split, n in sorted(imported.splits.items()))
    say(f"split {'as published' if published else 'by query'}: {parts}")
    if counts["rejected"]:
        show(
            f"{counts['rejected']:,} rejects: {out / 'rejects.jsonl'}",
            ("line", "reason", "text"),
            [(bad.line_number, bad.reason, bad.text[:80]) for bad in imported.first_rejects],
        )
    grades = f"--products {out}/catalogue.csv.gz --relevant-from {imported.layout.relevant_from:g}"
    pairs = f"--pairs {out}/pairs.csv --validation {out}/validation.csv"
    say(
        "next:\n"
        f"  winnow train --student bert2dnn {pairs} --out checkpoint\n"
        f"  winnow export checkpoint --name NAME --pairs {out}/validation.csv\n"
        f"  winnow calibrate --model NAME@1 --judgments {out}/judgments.valid.csv {grades}\n"
        f"  winnow evaluate --model NAME@2 --judgments {out}/judgments.test.csv {grades}\n"
        f"  winnow index {out}/catalogue.csv.gz --model NAME@2 --store lmdb:.data/rows"
    )
