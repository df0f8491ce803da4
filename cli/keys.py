"""`winnow keys`: API keys of the service; its file holds their hashes alone."""

import os
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from time import time
from typing import Annotated

import typer

from cli.console import answer, say, show
from cli.options import Json

app = typer.Typer(
    help="API keys of /score and /filter: make one, list those there are.", no_args_is_help=True
)

_VARIABLE = "WINNOW_API_KEYS_FILE"
File = Annotated[
    Path | None, typer.Option(help=f"file of hashes; that of {_VARIABLE} where absent")
]


@app.command("new")
def new_key(
    name: Annotated[str, typer.Argument(help="who will use it: letters, digits and _.-")],
    expires: Annotated[
        str, typer.Option(help="last day on which it opens (UTC), or a moment; never")
    ] = "never",
    file: File = None,
) -> None:
    """Print a new key, once, and append its hash to the file.

    A service that runs follows the file within a second. To take a key back, delete its line.
    """
    from service.key_file import add_key, parse_expiry

    try:
        expires_s = parse_expiry(expires)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            "expected never, a date (2027-12-31) or a moment (2027-12-31T12:00:00Z)"
        ) from None
    if expires_s <= time():
        raise typer.BadParameter(f"expected an expiry in the future, got {expires}")
    path = _file(file)
    key = add_key(path, name, expires)
    say(f"{name}: its hash is in {path}. The key, which is kept nowhere and not shown again:")
    typer.echo(key)


@app.command("list")
def list_keys(file: File = None, as_json: Json = False) -> None:
    """Names and expiry of the keys."""
    from service.key_file import read_keys

    path = _file(file)
    now, keys = time(), read_keys(path)
    if as_json:
        answer(
            [
                {
                    "name": key.name,
                    "expires": None if key.expires_s == inf else _utc(key.expires_s).isoformat(),
                    "opens": key.expires_s > now,
                }
                for key in keys
            ]
        )
        return
    rows = [
        (key.name, _moment(key.expires_s), "expired" if key.expires_s <= now else "opens")
        for key in keys
    ]
    show(f"API keys of {path}", ("name", "opens until (UTC)", ""), rows)


def _file(given: Path | None) -> Path:
    if given is not None:
        return given
    if named := os.environ.get(_VARIABLE):
        return Path(named)
    raise typer.BadParameter(f"name the file: --file FILE, or {_VARIABLE}")


def _moment(expires_s: float) -> str:
    if expires_s == inf:
        return "for ever"
    return _utc(expires_s).isoformat(sep=" ", timespec="minutes")[:16]


def _utc(moment_s: float) -> datetime:
    return datetime.fromtimestamp(moment_s, UTC)
