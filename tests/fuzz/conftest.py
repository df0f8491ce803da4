"""Fuzzing: many damaged inputs against a real service. Few of them in CI, all with `make fuzz`."""

import csv
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.service.conftest import SHOP, Service, index_shop, start

INPUTS_IN_CI = 600
MODEL = "shop-bert2dnn"
SEED = 20261121


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many inputs, of which every test takes its share; known where tests/fuzz alone is run."""
    parser.addoption("--fuzz-inputs", type=int, default=INPUTS_IN_CI)
    parser.addoption("--fuzz-report", type=Path, help="JSON to write: what was sent, what came")


@dataclass(frozen=True)
class Fuzz:
    """How many inputs a whole run has, and where it is told what came of them."""

    inputs: int
    told: list[dict[str, object]]

    def share(self, part: float) -> int:
        """That part of the inputs, at least 20."""
        return max(20, round(self.inputs * part))

    def tell(self, what: str, sent: int, came: dict[str, int], **more: object) -> None:
        """One line of the report."""
        ordered = dict(sorted(came.items(), key=lambda each: -each[1]))
        self.told.append({"what": what, "inputs": sent, "came": ordered, **more})


@pytest.fixture(scope="session")
def fuzz(request: pytest.FixtureRequest) -> Iterator[Fuzz]:
    """The run; its report is written at its end."""
    told: list[dict[str, object]] = []
    started = time.monotonic()
    yield Fuzz(request.config.getoption("--fuzz-inputs", INPUTS_IN_CI), told)
    report = {"seed": SEED, "seconds": round(time.monotonic() - started), "parts": told}
    text = json.dumps(report, indent=2)
    path: Path | None = request.config.getoption("--fuzz-report", None)
    if path is not None:
        path.write_text(text + "\n", encoding="utf-8")
    print("\n" + text)


@pytest.fixture(scope="session")
def lmdb_rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a store with the shop's rows of one student."""
    folder = tmp_path_factory.mktemp("fuzz-rows")
    url = f"lmdb:{folder / 'rows'}"
    index_shop(url, (MODEL,), folder)
    return url


@contextmanager
def running(folder: Path, store: str, **settings: str) -> Iterator[Service]:
    """A ready service; caches are small, so that they are full before memory is compared."""
    small = {"models": MODEL, "query_cache_entries": "64", "row_cache_mb": "4", **settings}
    with ExitStack() as stack:
        service = start(stack, folder, store, small)
        service.wait_for("/readyz")
        yield service


@pytest.fixture(scope="session")
def service(lmdb_rows: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all that is sent to it; nothing of it may be left behind in it."""
    with running(tmp_path_factory.mktemp("fuzz-service"), lmdb_rows) as ready:
        yield ready


@pytest.fixture(scope="session")
def product_ids() -> list[str]:
    """Ids of the shop."""
    with (SHOP / "products.csv").open(encoding="utf-8", newline="") as file:
        return [row["product_id"] for row in csv.DictReader(file)]


def memory_mb(service: Service) -> float:
    """Resident memory of the service and its workers."""
    pid = service.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    pages = 0
    for each in (str(pid), *children):
        pages += int(Path(f"/proc/{each}/statm").read_text(encoding="utf-8").split()[1])
    return pages * 4096 / 2**20
