"""What the tests of `deploy/` share: where it is, and the tools that some machines lack."""

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def tool(name: str, where: str) -> str:
    """Path of a program, beside this Python or on PATH; skips where it isn't installed."""
    found = shutil.which(str(Path(sys.executable).with_name(name))) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed ({where})")
    return found
