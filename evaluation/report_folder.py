"""A report as a folder: report.md for people, report.json for machines, plots as PNG.

Whole or not at all: it is written beside the folder and moved into its place.
"""

import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from evaluation.errors import EvaluationError, LibraryMissing

JSON_FILE = "report.json"
MARKDOWN_FILE = "report.md"

_PACKAGES = (
    *("winnow-relevance", "numpy", "onnxruntime", "torch", "transformers", "tokenizers"),
    *("lightgbm", "scikit-learn", "rapidfuzz", "bm25s"),
)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where figures come from, so that they can be made again."""

    title: str
    data: str  # what the judged pairs are, and which of them
    data_sha256: str
    command: str
    seed: int


def versions() -> dict[str, str]:
    """Python's version and those of the packages that decide figures, where installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def check_report(folder: Path) -> None:
    """Refuses a report before the work for it is done.

    Raises:
        LibraryMissing: no matplotlib.
        EvaluationError: the folder holds something that is no report.
    """
    if find_spec("matplotlib") is None:
        raise LibraryMissing("a report needs matplotlib: pip install 'winnow-relevance[plot]'")
    if not folder.exists() or (folder / JSON_FILE).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise EvaluationError(
            f"{folder}: expected a new folder, or an earlier report to replace, got something "
            "else: name another"
        )


@contextmanager
def report_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, which takes the place of `folder` at the end, whole.

    Raises:
        LibraryMissing, EvaluationError: as check_report.
    """
    check_report(folder)
    folder = folder.resolve()  # "." has itself as its parent, and the staging would be inside
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".report-") as temporary:
        staging = Path(temporary) / "report"
        staging.mkdir()
        yield staging
        if folder.exists():
            shutil.rmtree(folder)
        staging.rename(folder)


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Writes a document as report.json has it."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; None is an empty cell."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| "
        + " | ".join("" if cell is None else str(cell).replace("|", "\\|") for cell in line)
        + " |"
        for line in lines
    )


def facts_table(provenance: Provenance, further: Sequence[tuple[str, object]]) -> str:
    """Where the figures come from, as a Markdown table."""
    installed = ", ".join(f"{name} {found}" for name, found in versions().items())
    rows = [
        ("pairs", provenance.data),
        ("sha256 of the file", f"`{provenance.data_sha256}`"),
        *further,
        ("command", f"`{provenance.command}`"),
        ("seed", provenance.seed),
        ("versions", installed),
    ]
    return table(("", ""), rows)
