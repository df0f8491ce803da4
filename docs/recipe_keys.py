"""Every key of a recipe, by table, as the classes in distill/ that read it have them.

What a key is for stands there as a comment on its field, beside it or above it, or in the
docstring of its class as a line "name: what for". `rows` finds all three.
"""

import ast
import inspect
import re
import tokenize
from collections.abc import Iterator
from dataclasses import is_dataclass
from io import StringIO
from typing import NamedTuple

from pydantic import BaseModel, TypeAdapter

from distill import recipe_tables as tables
from distill.data_table import Data
from distill.graph import GraphOptions
from distill.lexical_options import LexicalOptions
from distill.objectives import Listwise, Pairwise, Pointwise
from distill.options import TrainOptions
from distill.pretrain_options import PretrainOptions, ShortenOptions
from distill.recipe_file import DECIDED_ELSEWHERE, GATHERED
from distill.table import Name
from distill.teach_options import TeachOptions
from distill.transfer_options import LogOptions, TransferOptions
from docs.tables import Schema, kind, shown, table


class Keys(NamedTuple):
    """Keys that stand in one table of a recipe: those of a class, those of its options."""

    heading: str
    classes: tuple[type, ...]
    says: str


SECTIONS = (
    Keys("[data]", (Data,), "Judged pairs, and the products that give them their titles."),
    Keys("[[encoder]]", (tables.NewEncoder,), "Named `new:NAME` by what uses it."),
    Keys(
        "[[pretrain]]",
        (tables.PretrainTable, PretrainOptions),
        "As `winnow pretrain`. Named `pretrained:NAME`.",
    ),
    Keys(
        "[[shorten]]",
        (tables.ShortenTable, ShortenOptions),
        "As `winnow shorten`. Named `shortened:NAME`.",
    ),
    Keys("[[teacher]]", (tables.TeacherTable, TeachOptions), "As `winnow teach`."),
    Keys(
        '[[teacher]] with architecture = "lexical"',
        (LexicalOptions,),
        "In place of the options above.",
    ),
    Keys(
        "[transfer], [wide]",
        (tables.Transfer, TransferOptions),
        "As `winnow transfer`: the pairs that are labelled.",
    ),
    Keys(
        "[transfer.log]",
        (tables.Log, LogOptions),
        "As `winnow transfer --logs`. Query and product id stand in the columns that `[data]` "
        "names, in its encoding.",
    ),
    Keys("[labels]", (tables.Labels,), ""),
    Keys("[[student]]", (tables.StudentTable, TrainOptions), "As `winnow train`."),
    Keys('[[student]] with objective = "pointwise"', (Pointwise,), ""),
    Keys('[[student]] with objective = "pairwise"', (Pairwise,), ""),
    Keys('[[student]] with objective = "listwise"', (Listwise,), ""),
    Keys(
        "[student.fine_tune]",
        (tables.FineTune,),
        "A second stage on the judged pairs. What is left out is as in the first.",
    ),
    Keys(
        "[student.labels_alone]",
        (tables.Course,),
        "The same student on the judged pairs alone, for comparison. What is left out is as in the "
        "first training; `labels_alone = true` leaves out all.",
    ),
    Keys("[student.context]", (tables.Context, GraphOptions), "As `winnow context`."),
    Keys("[calibrate]", (tables.Calibrate,), "As `winnow calibrate`."),
    Keys("[publish]", (tables.Publish,), ""),
    Keys("[report]", (tables.Report,), ""),
)
_NAME = kind(TypeAdapter(Name).json_schema())
# Nested tables, which have a section of their own.
_TABLES = {"fine_tune", "labels_alone", "context", "log"}


def recipe_page() -> str:
    """All sections."""
    text = (
        "# Keys of a recipe\n\n"
        "What `winnow distill` reads, table by table; what each stage does with it: "
        "[Recipes](../recipes.md). An unknown key is refused, with the nearest known one. Paths in "
        "`[data]`, `[transfer]` and `[wide]` start at `--data`, those of encoders (`./FOLDER`) and "
        "teachers (`folder`) at the recipe. A name has up to 64 of a-z, 0-9, `.`, `_` and `-`. "
        "*None* is a key that is left out.\n\n"
        "## Top level\n\n"
        + table(
            ("key", "kind", "default", ""),
            [
                ("`name`", "string", "required", "of the recipe: its report, bundles, work folder"),
                ("`seed`", "integer from 0", "`0`", "of every table that has none of its own"),
                (
                    "`shares`",
                    "string",
                    "",
                    "a recipe beside it, whose tables before the students, "
                    "and work folder, this one has too; its own are added behind them",
                ),
            ],
        )
        + "\n"
    )
    for section in SECTIONS:
        said = f"{section.says}\n\n" if section.says else ""
        text += f"## {section.heading}\n\n{said}"
        found = [row for each in section.classes for row in rows(each)]
        text += table(("key", "kind", "default", ""), found) + "\n"
    return text.rstrip() + "\n"


def rows(of: type) -> Iterator[tuple[str, str, str, str]]:
    """Key, kind, default and what for, of each field that stands in a recipe."""
    schema = TypeAdapter(of).json_schema()
    said = _said(of)
    for name, field in schema["properties"].items():
        if name in GATHERED | _TABLES or (is_dataclass(of) and name in DECIDED_ELSEWHERE):
            continue
        needed = name in schema.get("required", ())
        either = [each for each in field.get("anyOf", ()) if each.get("type") != "null"]
        shape = field if not either else {"anyOf": either}
        default = field.get("default")
        told = "" if default in (None, [], {}) else shown(default)
        yield f"`{name}`", _kind(shape), "required" if needed else told, said.get(name, "")


def _kind(schema: Schema) -> str:
    """As `kind`; a name and a path are called so."""
    for each in (schema, *schema.get("anyOf", ())):
        if each.get("format") == "path":
            return "path"
    return kind(schema).replace(_NAME, "name")


def _said(of: type) -> dict[str, str]:
    """What for, by name; of inherited fields too."""
    found: dict[str, str] = {}
    for each in reversed(of.__mro__):
        if each is BaseModel or each.__module__.partition(".")[0] != "distill":
            continue
        found |= _in_docstring(inspect.getdoc(each) or "") | _in_comments(inspect.getsource(each))
    return found


def _in_docstring(text: str) -> dict[str, str]:
    """Lines "name: what for" or "name, other: what for", which go on where they are indented."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        if entry := re.match(r"([a-z0-9_]+(?:, [a-z0-9_]+)*): (.+)", line):
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        elif names and line.startswith(" "):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            names = []
    return found


def _in_comments(source: str) -> dict[str, str]:
    """The comment beside each annotated field, else those in the lines above it."""
    tokens = tokenize.generate_tokens(StringIO(source).readline)
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT
    }
    found: dict[str, str] = {}
    [definition] = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    for node in definition.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above: list[str] = []
        line = node.lineno - 1
        while line in comments and source.splitlines()[line - 1].lstrip().startswith("#"):
            above.insert(0, comments[line])
            line -= 1
        beside = comments.get(node.end_lineno or node.lineno)
        if told := beside or " ".join(above):
            found[node.target.id] = told
    return found
