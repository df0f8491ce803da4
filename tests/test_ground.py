"""The ground everything stands on: whose code runs, and that serving never needs torch."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (
    *(
        "bench",
        "cli",
        "distill",
        "doctor",
        "evaluation",
        "export",
        "importing",
        "indexing",
        "loadtest",
        "model_store",
        "native",
    ),
    *("playground", "service", "vector_store", "winnow_client"),
)


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_are_those_of_this_checkout(name: str) -> None:
    """Names such as `service` exist in other distributions too."""
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(ROOT)


def test_serving_and_indexing_load_no_training_stack() -> None:
    probe = (
        "import sys, service.app, indexing.index, evaluation.scoring, cli.main; "
        "print([m for m in ('torch', 'onnx', 'transformers', 'safetensors') if m in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert loaded.stdout.strip() == "[]"


def test_the_folders_under_tests_shadow_no_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))
