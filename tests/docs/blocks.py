"""Code blocks of a page, and the one shell that runs them in order on a copy of the checkout."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
END_WITHIN_S = 900
TOLERANCE = 0.02  # of a number that is shown: machines differ in the last digits of a score
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^\n|\A)((?: {4}.*\n)+)", re.MULTILINE)
_NUMBER = r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w.])"
_END = "-- end of block"


@dataclass(frozen=True)
class Block:
    """A block of a page: its language (none where indented or not said), its text, its line."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Every fenced and every indented block, in the order of the page."""
    text = page.read_text(encoding="utf-8")
    found = [Block(m[1], m[2], text[: m.start()].count("\n") + 2) for m in _FENCED.finditer(text)]
    bare = _FENCED.sub(lambda m: "\n" * m[0].count("\n"), text)
    for match in _INDENTED.finditer(bare):
        lines = "".join(line[4:] + "\n" for line in match[1].splitlines())
        found.append(Block("", lines, bare[: match.start(1)].count("\n") + 1))
    return sorted(found, key=lambda block: block.line)


def checkout(folder: Path) -> Path:
    """A copy of the files under version control, with the environments that `make` would make.

    Both are this process's, and make finds them up to date.
    """
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
    compiled = [path.relative_to(ROOT) for path in ROOT.glob("*/*.so")]
    for name in (*map(Path, files.decode().split("\0")[:-1]), *compiled):
        if (ROOT / name).is_file():  # not one that is deleted and still listed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for environment, stamp in ((".venv", "core"), (".venv-train", "all")):
        (folder / environment).mkdir()
        for path in Path(sys.prefix).iterdir():
            (folder / environment / path.name).symlink_to(path)
        made = folder / environment / stamp
        made.unlink(missing_ok=True)
        made.touch()
    (folder / ".venv-uv" / "bin").mkdir(parents=True)
    (folder / ".venv-uv" / "bin" / "uv").touch()  # never run, since nothing is out of date
    return folder


def free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def run_in_order(commands: list[str], folder: Path, settings: Mapping[str, str]) -> list[str]:
    """What each block of commands printed, errors too.

    One shell runs them all, as a reader's does: variables and background jobs go on. A command that
    fails ends it.

    Raises:
        AssertionError: a command failed; with everything that was printed.
    """
    script = "".join(f"{block}\necho '{_END}'\n" for block in commands)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    # The copy's packages, not those that the environment is installed from.
    environment = {**kept, "PYTHONPATH": str(folder), "COLUMNS": "120", **settings}
    said = folder / "printed"  # no pipe: what runs in the background would keep it open
    with said.open("w") as output:
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = shell.wait(timeout=END_WITHIN_S)
        finally:
            with suppress(ProcessLookupError):  # what it left running in the background
                os.killpg(shell.pid, signal.SIGKILL)
    printed = said.read_text(encoding="utf-8")
    assert code == 0, f"ended with {code}:\n{printed}"
    return printed.split(f"{_END}\n")[:-1]


def differs(shown: str, printed: str) -> str:
    """How what a page shows differs from what was printed; empty where it does not.

    `...` stands for anything, a line may be broken anywhere, and the last digits of a number with
    a point are the machine's.
    """
    pattern, numbers = "", []
    for part in re.split(rf"(\.\.\.|\s+|{_NUMBER})", shown.strip()):
        if part == "...":
            pattern += r"[\s\S]*?"
        elif part.isspace():
            pattern += r"\s*"
        elif "." in part and re.fullmatch(_NUMBER, part):
            pattern += rf"({_NUMBER})"
            numbers.append(float(part.replace(",", "")))
        else:
            pattern += re.escape(part)
    found = re.fullmatch(pattern, printed.strip())
    if found is None:
        return f"shown:\n{shown}\nprinted:\n{printed}"
    got = [float(each.replace(",", "")) for each in found.groups()]
    far = [(e, g) for e, g in zip(numbers, got, strict=True) if abs(e - g) > TOLERANCE]
    return f"shown and printed: {far}" if far else ""
