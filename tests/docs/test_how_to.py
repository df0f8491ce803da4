"""Commands and code of all pages: options that exist, and a checkpoint that export takes."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import typer

from cli.main import app
from export.checkpoint import load_checkpoint
from export.students.deepdot import DeepDot, DeepDotConfig
from model_store.cwub import build_vocabulary
from tests.docs.blocks import ROOT, blocks

PAGES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").glob("*.md")),
]
TEXTS = ["red running shoes", "laptop stand", "silk scarf"]


# Not `kubectl -n winnow ...`: at the start of a line, or behind what begins a command.
COMMAND = re.compile(r"(?:^|&& |\|\| |-- |[A-Z]=\S* |bin/)winnow ([^&|<>#;\n]*)", re.MULTILINE)


def commands(page: Path) -> Iterator[list[str]]:
    """Every `winnow ...` in the blocks of a page, as words."""
    for block in blocks(page):
        if block.language in ("", "sh"):
            for match in COMMAND.finditer(block.text.replace("\\\n", " ")):
                yield shlex.split(match[1])


def known_options(words: list[str]) -> set[str]:
    """Options of the command that the words begin with.

    Raises:
        AssertionError: there is no such command.
    """
    command = typer.main.get_command(app)
    for word in words:
        inner = getattr(command, "commands", None)
        if inner is None or word.startswith("-"):
            break
        assert word in inner, f"winnow {' '.join(words)}: no command {word}"
        command = inner[word]
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    for words in commands(page):
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given - {"--help"} <= known_options(words), f"winnow {shlex.join(words)}"


def test_commands_are_found() -> None:
    found = [words for page in PAGES for words in commands(page)]
    assert len(found) > 40
    assert ["models", "rollback", "mine"] in found


def test_a_checkpoint_of_ones_own(tmp_path: Path) -> None:
    """The Python of bring-your-own-student.md, with weights that stand for the reader's."""
    [code] = [
        block.text
        for block in blocks(ROOT / "docs" / "bring-your-own-student.md")
        if block.language == "python"
    ]
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    vocabulary, _ = build_vocabulary(TEXTS, minimum_frequency=1)
    weights = DeepDot(DeepDotConfig(vocabulary=len(vocabulary))).state_dict()
    torch.save(weights, tmp_path / "weights.pt")
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}
    )
    checkpoint = load_checkpoint(tmp_path / "my-checkpoint")
    assert checkpoint.student.kind == "deepdot"
    torch.testing.assert_close(checkpoint.student.state_dict(), weights, rtol=0, atol=0)
