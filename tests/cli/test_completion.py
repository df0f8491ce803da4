"""TAB in real shells, after `winnow --install-completion`, and what it costs."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_store.bundle import revise
from model_store.registry import DEFAULT_ROOT, bundle_folder

BIN = Path(sys.executable).parent
ANSWER_WITHIN_S = 60
PROMPT = ">> "
# By shell: the file that it reads when it starts, and how that sets the prompt.
SHELLS = {
    "bash": (".bashrc", f"PS1='{PROMPT}'\n"),
    "zsh": (".zshrc", f"PROMPT='{PROMPT}'\n"),
    "fish": (".config/fish/config.fish", f"function fish_prompt; echo -n '{PROMPT}'; end\n"),
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """shop-deepdot in versions 1 (active) and 2."""
    root = tmp_path_factory.mktemp("completion") / "bundles"
    shutil.copytree(DEFAULT_ROOT / "shop-deepdot", root / "shop-deepdot")
    revise(bundle_folder(root, "shop-deepdot"), root, {"version": "2"})
    return root


def surroundings(home: Path, bundles: Path) -> dict[str, str]:
    """Of a shell whose user has nothing but `winnow` on the path."""
    return {
        "HOME": str(home),
        "PATH": f"{BIN}:/usr/bin:/bin",
        "TERM": "dumb",
        "WINNOW_BUNDLES": str(bundles),
        "LC_ALL": "C.UTF-8",
    }


def offered(line: str, bundles: Path) -> list[str]:
    """Words that are offered at the end of a line."""
    done = subprocess.run(
        [BIN / "winnow"],
        env=surroundings(bundles, bundles)
        | {"_WINNOW_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        | {"_TYPER_COMPLETE_ARGS": line},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return [word.partition("\t")[0] for word in done.stdout.split("\n") if word]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("winnow mod", ["models"]),
        ("winnow models show ", ["shop-deepdot"]),
        ("winnow models show shop-deepdot --version ", ["1", "2"]),
        ("winnow models activate shop-deepdot ", ["1", "2"]),
        ("winnow models canary nobody ", []),
        (
            "winnow evaluate --model shop",
            ["shop-deepdot", "shop-deepdot@1", "shop-deepdot@2"],
        ),
        ("winnow index --model shop-deepdot@2", ["shop-deepdot@2"]),
        ("winnow serve --models shop", ["shop-deepdot"]),
        ("winnow serve --models shop-deepdot,", []),
        ("winnow models show --bundles /dev/null ", []),
        ("winnow evaluate --precision i", ["int8"]),
    ],
)
def test_words_that_are_offered(line: str, expected: list[str], bundles: Path) -> None:
    assert offered(line, bundles) == expected


def test_a_damaged_folder_offers_nothing(tmp_path: Path) -> None:
    shutil.copytree(DEFAULT_ROOT / "shop-deepdot", tmp_path / "shop-deepdot")
    (tmp_path / "shop-deepdot" / "current").write_bytes(b"\xff")
    assert offered("winnow models show ", tmp_path) == []


def test_neither_help_nor_completion_loads_what_is_heavy(bundles: Path) -> None:
    heavy = {"torch", "onnxruntime", "numpy", "fastapi", "redis", "lmdb", "pydantic_settings"}
    completing = {
        "_WINNOW_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": "winnow models show ",
    }
    for arguments, more in ((["--help"], {}), ([], completing)):
        told = subprocess.run(
            [sys.executable, "-X", "importtime", str(BIN / "winnow"), *arguments],
            env=surroundings(bundles, bundles) | more,
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.splitlines()}
        assert "cli" in loaded
        assert not loaded & heavy


class Terminal:
    """A shell at a terminal, typed at."""

    def __init__(self, command: tuple[str, ...], env: dict[str, str]) -> None:
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            os.execvpe(command[0], list(command), env)
        self._shown = ""

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def wait_for(self, text: str) -> None:
        """Until the text has been shown since the last one waited for."""
        give_up = time.monotonic() + ANSWER_WITHIN_S
        while text not in self._shown:
            ready, _, _ = select.select([self._terminal], [], [], 1)
            if ready:
                self._shown += os.read(self._terminal, 65536).decode(errors="replace")
            assert time.monotonic() < give_up, f"expected {text!r}, saw {self._shown!r}"
        self._shown = self._shown.partition(text)[2]

    def end(self) -> None:
        os.close(self._terminal)  # the shell is told that its terminal is gone
        os.waitpid(self._process, 0)


@contextmanager
def terminal(command: tuple[str, ...], env: dict[str, str]) -> Iterator[Terminal]:
    opened = Terminal(command, env)
    try:
        yield opened
    finally:
        opened.end()


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_in_a_real_shell(shell: str, bundles: Path, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here (Debian: apt-get install {shell})")
    env = surroundings(tmp_path, bundles)
    file, text = SHELLS[shell]
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    with terminal((shell, "-i"), env) as first:
        first.wait_for(PROMPT)  # what is typed before is the system's to edit, not the shell's
        first.type("winnow --install-completion\n")
        first.wait_for(f"{shell} completion installed in")
        first.wait_for("restart the terminal")
    with terminal((shell, "-i"), env) as second:
        second.wait_for(PROMPT)
        if shell == "zsh":  # whose first TAB only loads the completion
            second.type("winnow \t\x15")
        second.type("winnow models show shop-d\t")
        second.wait_for("shop-deepdot")
        second.type("\n")
        second.wait_for('"vector_fingerprint"')
