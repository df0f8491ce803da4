"""Every table can be had as JSON, and every ending has the exit code that docs/cli.md says."""

import json
import re
import signal
import subprocess
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cli import console
from cli.main import app
from service.key_file import add_key
from tests.command import winnow
from tests.conftest import free_port
from tests.service.conftest import WINNOW, environment

ROOT = Path(__file__).parents[2]


def commands(group: typer.Typer, *before: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every command by what one types, and the function behind it."""
    for command in group.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        yield " ".join([*before, name]), command.callback
    for sub in group.registered_groups:
        assert sub.typer_instance is not None
        yield from commands(sub.typer_instance, *before, str(sub.name))


def calls(function: types.FunctionType, wanted: object, seen: set[object]) -> bool:
    """Whether a function of `cli`, or one that it names, names `wanted`."""
    if function in seen:
        return False
    seen.add(function)
    codes, names = [function.__code__], set[str]()
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [const for const in code.co_consts if isinstance(const, types.CodeType)]
    named = [function.__globals__.get(name) for name in names]
    return wanted in named or any(
        calls(each, wanted, seen)
        for each in named
        if isinstance(each, types.FunctionType) and each.__module__.startswith("cli.")
    )


SHOWING = {
    name: function
    for name, function in commands(app)
    if isinstance(function, types.FunctionType) and calls(function, console.show, set())
}


def test_the_search_finds_tables() -> None:
    assert {"models list", "sets list", "keys list", "doctor", "train", "transfer"} <= set(SHOWING)
    assert "models show" not in SHOWING


@pytest.mark.parametrize("name", SHOWING)
def test_a_command_that_shows_a_table_has_json(name: str) -> None:
    command = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]  # type: ignore[attr-defined]
    assert "--json" in [option for parameter in command.params for option in parameter.opts]


def test_keys_as_json(tmp_path: Path) -> None:
    file = tmp_path / "api-keys"
    add_key(file, "ranker")
    add_key(file, "guest", "2999-12-31")
    told = json.loads(winnow("keys", "list", "--file", str(file), "--json").stdout)
    assert [(each["name"], each["opens"]) for each in told] == [("ranker", True), ("guest", True)]
    assert told[0]["expires"] is None
    assert told[1]["expires"].startswith("2999-12-31") or told[1]["expires"].startswith(
        "3000-01-01"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("--help",), 0, "Exit codes: 0 done"),
        (("models", "list"), 0, "shop-bert2dnn"),
        (("models", "show", "nobody"), 1, "error: no student named 'nobody'; published here: "),
        (("doctor",), 1, "error: WINNOW_STORE: not set; expected vector store: lmdb:PATH"),
        (("keys", "new", "me", "--file", "/dev/null/keys"), 1, "error: API keys, /dev/null/keys"),
        (("models",), 2, "Usage: "),
        (("keys",), 2, "Usage: "),
        (("models", "show"), 2, "Missing argument"),
        (("sets", "list", "--stoer", "x"), 2, "No such option: --stoer"),
    ],
)
def test_exit_codes(arguments: tuple[str, ...], code: int, expected: str) -> None:
    ended = winnow(*arguments)
    assert ended.returncode == code
    assert expected in " ".join((ended.stdout + ended.stderr).replace("│", " ").split())
    assert "Traceback" not in ended.stderr


def test_a_path_that_cannot_be_written_ends_in_one_line() -> None:
    shop = ROOT / "examples" / "shop"
    ended = winnow(
        *("evaluate", "--model", "shop-deepdot", "--judgments", str(shop / "judgments.test.csv")),
        *("--products", str(shop / "products.csv"), "--report", "/dev/null/report", "--json"),
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert re.fullmatch(r"error: /dev/null.*: correct the path.*", ended.stderr.splitlines()[-1])


# As in a terminal: what a shell starts in the background without job control ignores SIGINT, and
# so does everything that it starts.
HEARS_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "


def test_ctrl_c_is_130() -> None:
    python, option, code = WINNOW
    with subprocess.Popen(
        [
            *(python, option, HEARS_CTRL_C + code),
            *("sets", "wait", "--store", f"redis://127.0.0.1:{free_port()}/0"),
        ],
        env=environment({"MODELS": "shop-deepdot"}),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline()  # it says what it waits for
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 130
        finally:
            process.kill()


def test_the_page_has_the_codes_of_the_help() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for code in ("0", "1", "2", "130"):
        assert f"| {code} |" in page
        assert f"{code} " in str(app.info.epilog)
