"""Makes the pictures of docs/images again, from the playground of a running `make demo`.

    .venv/bin/python examples/shop/screenshots.py [--url http://127.0.0.1:8000]

Needs the extra `test` and chromium on PATH. Fonts are this machine's: with Inter and one that has
Chinese (Debian: fonts-inter, fonts-droid-fallback) the pictures come out as they are committed.
"""

import argparse
import shutil
import sys
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).parents[2] / "docs" / "images"
PRICE = {"query": "lightweight jacket", "sort": "price"}
COMPARED = {**PRICE, "student": "shop-reprbert", "other": "shop-bert2dnn"}
DESKTOP, PHONE = (1280, 900), (390, 844)


def main() -> None:
    """Takes them all."""
    parser = argparse.ArgumentParser(description="take the playground's pictures")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    url = parser.parse_args().url
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("expected chromium on PATH: make system installs it on Debian")
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = _open(browser, url, COMPARED, DESKTOP, "light")
        _take(page, "playground")
        page = _open(browser, url, COMPARED, DESKTOP, "dark")
        page.get_by_role("radio", name="Disagreements").check()
        _take(page, "playground-disagreements")
        page = _open(browser, url, COMPARED, DESKTOP, "light")
        page.locator('.card[data-state="kept"] h3 button').first.click()
        page.wait_for_selector(".tokens")
        _take(page, "playground-explanation")
        page = _open(browser, url, PRICE, PHONE, "light")
        _take(page, "playground-phone")
        page.mouse.wheel(0, 1200)
        _take(page, "playground-phone-products")
        page = _open(browser, url, PRICE, PHONE, "dark")
        _take(page, "playground-phone-dark")
        browser.close()


def _open(
    browser: Browser, url: str, shown: dict[str, str], size: tuple[int, int], scheme: str
) -> Page:
    """A window that shows what an address says, once `/filter` has confirmed it."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(f"{url}/#{urlencode(shown)}")
    page.locator('.confirmed[data-state="same"]').last.wait_for()
    return page


def _take(page: Page, name: str) -> None:
    page.wait_for_timeout(300)  # what scrolls or opens has come to rest
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    colours = Image.open(path).convert("RGB").quantize(200, dither=Image.Dither.NONE)
    colours.save(path, optimize=True)  # a third of the bytes, and the eye sees no difference
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
