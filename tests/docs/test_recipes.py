"""The recipes that docs/recipes.md shows are ones."""

from pathlib import Path

import pytest

from distill.recipe_file import read_recipe
from tests.docs.blocks import ROOT, blocks

PAGE = ROOT / "docs" / "recipes.md"


@pytest.fixture
def shown() -> tuple[str, str]:
    """A whole recipe, and what stands in place of its transfer set."""
    whole, log = (block.text for block in blocks(PAGE) if block.language == "toml")
    return whole, log


def test_the_whole_one_is_read(shown: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(shown[0], encoding="utf-8")
    recipe = read_recipe(path).recipe
    assert [student.kind for student in recipe.student] == ["bert2dnn"]


def test_a_log_stands_in_place_of_its_transfer_set(shown: tuple[str, str], tmp_path: Path) -> None:
    whole, log = shown
    start, end = whole.index("[transfer]"), whole.index("[[student]]")
    path = tmp_path / "mine.toml"
    path.write_text(f"{whole[:start]}{log}\n{whole[end:]}behaviour = true\n", encoding="utf-8")
    recipe = read_recipe(path).recipe
    assert recipe.transfer.log is not None
    assert recipe.transfer.log.options.behaviour == "ordered"
