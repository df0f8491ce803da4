"""`winnow sets wait`: what an init container runs before a service starts."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from model_store.registry import DEFAULT_ROOT
from tests.conftest import RedisServer

ROOT = Path(__file__).parents[2]
PRODUCTS = ROOT / "examples" / "shop" / "products.csv"
NAME = "shop-bert2dnn"
OTHER = "shop-deepdot"
COMMAND = (sys.executable, "-c", "from cli.main import main; main()")


@contextmanager
def winnow(*arguments: str, store: str) -> Iterator["subprocess.Popen[str]"]:
    """The command as a process; it is killed at the end if it still runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    settings = {"WINNOW_STORE": store, "WINNOW_BUNDLES": str(DEFAULT_ROOT)}
    with subprocess.Popen(
        [*COMMAND, *arguments],
        env={**kept, **settings, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(*arguments: str, store: str) -> tuple[int, str]:
    """Exit code and what it told a person."""
    with winnow(*arguments, store=store) as process:
        said = process.communicate(timeout=120)[1]
    return process.returncode, said


def index(store: str, model: str, folder: Path) -> None:
    """Indexes the shop."""
    rejects = ("--reject-file", str(folder / "rejects.jsonl"))
    code, said = ended("index", str(PRODUCTS), "--model", model, *rejects, store=store)
    assert code == 0, said


def read_until(process: "subprocess.Popen[str]", text: str) -> None:
    """Reads what it says until `text` comes."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if text in line:
            return
    pytest.fail(f"expected {text!r}, got {said!r}")


def test_it_waits_for_the_store_then_for_the_set_and_ends(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.stop()
    with ExitStack() as stack:
        waiting = stack.enter_context(
            winnow("sets", "wait", "--models", NAME, store=redis_server.url)
        )
        read_until(waiting, f"waiting: {NAME}: ")  # the store is down
        redis_server.start()
        read_until(waiting, "no live vector set with fingerprint")
        index(redis_server.url, OTHER, tmp_path)  # rows of another student are not waited for
        assert waiting.poll() is None
        index(redis_server.url, NAME, tmp_path)
        read_until(waiting, "is live: 3,055 products of shop-bert2dnn")
        assert waiting.wait(timeout=60) == 0


def test_it_gives_up_with_the_reason(redis_url: str) -> None:
    store = f"{redis_url}?ns=nothing-here"
    code, said = ended("sets", "wait", "--models", NAME, "--timeout-s", "0.1", store=store)
    assert code == 1
    assert f"error: no live vector set within 0.1 s: {NAME}: no live vector set with" in said


@pytest.mark.parametrize(
    ("models", "store", "expected"),
    [
        ("nobody", "redis://127.0.0.1:1/0", "error: no student named 'nobody'"),
        ("", "redis://127.0.0.1:1/0", "error: several students are active"),
        (NAME, "ftp://x", "error: expected a store URL"),
    ],
)
def test_what_no_waiting_helps_is_an_error_at_once(models: str, store: str, expected: str) -> None:
    code, said = ended("sets", "wait", "--models", models, store=store)
    assert code == 1
    assert said.startswith(expected)
