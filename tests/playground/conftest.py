"""One service with the playground on, a server of pictures, and Debian's Chromium to look at it."""

import csv
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.service.conftest import SHOP, Service, index_shop, start

expect.set_options(timeout=20_000)  # as everything else here, for a machine that is busy
STUDENTS = ("shop-bert2dnn", "shop-deepdot")
JUDGMENTS = SHOP / "judgments.test.csv"
DESKTOP, PHONE = (1280, 900), (390, 844)
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'
PICTURED = ("p1434", "p1717", "p2134")  # shampoos


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base's name
        """Nothing."""


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a picture on a server of its own, as a shop's pictures are."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "picture.svg").write_text(PICTURE)
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/picture.svg"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def catalogue(pictures: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's products, some with a picture."""
    path = tmp_path_factory.mktemp("catalogue") / "products.csv"
    with (SHOP / "products.csv").open(encoding="utf-8", newline="") as file:
        products = list(csv.DictReader(file))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*products[0], "image"])
        writer.writeheader()
        for product in products:
            image = pictures if product["product_id"] in PICTURED else ""
            writer.writerow({**product, "image": image})
    return path


@pytest.fixture(scope="session")
def shop_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a store with the shop's rows of two students."""
    folder = tmp_path_factory.mktemp("rows")
    url = f"lmdb:{folder / 'rows'}"
    index_shop(url, STUDENTS, folder)
    return url


@pytest.fixture(scope="session")
def service(
    shop_store: str, catalogue: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A ready service whose playground has the shop and its test judgements."""
    settings = {
        "models": ",".join(STUDENTS),
        "deadline_ms": "20000",  # a busy machine is none of what is tested here
        "playground_catalogue": str(catalogue),
        "playground_judgments": str(JUDGMENTS),
    }
    with ExitStack() as stack:
        running = start(stack, tmp_path_factory.mktemp("playground"), shop_store, settings)
        running.wait_for("/readyz")
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser, for one module: Playwright's loop runs as long, and others want theirs."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("these tests look at the page in Debian's chromium, which is not installed")
    with sync_playwright() as playwright:
        # As root, as in a container, Chromium starts only without its sandbox.
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@dataclass
class Window:
    """A page in the browser, with what it asked for and complained about."""

    page: Page
    origin: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, fragment: str = "") -> None:
        """Opens the playground and waits until `/filter` has confirmed what it shows."""
        self.page.goto(f"{self.origin}/{fragment}")
        self.settle()

    def settle(self) -> None:
        """Waits until every student's page is confirmed by `/filter`."""
        self.page.wait_for_function(
            """() => { const all = [...document.querySelectorAll(".confirmed")];
            return all.length && all.every((each) => each.dataset.state === "same"); }"""
        )

    def search(self, query: str) -> None:
        """Types a query and asks for it; the address has it once its products are there."""
        self.page.get_by_role("combobox", name="Query").fill(query)
        self.page.get_by_role("button", name="Search").click()
        self.page.wait_for_function(
            "query => new URLSearchParams(location.hash.slice(1)).get('query') === query",
            arg=query,
        )
        self.settle()

    def ids(self, state: str = "") -> list[str]:
        """Product ids of the cards, or of those that are `kept` or `removed`, in page order."""
        chosen = f'.card[data-state="{state}"]' if state else ".card"
        found: list[str] = self.page.eval_on_selector_all(
            chosen, "cards => cards.map(card => card.dataset.id)"
        )
        return found

    def set_threshold(self, value: float, tag: str = "A") -> None:
        """Types a threshold, exactly."""
        exact = self.page.locator(f'[data-tag="{tag}"] .exact')
        exact.fill(repr(value))
        exact.press("Enter")
        self.settle()


def open_window(browser: Browser, url: str, size: tuple[int, int], scheme: str) -> Window:
    """A window of a size in pixels, light or dark; nothing is kept from another one."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    window = Window(context.new_page(), url)
    window.page.set_default_timeout(20_000)
    window.page.on("request", lambda request: window.asked.append(request.url))
    window.page.on("pageerror", lambda error: window.complaints.append(str(error)))
    window.page.on(
        "console",
        lambda message: (
            window.complaints.append(f"{message.type}: {message.text}")
            if message.type in {"error", "warning"}
            else None
        ),
    )
    return window


@pytest.fixture
def window(browser: Browser, service: Service, pictures: str) -> Iterator[Window]:
    """A desktop window; it must have no complaint, and ask nobody but the service for anything."""
    window = open_window(browser, service.url, DESKTOP, "light")
    yield window
    window.page.context.close()
    assert window.complaints == []
    origins = (f"{service.url}/", f"{pictures.rpartition('/')[0]}/")
    assert [url for url in window.asked if not url.startswith(origins)] == []
