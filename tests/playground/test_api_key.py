"""Where a service has API keys, the page is open, and what it shows is not."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from service.key_file import add_key
from tests.playground.conftest import DESKTOP, open_window
from tests.service.conftest import Service, start


@dataclass(frozen=True)
class Guarded:
    """A service that asks for the key."""

    service: Service
    key: str


@pytest.fixture(scope="module")
def guarded(
    shop_store: str, catalogue: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """A service with one student, one key and the playground."""
    folder = tmp_path_factory.mktemp("guarded")
    key = add_key(folder / "keys", "merchandiser")
    settings = {
        "models": "shop-deepdot",
        "deadline_ms": "20000",
        "api_keys_file": str(folder / "keys"),
        "playground_catalogue": str(catalogue),
    }
    with ExitStack() as stack:
        service = start(stack, folder, shop_store, settings)
        service.wait_for("/readyz")
        yield Guarded(service, key)


@pytest.mark.parametrize("path", ["/playground/shop", "/playground/candidates?query=tent&count=5"])
def test_what_tells_of_the_shop_is_behind_the_key(guarded: Guarded, path: str) -> None:
    assert guarded.service.client.get(path).status_code == httpx.codes.UNAUTHORIZED
    given = {"Authorization": f"Bearer {guarded.key}"}
    assert guarded.service.client.get(path, headers=given).status_code == httpx.codes.OK


def test_a_path_beside_the_files_is_not_open(guarded: Guarded) -> None:
    assert guarded.service.client.get("/").status_code == httpx.codes.OK
    for path in ("/playground/", "/playground/page.js/", "/playground/app.py"):
        assert guarded.service.client.get(path).status_code == httpx.codes.UNAUTHORIZED


def test_the_page_asks_for_the_key_and_keeps_it_in_the_tab(
    browser: Browser, guarded: Guarded
) -> None:
    window = open_window(browser, guarded.service.url, DESKTOP, "light")
    page = window.page
    page.goto(f"{guarded.service.url}/#query=tent")
    field = page.get_by_label("API key", exact=True)
    expect(field).to_be_focused()
    field.fill("no key at all")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("the API key is none of this service's")
    field.fill(guarded.key)
    field.press("Enter")
    window.settle()
    assert window.ids()
    expect(field).to_be_hidden()
    page.reload()
    window.settle()
    assert page.evaluate("() => localStorage.length") == 0
    # Not for another tab, and in no address.
    other = page.context.new_page()
    other.goto(f"{guarded.service.url}/")
    expect(other.get_by_label("API key", exact=True)).to_be_visible()
    assert not [url for url in window.asked if guarded.key in url]
    page.get_by_role("button", name="Forget the API key").click()
    expect(field).to_be_visible()
    assert page.evaluate("() => sessionStorage.length") == 0
    page.context.close()
