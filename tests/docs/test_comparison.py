"""docs/comparison.md: a yes of ours is a link to a test, anything else a reason."""

import re

import pytest

from tests.docs.blocks import ROOT

PAGE = ROOT / "docs" / "comparison.md"
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| |")
]
TESTS = re.compile(r"\]\((\.\./tests/[^)]+)\)")


def test_the_table_is_there() -> None:
    assert len(ROWS) >= 30
    assert {len(row) for row in ROWS} == {10}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_yes_links_to_a_test_and_a_no_gives_a_reason(row: list[str]) -> None:
    feature, ours, *others = row
    assert feature
    assert all(others)  # nothing is left open: a dash is said
    linked = TESTS.findall(ours)
    reason = ours.startswith("no: ") and len(ours) > 12
    assert linked or reason, f"{feature}: expected a test or a reason, got {ours}"
    for path in linked:
        file = (PAGE.parent / path).resolve()
        assert re.search(r"^(async )?def test_", file.read_text("utf-8"), re.MULTILINE), path
