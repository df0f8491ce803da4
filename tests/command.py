"""`winnow ...` in this process, as a shell sees it; its own process would load torch each time."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from cli.console import console
from cli.main import main

WIDE = 200  # columns: no line of a table is broken


def winnow(
    *arguments: str | Path, bundles: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Runs the command; standard output is for machines, standard error for people.

    Args:
        *arguments: those after `winnow`.
        bundles: WINNOW_BUNDLES; no other WINNOW_ setting of the caller's reaches the command.
    """
    told = ["winnow", *map(str, arguments)]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    if bundles is not None:
        settings["WINNOW_BUNDLES"] = str(bundles)
    code: int | str | None = 0
    with (
        redirect_stdout(io.StringIO()) as output,
        redirect_stderr(io.StringIO()) as errors,
        mock.patch.dict(os.environ, {**settings, "COLUMNS": str(WIDE)}, clear=True),
        mock.patch.object(sys, "argv", told),
        mock.patch.object(console, "_width", WIDE),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    return subprocess.CompletedProcess(
        told, code if isinstance(code, int) else 0, output.getvalue(), errors.getvalue()
    )
