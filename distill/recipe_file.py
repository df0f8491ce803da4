"""Reading a recipe: TOML in, a `Recipe` out; whatever is wrong is said with its table and key.

Two keys save repetition: `shares = "OTHER.toml"` takes the tables that come before the students
from another recipe, and `like = "NAME"` in a [[student]] takes the keys of that student, which
stands above it, but for _OF_ONE_STUDENT.
"""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from distill.errors import RecipeRefused
from distill.graph import GraphOptions
from distill.lexical_options import LexicalOptions
from distill.objectives import Listwise, Pairwise, Pointwise
from distill.options import TrainOptions
from distill.pretrain_options import PretrainOptions, ShortenOptions
from distill.recipe import Recipe
from distill.recipe_tables import PretrainTable, ShortenTable, StudentTable, TeacherTable
from distill.teach_options import TeachOptions
from distill.transfer_options import LogOptions, TransferOptions

# What comes before the students: recipes that share it, and a work folder, share its results.
SHARED = ("seed", "data", "transfer", "wide", "labels")
_EXTENDED = (
    "encoder",
    "pretrain",
    "shorten",
    "teacher",
)  # shared too, and a recipe may add its own

_Raw = dict[str, object]

# Options that a recipe decides elsewhere, or that belong to the machine.
DECIDED_ELSEWHERE = {"seed", "relevant_from", "encoder", "start", "objective", "device"}
DECIDED_ELSEWHERE |= {"hard_weight", "train_split_only"}
_OBJECTIVES = {"pointwise": Pointwise, "pairwise": Pairwise, "listwise": Listwise}
GATHERED = {"options", "lexical", *_OBJECTIVES}
# What `like` doesn't take: a student's own names, and what is trained beside it.
_OF_ONE_STUDENT = ("name", "like", "bundle", "labels_alone")


@dataclass(frozen=True)
class RecipeFile:
    """A recipe and where it was read; paths in it are relative to `folder`.

    work_name: that of its work folder, which recipes that share their first tables share too
    sha256: of what it says, with what it shares
    """

    path: Path
    recipe: Recipe
    work_name: str
    sha256: str

    @property
    def folder(self) -> Path:
        """Where the recipe lies."""
        return self.path.parent


def read_recipe(path: Path) -> RecipeFile:
    """The recipe in a file.

    Raises:
        RecipeRefused: no such file, no TOML, or a key that is missing, unknown or wrong; the text
            names the key, what was expected and what came.
    """
    raw, other = _with_shared(_toml(path), path)
    try:
        text = json.dumps(_gathered(raw), sort_keys=True, default=_no_date)
    except ValueError as error:
        raise RecipeRefused(f"{path.name}: {error}") from error
    try:
        recipe = Recipe.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise RecipeRefused(f"{path.name}: {_explained(error.errors(), raw)}") from error
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return RecipeFile(path, recipe, other or recipe.name, sha256)


def _no_date(value: object) -> NoReturn:
    raise ValueError(f"expected no dates and times, got {value}: write it in quotes")


def _toml(path: Path) -> _Raw:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise RecipeRefused(f"{path}: can't be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeRefused(f"{path.name}: not TOML: {error}") from error


def _with_shared(raw: _Raw, path: Path) -> tuple[_Raw, str | None]:
    """The recipe with the tables that it takes from another, and that one's name."""
    if "shares" not in raw:
        return raw, None
    own = dict(raw)
    other = own.pop("shares")
    if not isinstance(other, str) or Path(other).name != other:
        raise RecipeRefused(
            f"{path.name}: shares: expected the name of a recipe beside it, got {other!r}"
        )
    shared = _toml(path.parent / other)
    if "shares" in shared:
        raise RecipeRefused(
            f"{path.name}: shares: {other} has its tables from {shared['shares']}: name that"
        )
    if twice := [name for name in SHARED if name in own]:
        raise RecipeRefused(f"{path.name}: {twice[0]}: {other} decides it: leave it out")
    taken: _Raw = {name: shared[name] for name in SHARED if name in shared}
    for name in _EXTENDED:
        both = [tables for tables in (shared.get(name), own.get(name)) if tables is not None]
        if both and not all(isinstance(tables, list) for tables in both):
            raise RecipeRefused(f"{path.name}: {name}: expected tables [[{name}]]")
        if both:
            taken[name] = [table for tables in both for table in tables]  # type: ignore[attr-defined]
    return own | taken, str(shared.get("name"))


def _gathered(raw: _Raw) -> _Raw:
    """The recipe with the options of each table gathered as `Recipe` has them."""
    whole = dict(raw)
    for name, options in (("pretrain", PretrainOptions), ("shorten", ShortenOptions)):
        if name in whole:
            tables = _tables(name, whole[name])
            whole[name] = [_with_options(table, "options", options) for table in tables]
    if "teacher" in whole:
        whole["teacher"] = [_teacher(table) for table in _tables("teacher", whole["teacher"])]
    for name in ("transfer", "wide"):
        if isinstance(transfer := whole.get(name), dict):
            made = _with_options(transfer, "options", TransferOptions)
            if isinstance(log := made.get("log"), dict):
                made["log"] = _with_options(log, "options", LogOptions)
            whole[name] = made
    if "student" in whole:
        students = _like_others(_tables("student", whole["student"]))
        whole["student"] = [_student(table) for table in students]
    return whole


def _tables(name: str, value: object) -> list[_Raw]:
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return value
    raise ValueError(f"{name}: expected tables [[{name}]], got {value!r}")


def _with_options(table: _Raw, place: str, options: type) -> _Raw:
    """The table with those of its keys that are the options' in a table of their own."""
    _refuse_gathered(table)
    names = _names_of(options)
    own = {name: value for name, value in table.items() if name not in names}
    return own | {place: {name: value for name, value in table.items() if name in names}}


def _names_of(options: type) -> list[str]:
    return [each.name for each in fields(options) if each.name not in DECIDED_ELSEWHERE]


def _refuse_gathered(table: Mapping[str, object]) -> None:
    if wrong := sorted(GATHERED & table.keys()):
        raise ValueError(f"{wrong[0]}: unknown key: options stand beside the other keys")


def _teacher(table: _Raw) -> _Raw:
    if table.get("architecture") == "lexical":
        return _with_options(table, "lexical", LexicalOptions)
    return _with_options(table, "options", TeachOptions)


def _student(table: _Raw) -> _Raw:
    objective = str(table.get("objective", "pointwise"))
    whole = _with_options(table, "options", TrainOptions)
    if isinstance(context := whole.get("context"), dict):
        whole["context"] = _with_options(context, "options", GraphOptions)
    if whole.get("labels_alone") is True:
        whole["labels_alone"] = {}
    if whole.get("labels_alone") is False:
        del whole["labels_alone"]
    if objective not in _OBJECTIVES:
        return whole  # which the recipe refuses, naming those there are
    names = _names_of(_OBJECTIVES[objective])
    own = {name: value for name, value in whole.items() if name not in names}
    return own | {objective: {name: value for name, value in whole.items() if name in names}}


def _like_others(students: Sequence[_Raw]) -> list[_Raw]:
    """Students with what they take from those before them."""
    done: list[_Raw] = []
    for table in students:
        whole = dict(table)
        other = whole.get("like")
        if other is not None:
            above = {str(each.get("name")): each for each in done}
            if not isinstance(other, str) or other not in above:
                names = ", ".join(map(str, above)) or "none"
                raise ValueError(
                    f"student {whole.get('name')!r}: like: expected a student above it ({names}), "
                    f"got {other!r}"
                )
            left_out = {*_OF_ONE_STUDENT}
            if "objective" in whole:  # it comes without the options of the other one's
                left_out |= {name for each in _OBJECTIVES.values() for name in _names_of(each)}
            taken = {name: value for name, value in above[other].items() if name not in left_out}
            whole = taken | whole
        done.append(whole)
    return done


def _explained(errors: Sequence[ErrorDetails], raw: Mapping[str, object]) -> str:
    """The first error, and how many more there are, for people."""
    error = errors[0]
    where = [str(part) for part in error["loc"] if part not in GATHERED]
    place, key = _place(error["loc"], raw), where[-1] if where else ""
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        message = f"unknown key{_suggestion(key, error['loc'])}"
    elif error["type"] == "missing":
        message = "missing"
    elif error["type"] != "value_error":
        message = f"{message[:1].lower()}{message[1:]}, got {error['input']!r}"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place}{message}{more}"


def _place(loc: Sequence[int | str], raw: Mapping[str, object]) -> str:
    """Table and key: ("student", 1, "options", "epochs") -> "student 'poly': epochs: "."""
    parts: list[str] = []
    for part in loc:
        if isinstance(part, int):
            tables = raw.get(str(loc[0]))
            named = tables[part].get("name") if isinstance(tables, list) and parts else None
            parts[-1] += f" {named!r}" if named and len(parts) == 1 else f" {part + 1}"
        elif part not in GATHERED:
            parts.append(part)
    return "".join(f"{part}: " for part in parts)


def _suggestion(key: str, loc: Sequence[int | str]) -> str:
    """The nearest of the keys that the table knows."""
    known: list[str] = [*Recipe.model_fields, "shares"]
    by_table: dict[object, tuple[type, type]] = {
        "student": (StudentTable, TrainOptions),
        "teacher": (TeacherTable, TeachOptions),
        "pretrain": (PretrainTable, PretrainOptions),
        "shorten": (ShortenTable, ShortenOptions),
    }
    if len(loc) > 1 and loc[0] in by_table:
        table, options = by_table[loc[0]]
        known = [*table.model_fields, *_names_of(options), "like"]  # type: ignore[attr-defined]
    near = difflib.get_close_matches(key, [name for name in known if name not in GATHERED], 1)
    return f": did you mean {near[0]}?" if near else ""
