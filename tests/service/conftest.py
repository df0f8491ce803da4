"""A real service over a socket, on the shop's real bundles, with rows in LMDB and in Redis."""

import csv
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from indexing.catalogue import open_catalogue
from indexing.index import IndexOptions, index
from model_store.registry import DEFAULT_ROOT, bundle_folder
from model_store.student import OnnxStudent
from vector_store.open import open_store

SHOP = Path(__file__).parents[2] / "examples" / "shop"
MODELS = ("shop-reprbert", "shop-bert2dnn", "shop-deepdot")
WINNOW = (sys.executable, "-c", "from cli.main import main; main()")
READY_WITHIN_S = 180


@dataclass(frozen=True)
class Service:
    """A running `winnow serve`; `client` speaks to it, `log` is what it printed."""

    process: "subprocess.Popen[bytes]"
    url: str
    client: httpx.Client
    log: Path

    @property
    def port(self) -> int:
        """Port it listens on."""
        return int(self.url.rpartition(":")[2])

    def wait_for(self, path: str, status: int = 200) -> httpx.Response:
        """Asks until the status comes; the first moments of a service refuse the connection."""
        give_up = time.monotonic() + READY_WITHIN_S
        answer: httpx.Response | None = None
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                pytest.fail(f"the service stopped: {self.log.read_text()}")
            try:
                answer = self.client.get(path)
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            if answer.status_code == status:
                return answer
            time.sleep(0.05)
        pytest.fail(f"{path} did not answer {status}: {answer and answer.text}")

    def wait_for_reason(self, text: str) -> str:
        """Asks until the first model is not ready for a reason that has `text` in it."""
        give_up = time.monotonic() + READY_WITHIN_S
        reason = ""
        while time.monotonic() < give_up:
            reason = str(self.wait_for("/v1/models").json()["models"][0]["reason"])
            if text in reason:
                return reason
            time.sleep(0.05)
        pytest.fail(f"expected {text!r} as the reason, got {reason!r}")

    def score(
        self, query: str, product_ids: list[str], fields: dict[str, object] | None = None
    ) -> httpx.Response:
        """POST /score."""
        body = {"query": query, "product_ids": product_ids, **(fields or {})}
        return self.client.post("/score", json=body)

    def filter(
        self, query: str, product_ids: list[str], fields: dict[str, object] | None = None
    ) -> httpx.Response:
        """POST /filter, sorted by default unless `fields` say otherwise."""
        body = {"query": query, "product_ids": product_ids, "sort": "default", **(fields or {})}
        return self.client.post("/filter", json=body)


StartService = Callable[[str, dict[str, str]], Service]


def environment(settings: dict[str, str]) -> dict[str, str]:
    """This process's environment with exactly these WINNOW_ settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    return {
        **kept,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        **{f"WINNOW_{name.upper()}": value for name, value in settings.items()},
    }


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(stack: ExitStack, folder: Path, store: str, settings: dict[str, str]) -> Service:
    """Starts a service that `stack` stops; it may not be ready yet."""
    port = free_port()
    log = folder / f"serve-{port}.log"
    chosen = {"store": store, "models": ",".join(MODELS), "workers": "1", "port": str(port)}
    chosen["drain_ms"] = "0"  # nobody goes on asking a service that a test has done with
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*WINNOW, "serve"],
            env=environment({**chosen, **settings}),
            stdout=output,
            stderr=output,
        )
    stack.callback(_stop, process)
    url = f"http://127.0.0.1:{port}"
    # Kept for less than the service keeps an idle connection: otherwise a request may meet its end.
    limits = httpx.Limits(keepalive_expiry=1)
    client = stack.enter_context(httpx.Client(base_url=url, timeout=30, limits=limits))
    return Service(process, url, client, log)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def index_shop(store_url: str, models: tuple[str, ...], folder: Path) -> None:
    """Indexes the shop with each student."""
    store = open_store(store_url, timeout_ms=10_000)
    options = IndexOptions(reject_file=folder / "rejects.jsonl", restart=True)
    for model in models:
        student = OnnxStudent.load(bundle_folder(DEFAULT_ROOT, model))
        index(open_catalogue(SHOP / "products.csv"), student, store, options, _silent)
    store.close()


def _silent(phase: str, done: int, total: int | None) -> None:
    """Progress that nobody watches."""


@pytest.fixture(scope="session")
def titles() -> dict[str, str]:
    """Title of every product of the shop, by id."""
    with (SHOP / "products.csv").open(encoding="utf-8", newline="") as file:
        return {row["product_id"]: row["title"] for row in csv.DictReader(file)}


@pytest.fixture(scope="session")
def ids(titles: dict[str, str]) -> list[str]:
    """Every product id of the shop."""
    return list(titles)


@pytest.fixture(scope="session")
def lmdb_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of an LMDB store with the shop's three vector sets."""
    folder = tmp_path_factory.mktemp("lmdb")
    url = f"lmdb:{folder / 'rows'}"
    index_shop(url, MODELS, folder)
    return url


@pytest.fixture(scope="session")
def cheap_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of an LMDB store with the set of shop-deepdot alone, which is encoded in a moment."""
    folder = tmp_path_factory.mktemp("cheap")
    url = f"lmdb:{folder / 'rows'}"
    index_shop(url, ("shop-deepdot",), folder)
    return url


@pytest.fixture(scope="session")
def redis_store(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a Redis namespace with the shop's three vector sets."""
    url = f"{redis_url}?ns=shop"
    index_shop(url, MODELS, tmp_path_factory.mktemp("redis"))
    return url


@pytest.fixture(scope="session", params=["lmdb", "redis"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A ready service with one worker, once on each store."""
    store: str = request.getfixturevalue(f"{request.param}_store")
    with ExitStack() as stack:
        patient = {"deadline_ms": "20000"}  # a test machine may be busy
        running = start(stack, tmp_path_factory.mktemp("service"), store, patient)
        running.wait_for("/readyz")
        yield running


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[StartService]:
    """Starts services with settings of their own, and stops them after the test."""
    with ExitStack() as stack:
        yield lambda store, settings: start(stack, tmp_path, store, settings)


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """A copy of the shop's bundles, to be damaged."""
    return Path(shutil.copytree(DEFAULT_ROOT, tmp_path / "bundles"))


@pytest.fixture(scope="session")
def students() -> dict[str, OnnxStudent]:
    """The shop's students in this process."""
    return {model: OnnxStudent.load(bundle_folder(DEFAULT_ROOT, model)) for model in MODELS}


def expected_scores(student: OnnxStudent, query: str, titles: list[str]) -> "np.ndarray":
    """Scores without service and store, float32 [n]."""
    return student.calibrate(
        student.score(student.encode_query(query), student.encode_products(titles))
    )
