"""One virtual environment per peer, made from its pinned requirements. Starts no server."""

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


class NotInstallable(Exception):
    """A peer's requirements can't be installed here; the text is pip's reason."""


def executables(folder: str | None, environments: Path) -> Path:
    """Folder of the executables of a peer's environment, made if need be; None: this one's.

    Raises:
        NotInstallable: pip says why.
    """
    if folder is None:
        return Path(sys.executable).parent
    requirements = HERE / folder / "requirements.txt"
    wanted = requirements.read_text(encoding="utf-8")
    # Absolute, and not resolved: the interpreter of an environment is a link out of it.
    place = environments.absolute() / folder
    installed = place / "installed.txt"
    if not installed.exists() or installed.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(place / "venv", ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(place / "venv")])
        pip = [str(place / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        _run([*pip, "-r", str(requirements)])
        installed.write_text(wanted, encoding="utf-8")
    return place / "venv" / "bin"


def pinned(folder: str) -> str:
    """Name and version of the peer's own package, the first that its requirements name."""
    text = (HERE / folder / "requirements.txt").read_text(encoding="utf-8")
    return next(line for line in text.splitlines() if line and not line.startswith("#"))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotInstallable((lines or done.stderr.splitlines() or ["no reason"])[-1][:300])
