"""axe-core's rules (WCAG 2.2 A and AA, contrast included) on the page in each of its looks."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.playground.conftest import DESKTOP, PHONE, STUDENTS, Window, open_window
from tests.service.conftest import Service

PAGE = f"#query=lightweight+jacket&sort=price&count=50&other={STUDENTS[1]}"
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}


def violations(window: Window) -> list[str]:
    """Each broken rule, with the first element that breaks it."""
    found = Axe().run(window.page, options=RULES).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_keeps_anybody_out(
    browser: Browser, service: Service, size: tuple[int, int], scheme: str
) -> None:
    window = open_window(browser, service.url, size, scheme)
    window.open(PAGE)
    assert violations(window) == []
    window.page.locator(".card h3 button").first.click()
    expect(window.page.locator(".explanations section")).to_have_count(2)
    assert violations(window) == []
    window.page.context.close()
    assert window.complaints == []
