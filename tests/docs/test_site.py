"""The site builds strictly, says what is wrong with a page, and fetches nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import pages
from docs.pages import PageError, linked, write_pages
from tests.docs.blocks import ROOT

# What a browser fetches for a page; a link that somebody follows is none.
FETCHED = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"?(https?:)?//", re.S
)


def page(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_it_builds_strictly_and_needs_no_network() -> None:
    built = subprocess.run(
        [sys.executable, "-m", "docs.pages"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    site = ROOT / "build" / "site"
    html = {path: path.read_text("utf-8") for path in site.rglob("*.html")}
    assert {"index.html", "tutorial.html", "reference/cli.html"} <= {
        path.relative_to(site).as_posix() for path in html
    }
    assert not [path for path, text in html.items() if FETCHED.search(text)]


def test_links_inside_and_outside_of_the_pages() -> None:
    readme = linked(ROOT / "README.md", "index.md")
    assert "](design.md)" in readme
    assert f"]({pages.REPOSITORY}/blob/main/CONTRIBUTING.md)" in readme
    assert "](../operations.md#metrics)" in linked(
        ROOT / "docs" / "reference" / "metrics.md", "reference/metrics.md"
    )


@pytest.mark.parametrize("target", ["gone.md", "../tests/gone.py", "images/gone.png", "/etc/hosts"])
def test_a_link_that_leads_nowhere_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    with pytest.raises(PageError, match=re.escape(f"{target} leads nowhere")):
        linked(page(tmp_path, f"See [it]({target})."), "page.md")


def test_code_has_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    text = "`[a](gone.md)`\n\n```sh\necho [b](gone.md)\n```\n"
    assert linked(page(tmp_path, text), "page.md") == text


def test_code_in_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    (tmp_path / "tool.py").touch()
    moved = linked(page(tmp_path, "See [`tool.py`](tool.py)."), "page.md")
    assert moved == f"See [`tool.py`]({pages.REPOSITORY}/blob/main/tool.py)."


def test_a_page_that_the_navigation_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "zensical.toml"
    config.write_text('[project]\nnav = [{ "Winnow" = "index.md" }]\n')
    monkeypatch.setattr(pages, "CONFIG", config)
    with pytest.raises(PageError, match=r"docs/.+ is not in the nav"):
        write_pages(tmp_path / "out")


def test_an_entry_without_a_page_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "zensical.toml"
    real = pages.CONFIG.read_text("utf-8")
    config.write_text(real.replace('"tutorial.md" },', '"tutorial.md" }, { "Gone" = "gone.md" },'))
    monkeypatch.setattr(pages, "CONFIG", config)
    with pytest.raises(PageError, match=r"names gone\.md"):
        write_pages(tmp_path / "out")
