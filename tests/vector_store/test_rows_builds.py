"""The row path where nothing was compiled, and compiled so that a stray access ends the process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from native.compile import compiler, source_mark
from native.library import object_path
from vector_store.native_rows import AVAILABLE

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("native", "vector_store", "model_store", "service", "tests/vector_store")
FINISHED_WITHIN_S = 300
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's Python and C, without anything compiled."""
    for part in PARTS:
        for suffix in ("py", "c"):
            for source in (ROOT / part).glob(f"*.{suffix}"):
                target = tmp_path / source.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run_tests(copy: Path, chosen: list[str], environment: dict[str, str]) -> str:
    """Output of these tests in the copy, all of which passed or were skipped."""
    paths = [f"tests/vector_store/{name}" for name in chosen]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=FINISHED_WITHIN_S,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


def test_it_is_compiled_here_wherever_there_is_a_compiler() -> None:
    assert AVAILABLE or compiler() is None, "run python -m native.compile"


def test_everything_works_without_what_is_compiled(copy: Path) -> None:
    suite = "test_stores.py::test_fetch_is_what_get_has_unpacked"
    output = run_tests(copy, ["test_ids.py", "test_row_cache.py", suite], {})
    assert "without rows.c there is no cache" in output


def test_no_access_strays_in_a_build_that_would_tell(copy: Path) -> None:
    command = compiler()
    if command is None:
        pytest.skip("no C compiler")
    source = copy / "vector_store" / "rows.c"
    build = [
        *command,
        *SANITIZERS,
        "-std=gnu11",
        "-shared",
        "-fPIC",
        "-o",
        str(object_path(source)),
    ]
    build += [f'-DWINNOW_SOURCE_MARK="{source_mark(source)}"', str(source), "-lpthread"]
    runtime = subprocess.run(
        [*command, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(runtime).is_absolute():
        pytest.skip("this compiler has no address sanitizer that can be preloaded")
    subprocess.run(build, check=True, capture_output=True)
    environment = {
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0",  # of Python's own
        "PYTHONMALLOC": "malloc",  # so that the sanitizer sees where each object ends
    }
    chosen = ["test_ids.py", "test_scan_candidates.py", "test_native_rows.py", "test_arena.py"]
    output = run_tests(copy, chosen, environment)
    assert "skipped" not in output
