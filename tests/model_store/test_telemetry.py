"""Nobody outside is told that a student runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = (
    "import model_store.student",
    "import sys; sys.argv = ['winnow', 'models', 'verify', 'shop-deepdot']; "
    "from cli.main import main; main()",
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_onnx_runtime_tells_nobody(program: str, tmp_path: Path) -> None:
    """It leaves the number of its session in the temporary folder when it does."""
    kept = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, "TMPDIR": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
