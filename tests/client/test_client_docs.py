"""The code of docs/client.md and of the client's README runs, and the table names what there is."""

import re
from pathlib import Path
from typing import Any

import pytest
import winnow_client

from tests.client.conftest import Shop

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
README = (ROOT / "client" / "README.md").read_text(encoding="utf-8")


def blocks(text: str) -> list[str]:
    """Python code of a page."""
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def here(code: str, shop: Shop) -> str:
    """The same code, asking the service of these tests."""
    asked = f'Client("{shop.service.url}", api_key="{shop.key}"'
    return re.sub(r'Client\("http://127\.0\.0\.1:8000"', asked, code)


@pytest.mark.parametrize("page", [DOCS, README], ids=["docs/client.md", "client/README.md"])
def test_the_code_runs(shop: Shop, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert blocks(page)
    for block in blocks(page):
        names: dict[str, Any] = {}
        exec(here(block, shop), names)
        if isinstance(one_per_process := names.get("winnow"), winnow_client.Client):
            one_per_process.close()
        shown = capsys.readouterr().out
        assert "p0023" in shown  # the running shoes among the three
        assert "no scores" not in shown


def test_ten_lines_are_enough() -> None:
    first, *_ = blocks(DOCS)
    assert sum(bool(line) for line in first.splitlines()) == 10


def test_the_table_has_every_error_and_no_other() -> None:
    errors = {
        name
        for name in winnow_client.__all__
        if issubclass(getattr(winnow_client, name), winnow_client.WinnowError)
    }
    told = set(re.findall(r"`([A-Z][a-z]\w+)`", DOCS))
    assert errors - {"WinnowError"} <= told
    assert {name for name in told if name not in dir(winnow_client)} <= {"ValueError", "TypeError"}
