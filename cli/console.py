"""How commands speak: people on standard error, machines on standard output."""

import json
from collections.abc import Iterable, Mapping, Sequence

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Tables and progress are for people: they never mix with the JSON on standard output.
console = Console(stderr=True)


def say(text: str) -> None:
    """One line for the person at the terminal."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for people, under its title: rich would wrap a title at the table's width.

    Cells are text as it is: a name such as `minilm[int8]` is no markup.
    """
    say(title)
    table = Table()
    for column in columns:
        table.add_column(Text(column))
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console.print(table)


def figure(value: object) -> str:
    """The cell of a figure; one that can't be taken is "undefined"."""
    if value is None:
        return "undefined"
    return f"{value:,.4f}" if isinstance(value, float) else str(value)


def answer(document: Mapping[str, object] | Sequence[object]) -> None:
    """A JSON document for machines."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
