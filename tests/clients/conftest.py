"""One real service for clients that others wrote: what each does is held against `/score`."""

import csv
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.service.conftest import SHOP, Service, index_shop, start

MODEL = "shop-deepdot"
QUERY = "red running shoes"
NO_CLIENTS = "needs clients that have an environment of their own: make test-clients"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A ready service of one model."""
    folder = tmp_path_factory.mktemp("clients")
    url = f"lmdb:{folder / 'rows'}"
    index_shop(url, (MODEL,), folder)
    with ExitStack() as stack:
        running = start(stack, folder, url, {"models": MODEL})
        running.wait_for("/readyz")
        yield running


@pytest.fixture(scope="session")
def few() -> dict[str, str]:
    """Titles of some products, by id; no two are alike."""
    with (SHOP / "products.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[::101]
    by_title = {row["title"]: row["product_id"] for row in rows}
    return {product: title for title, product in by_title.items()}


@pytest.fixture(scope="session")
def best_first(service: Service, few: dict[str, str]) -> list[tuple[str, float]]:
    """The titles by the scores of their stored rows."""
    scores = service.score(QUERY, list(few)).json()["scores"]
    ranked = zip(few.values(), scores, strict=True)
    return sorted(ranked, key=lambda each: each[1], reverse=True)
