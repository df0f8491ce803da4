"""A real service on the shop for the drivers to load: one worker, rows in LMDB."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.service.conftest import SHOP, Service, index_shop, start

MODEL = "shop-bert2dnn"
CATALOGUE, QUERIES = SHOP / "products.csv", SHOP / "queries.csv"
# A test machine may be slow: what counts here is which answers come, not how soon.
PATIENT = {"models": MODEL, "deadline_ms": "20000"}


@pytest.fixture(scope="session")
def rows_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of an LMDB store with the shop's vector set of one student."""
    folder = tmp_path_factory.mktemp("loaded")
    url = f"lmdb:{folder / 'rows'}"
    index_shop(url, (MODEL,), folder)
    return url


@pytest.fixture
def service(rows_url: str, tmp_path: Path) -> Iterator[Service]:
    """A ready service of its own for each test: some of them stop it."""
    with ExitStack() as stack:
        running = start(stack, tmp_path, rows_url, PATIENT)
        running.wait_for("/readyz")
        yield running
