"""The recipes that docs/recipes.md shows are ones."""

from pathlib import Path

import pytest

from distill.recipe_file import read_recipe
from tests.docs.blocks import ROOT, blocks

PAGE = ROOT / "docs" / "recipes.md"


@pytest.fixture
def shown() -> tuple[str, ...]:
    """A whole recipe; what stands in place of its transfer set; and with a student of its own."""
    return tuple(block.text for block in blocks(PAGE) if block.language == "toml")


def test_the_whole_one_is_read(shown: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(shown[0], encoding="utf-8")
    recipe = read_recipe(path).recipe
    assert [student.kind for student in recipe.student] == ["bert2dnn"]


def test_a_log_stands_in_place_of_its_transfer_set(shown: tuple[str, ...], tmp_path: Path) -> None:
    whole, log, _ = shown
    start, end = whole.index("[transfer]"), whole.index("[[student]]")
    path = tmp_path / "mine.toml"
    path.write_text(f"{whole[:start]}{log}\n{whole[end:]}behaviour = true\n", encoding="utf-8")
    recipe = read_recipe(path).recipe
    assert recipe.transfer.log is not None
    assert recipe.transfer.log.options.behaviour == "ordered"


def test_clicks_are_learned_in_place_of_labels(shown: tuple[str, ...], tmp_path: Path) -> None:
    whole, _, clicks = shown
    start = whole.index("[transfer]")
    path = tmp_path / "mine.toml"
    path.write_text(f"{whole[:start]}{clicks}", encoding="utf-8")
    recipe = read_recipe(path).recipe
    (drfc,) = recipe.student
    assert recipe.labels_of(drfc) == ()
    assert drfc.fine_tune is not None
