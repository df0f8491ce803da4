"""`winnow doctor`: checks a deployment, says what to change; exit code 1 if something must be."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.completion import student_lists
from cli.console import answer, say, show
from cli.options import Json


def doctor(
    store: Annotated[str | None, typer.Option(help="else WINNOW_STORE")] = None,
    models: Annotated[
        str | None, typer.Option(help="else WINNOW_MODELS", autocompletion=student_lists)
    ] = None,
    bundles: Annotated[Path | None, typer.Option(help="else WINNOW_BUNDLES")] = None,
    workers: Annotated[int | None, typer.Option(help="else WINNOW_WORKERS")] = None,
    url: Annotated[str | None, typer.Option(help="a running service to ask too")] = None,
    connections: Annotated[
        int, typer.Option(help="clients that one worker should be able to hold")
    ] = 512,
    as_json: Json = False,
) -> None:
    """Check store, vector sets, bundles, threads, memory and limits; change nothing.

    It reads the WINNOW_* variables that `winnow serve` reads: run it where that runs, such as
    `docker exec CONTAINER winnow doctor`.
    """
    from importlib.metadata import version

    from doctor.examine import examine
    from service.settings import read_settings

    given = {"STORE": store, "MODELS": models, "BUNDLES": bundles, "WORKERS": workers}
    os.environ.update({f"WINNOW_{name}": str(value) for name, value in given.items() if value})
    findings = examine(read_settings(), url, connections)
    to_change = sum(finding.verdict == "change" for finding in findings)
    notes = sum(finding.verdict == "note" for finding in findings)
    if as_json:
        answer(
            {
                "winnow": version("winnow-relevance"),
                "to_change": to_change,
                "findings": [
                    {
                        "check": finding.check,
                        "verdict": finding.verdict,
                        "found": finding.found,
                        "expected": finding.expected,
                        "to_do": finding.to_do,
                    }
                    for finding in findings
                ],
            }
        )
    else:
        show(
            "What was found",
            ("check", "", "found", "expected", "what to do"),
            [
                (finding.check, finding.verdict, finding.found, finding.expected, finding.to_do)
                for finding in findings
            ],
        )
        fine = len(findings) - to_change - notes
        say(f"{to_change} to change, {notes} to note, {fine} fine")
    if to_change:
        raise typer.Exit(1)
