"""The tutorial as a reader does it: one shell, a clone, a real service; what it shows is so."""

import re
from itertools import pairwise

import pytest

from tests.docs.blocks import ROOT, Block, blocks, checkout, differs, free_ports, run_in_order

PAGE = ROOT / "docs" / "tutorial.md"
# Lines that CI does not run, and why.
NOT_RUN = {
    "git clone https://github.com/winnow-relevance/winnow.git": "the copy of the checkout stands "
    "for the clone: what is tested is this commit, without a network",
    "cd winnow": "the shell begins there",
}


def commands(page: list[Block]) -> list[Block]:
    return [block for block in page if block.language == "sh"]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[Block, str]:
    """What each block of the tutorial printed; it ran once, whole."""
    folder = checkout(tmp_path_factory.mktemp("winnow"))
    port, admin = free_ports(2)
    found = commands(blocks(PAGE))
    scripts = []
    for block in found:
        lines = [line for line in block.text.splitlines() if line not in NOT_RUN]
        text = "\n".join(lines).replace(":8000", f":{port}")
        scripts.append(text.replace("WINNOW_ADMIN_PORT=8001", f"WINNOW_ADMIN_PORT={admin}"))
    settings = {"WINNOW_PORT": str(port), "WINNOW_WORKERS": "1"}
    return dict(zip(found, run_in_order(scripts, folder, settings), strict=True))


def test_every_block_is_commands_or_what_they_print() -> None:
    assert {block.language for block in blocks(PAGE)} == {"sh", "text", "json"}


def test_every_line_that_is_not_run_is_there() -> None:
    lines = {line for block in commands(blocks(PAGE)) for line in block.text.splitlines()}
    assert set(NOT_RUN) <= lines


def test_it_prints_what_the_page_shows(printed: dict[Block, str]) -> None:
    shown = [pair for pair in pairwise(blocks(PAGE)) if pair[1].language != "sh"]
    assert len(shown) >= 8
    wrong = [(b.line, differs(b.text, printed[a])) for a, b in shown]
    assert not [f"line {line}: {what}" for line, what in wrong if what]


def test_the_page_says_what_the_answers_say() -> None:
    """The sentences between the blocks name figures of the blocks."""
    text = PAGE.read_text(encoding="utf-8")
    scores = dict(
        zip(re.findall(r'"(p\d{4})"', text), re.findall(r"0\.\d{6,}", text), strict=False)
    )
    assert scores["p2455"].startswith("0.33")
    assert re.search(r"threshold\":0\.27\d+", text)
