"""Options that several commands have; those that say where judged pairs are stand in judged.py."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from cli.completion import student_names, student_references, student_versions

Student = Annotated[str, typer.Argument(help="name of the student", autocompletion=student_names)]
Version = Annotated[str, typer.Argument(help="published version", autocompletion=student_versions)]
VersionOption = Annotated[
    str | None,
    typer.Option(help="published version; else the active one", autocompletion=student_versions),
]
StudentReference = Annotated[
    str,
    typer.Option(
        help="published student: NAME, or NAME@VERSION for one that is not active",
        autocompletion=student_references,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output")]
Bundles = Annotated[Path, typer.Option(envvar="WINNOW_BUNDLES", help="folder of published bundles")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...; else a GPU where there is one")]
HubEncoder = Annotated[
    str,
    typer.Option(
        help="folder of a BERT-type checkpoint, package:NAME of an installed one, or "
        "OWNER/NAME[@REVISION] on the hub"
    ),
]
TrainingPairs = Annotated[
    Path, typer.Option(help="query, title, target in [0, 1]: CSV, TSV or JSONL, also .gz")
]
ValidationPairs = Annotated[
    Path | None,
    typer.Option(
        help="pairs to validate on, relevant from target 0.5; else the valid split of --pairs, "
        "whose test split is unused"
    ),
]
GradeScale = Annotated[
    str | None,
    typer.Option(help="LOWEST:HIGHEST of the target column, such as 1:3; becomes 0 to 1"),
]
RelevantGrade = Annotated[
    float | None,
    typer.Option(help="lowest target, or grade, that counts as relevant; else the middle"),
]
SaveEvery = Annotated[
    int, typer.Option(help="steps between states from which a stopped run goes on")
]


def refuse_given(context: typer.Context, names: Iterable[str], what_for: str) -> None:
    """Refuses options that say nothing about what is asked for.

    Raises:
        typer.BadParameter: one of `names` was given; it is for `what_for`.
    """
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            option = f"--{name.replace('_', '-')}"
            raise typer.BadParameter(f"{option} is for {what_for}: leave it out")


def cpu_threads(told: int | None = None) -> int:
    """So many threads; one per CPU where nobody has said."""
    from service.cpus import available_cpus, default_workers

    return told or default_workers(available_cpus())
