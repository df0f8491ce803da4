"""The site: build/docs from docs/ and README.md, then build/site from those, strictly.

    python -m docs.pages [--serve]

A page links to files of the repository as GitHub has them; outside docs/ they become links to the
repository. What Zensical does not look at is looked at here: files that are linked, pages that the
navigation does not have, entries without a page.
"""

import argparse
import posixpath
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "zensical.toml"
PAGES = ROOT / "build" / "docs"
ZENSICAL = (sys.executable, "-m", "zensical")
REPOSITORY = "https://github.com/winnow-relevance/winnow"
# Where a link or a picture goes. Code may stand in a link, but no link stands in code.
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
SHOWN = {".md", ".png", ".svg", ".webp"}  # files of docs/ that are part of the site


class PageError(Exception):
    """A page or the navigation is wrong; the text says where and what to do."""


def main() -> None:
    """Builds the site, or serves it while docs/ is edited."""
    parser = argparse.ArgumentParser(description="build the documentation")
    parser.add_argument("--serve", action="store_true", help="on http://localhost:8080")
    serve = parser.parse_args().serve
    try:
        write_pages(PAGES)
    except PageError as error:
        sys.exit(f"error: {error}")
    if serve:
        _serve()
    sys.exit(subprocess.run([*ZENSICAL, "build", "--strict", "--clean"], check=False).returncode)


def _serve() -> None:
    """Zensical follows build/docs; this follows docs/, until Ctrl-C."""
    server = subprocess.Popen([*ZENSICAL, "serve", "--dev-addr", "localhost:8080"])
    written = _changed()
    try:
        while server.poll() is None:
            time.sleep(0.5)
            if (now := _changed()) == written:
                continue
            written = now
            try:
                write_pages(PAGES)
            except PageError as error:
                print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        server.wait()
    sys.exit(server.returncode)


def _changed() -> float:
    """When a source was last changed."""
    return max(path.stat().st_mtime for path in (*_shown(), ROOT / "README.md"))


def write_pages(folder: Path) -> None:
    """Writes the sources of all pages into `folder`.

    Raises:
        PageError: a link leads nowhere, or pages and navigation don't agree.
    """
    sources = {path.relative_to(ROOT / "docs").as_posix(): path for path in _shown()}
    sources["index.md"] = ROOT / "README.md"
    _check_navigation(set(sources))
    for old in folder.rglob("*"):
        if old.is_file() and old.relative_to(folder).as_posix() not in sources:
            old.unlink()
    for page, source in sources.items():
        target = folder / page
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            target.write_text(linked(source, page), encoding="utf-8")
        else:
            shutil.copyfile(source, target)


def _shown() -> Iterator[Path]:
    return (path for path in sorted((ROOT / "docs").rglob("*")) if path.suffix in SHOWN)


def linked(source: Path, page: str) -> str:
    """The text of a page with links that hold on the site.

    Args:
        source: file of the repository.
        page: where it stands on the site, such as reference/cli.md.

    Raises:
        PageError: a link leads to a file that is not there.
    """
    text = source.read_text(encoding="utf-8")
    without_code = _CODE.sub(lambda code: "`" * len(code[0]), text)
    parts, end = [], 0
    for link in _LINK.finditer(without_code):
        parts += [text[end : link.start(1)], _moved(source, page, link[1])]
        end = link.end(1)
    return "".join((*parts, text[end:]))


def _moved(source: Path, page: str, target: str) -> str:
    path, _, anchor = target.partition("#")
    if ":" in target or not path:  # elsewhere, or on the same page
        return target
    found = (source.parent / path).resolve()
    if not found.exists() or not found.is_relative_to(ROOT):
        raise PageError(f"{source.relative_to(ROOT)}: {target} leads nowhere")
    anchor = f"#{anchor}" if anchor else ""
    here = found.relative_to(ROOT).as_posix()
    if here == "README.md":
        return posixpath.relpath("index.md", posixpath.dirname(page) or ".") + anchor
    if here.startswith("docs/") and found.suffix in SHOWN:
        start = posixpath.dirname(page) or "."
        return posixpath.relpath(here.removeprefix("docs/"), start) + anchor
    return f"{REPOSITORY}/{'tree' if found.is_dir() else 'blob'}/main/{here}{anchor}"


def _check_navigation(sources: set[str]) -> None:
    """Every page stands in the navigation, and every entry is a page."""
    pages = {page for page in sources if page.endswith(".md")}
    entries = list(_entries(tomllib.loads(CONFIG.read_text(encoding="utf-8"))["project"]["nav"]))
    if missing := sorted(pages - set(entries)):
        raise PageError(f"docs/{missing[0]} is not in the nav of {CONFIG.name}: add a line there")
    if extra := sorted(set(entries) - pages):
        raise PageError(f"the nav of {CONFIG.name} names {extra[0]}: there is no docs/{extra[0]}")


def _entries(nav: list[dict[str, object]]) -> Iterator[str]:
    for entry in nav:
        for value in entry.values():
            if isinstance(value, list):
                yield from _entries(value)
            else:
                yield str(value)


if __name__ == "__main__":
    main()
