"""docs/reference is what the code says now."""

import subprocess
import sys
from pathlib import Path

import pytest

from docs.reference import PAGES, REFERENCE
from docs.tables import fields, kind
from service.settings import PREFIX, Settings
from tests.docs.blocks import ROOT


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, written anew by a process of its own: the metrics are those of one process."""
    folder = tmp_path_factory.mktemp("reference")
    subprocess.run([sys.executable, "-m", "docs.reference", folder], check=True, cwd=ROOT)
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_a_committed_page_is_current(written: Path, name: str) -> None:
    committed = (REFERENCE / name).read_text("utf-8")
    assert committed == (written / name).read_text("utf-8"), f"{name}: run `make reference`"


def test_nothing_else_lies_there() -> None:
    assert {path.name for path in REFERENCE.iterdir()} == set(PAGES)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_its_row_and_says_what_it_is_for(name: str) -> None:
    text = (REFERENCE / "settings.md").read_text("utf-8")
    [row] = [line for line in text.splitlines() if f"`{PREFIX}{name.upper()}`" in line]
    assert len(row.split("|")[-2].strip()) > 8


def test_every_key_of_a_recipe_says_what_it_is_for() -> None:
    text = (REFERENCE / "recipe.md").read_text("utf-8")
    keys = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert len(keys) > 100
    assert [cells[0] for cells in keys if len(cells[-1].rstrip(" |")) < 4] == []
    # Options of each class, keys of tables, and keys that a recipe decides elsewhere.
    assert {"| `in_blocks`", "| `bm25_share`", "| `hard_weight`"} <= {cells[0] for cells in keys}
    assert not {"| `device`", "| `options`", "| `start`"} & {cells[0] for cells in keys}


def test_no_page_names_this_machine() -> None:
    assert not [path.name for path in REFERENCE.iterdir() if str(ROOT) in path.read_text("utf-8")]


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 65535}, "integer from 1 to 65,535"),
        ({"anyOf": [{"$ref": "#/$defs/Graph"}, {"type": "null"}]}, "[Graph](#graph) or null"),
        ({"type": "array", "items": {"type": "string"}}, "array of string"),
        ({"enum": ["a", "b"], "type": "string"}, "`a`, `b`"),
    ],
)
def test_kinds(schema: dict[str, object], shown: str) -> None:
    assert kind(schema) == shown


def test_a_bar_in_a_text_ends_no_cell() -> None:
    schema = {"properties": {"x": {"type": "string", "description": "a | b"}}, "required": ["x"]}
    assert fields(schema).splitlines()[-1] == "| `x` | string | required | a \\| b |"
