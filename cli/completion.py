"""What TAB offers for a word: names and versions of the published students.

Ids of vector sets are not offered: asking a store can take as long as its time-out.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import typer

from model_store.errors import ModelStoreError
from model_store.registry import DEFAULT_ROOT, Published, published

Offers = list[tuple[str, str]]  # a word, and what shells that have the room say beside it


def student_names(context: typer.Context, incomplete: str) -> Offers:
    """NAME."""
    return _beginning(incomplete, _names(_students(context)))


def student_versions(context: typer.Context, incomplete: str) -> Offers:
    """VERSION of the student that the line names; of any, where that is not known here.

    The parser tells no argument while the value of an option is completed.
    """
    students, name = _students(context), context.params.get("name")
    offers = dict(_versions([each for each in students if name in (each.name, None)]))
    return _beginning(incomplete, offers.items())


def student_references(context: typer.Context, incomplete: str) -> Offers:
    """NAME or NAME@VERSION."""
    students = _students(context)
    exact = (
        (f"{each.name}@{version}", say) for each in students for version, say in _versions([each])
    )
    return _beginning(incomplete, [*_names(students), *exact])


def student_lists(context: typer.Context, incomplete: str) -> Offers:
    """NAME,NAME: the last one is completed with those that are not there yet."""
    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    names = [(name, say) for name, say in _names(_students(context)) if name not in taken]
    return [(before + comma + name, say) for name, say in _beginning(last, names)]


def _students(context: typer.Context) -> list[Published]:
    """Of the folder that the line, or else the environment, names; none where it is damaged."""
    root = context.params.get("bundles") or os.environ.get("WINNOW_BUNDLES") or DEFAULT_ROOT
    with suppress(ModelStoreError, OSError):
        return published(Path(root))
    return []


def _names(students: list[Published]) -> list[tuple[str, str]]:
    return [
        (each.name, f"version {each.current}" if each.current else "no active version")
        for each in students
    ]


def _versions(students: list[Published]) -> Iterator[tuple[str, str]]:
    for each in students:
        for version in each.versions:
            yield version, "active" if version == each.current else "published"


def _beginning(incomplete: str, offers: Iterable[tuple[str, str]]) -> Offers:
    return [(word, say) for word, say in offers if word.startswith(incomplete)]
