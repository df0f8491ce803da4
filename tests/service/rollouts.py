"""What tests of changing versions share: a model in three versions, and a service with admin calls.

Version 2 has the rows of version 1 and other scores. Version 3 has rows of its own, made of other
titles, so that a row of another version's set shows in every score.
"""

import csv
import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from indexing.catalogue import open_catalogue
from indexing.index import IndexOptions, index
from model_store.bundle import open_bundle, revise
from model_store.manifest import Manifest
from model_store.registry import DEFAULT_ROOT, bundle_folder
from model_store.student import OnnxStudent
from tests.service.conftest import READY_WITHIN_S, SHOP, Service, free_port, start
from vector_store.open import open_store

MODEL = "shop-deepdot"
TOKEN = "a-token-of-the-tests"
QUERIES = ("red running shoes", "garden hose", "wireless lamp")


@dataclass(frozen=True)
class Operated:
    """A running service and its admin port."""

    service: Service
    admin: httpx.Client
    bundles: Path
    token_file: Path

    def activate(self, version: str) -> httpx.Response:
        """POST activate."""
        return self.admin.post(f"/v1/models/{MODEL}/activate", json={"version": version})

    def serving(self) -> int:
        """Workers that serve what all are to serve."""
        workers = self.admin.get("/v1/models").json()["workers"]
        return sum(worker["state"] == "serving" for worker in workers)

    def reset(self) -> None:
        """Version 1 active, nothing beside it."""
        for role in ("canary", "shadow"):
            assert self.admin.delete(f"/v1/models/{MODEL}/{role}").status_code == 200
        assert self.activate("1").status_code == 200

    def status(self) -> dict[str, Any]:
        """The model as one worker shows it."""
        found: dict[str, Any] = self.service.client.get("/v1/models").json()["models"][0]
        return found

    def answer(self, query: str, ids: list[str], key: str | None = None) -> dict[str, Any]:
        """An answer of `/score` on a connection of its own, without its timings."""
        response = httpx.post(
            f"{self.service.url}/score",
            json={"query": query, "product_ids": ids, "deadline_ms": 60_000},
            headers={} if key is None else {"X-Winnow-Key": key},
            timeout=60,
        )
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        del document["timings_ms"]
        return document


def until(holds: Callable[[], bool], what: str) -> None:
    """Waits until it holds."""
    give_up = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < give_up:
        if holds():
            return
        time.sleep(0.05)
    pytest.fail(f"never: {what}")


def three_versions(folder: Path) -> Path:
    """A registry with three versions of the model, the first one active."""
    bundles = folder / "bundles"
    shutil.copytree(DEFAULT_ROOT / MODEL, bundles / MODEL)
    first = bundle_folder(bundles, MODEL)
    manifest = open_bundle(first).manifest
    assert manifest.version == "1"
    calibration = {"slope": 0.7, "intercept": -0.8, "fitted_on": "a test"}
    thresholds = {"default": 0.11, "price": 0.12, "sale": 0.13, "chosen_on": "a test"}
    changes = {"version": "2", "calibration": calibration, "thresholds": thresholds}
    revise(first, bundles, changes)
    revise(first, bundles, {"version": "3", "product_row": other_rows(manifest, "a test")})
    return bundles


def other_rows(manifest: Manifest, segment: str) -> dict[str, object]:
    """The same layout under another name: another vector fingerprint, the same golden rows."""
    return {"width": manifest.d_p, "segments": {segment: (0, manifest.d_p)}}


def index_rotated(store_url: str, bundles: Path, version: str, by: int, folder: Path) -> None:
    """Indexes the shop under one version, each product with the title of the one `by` places on."""
    with (SHOP / "products.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    catalogue = folder / f"rotated-{by}.csv"
    with catalogue.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["product_id", "title"])
        for place, row in enumerate(rows):
            title = rows[(place + by) % len(rows)]["title"]
            writer.writerow([row["product_id"], title])
    store = open_store(store_url, timeout_ms=10_000)
    student = OnnxStudent.load(bundle_folder(bundles, MODEL, version))
    options = IndexOptions(reject_file=folder / "rejects.jsonl", restart=True)
    index(open_catalogue(catalogue), student, store, options, lambda *_: None)
    store.close()


def indexed_versions(folder: Path, url: str | None = None) -> str:
    """URL of a store with rows of versions 1 and 2, and others of version 3: LMDB, or as given."""
    bundles = three_versions(folder)
    url = url or f"lmdb:{folder / 'rows'}"
    index_rotated(url, bundles, "1", 0, folder)
    index_rotated(url, bundles, "3", 1, folder)
    return url


def operate(
    stack: ExitStack, store: str, bundles: Path, folder: Path, settings: dict[str, str]
) -> Operated:
    """A ready service of two workers with admin calls, version 1 active."""
    port = free_port()
    token_file = folder / "token"
    token_file.write_text(TOKEN + "\n")
    chosen = {
        "models": MODEL,
        "workers": "2",
        "bundles": str(bundles),
        "store_refresh_ms": "100",
        "admin_port": str(port),
        "admin_token_file": str(token_file),
        **settings,
    }
    service = start(stack, folder, store, chosen)
    service.wait_for("/readyz")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    # Calls come seconds apart: a connection that the service just closes would fail the next.
    each_its_own = httpx.Limits(max_keepalive_connections=0)
    url = f"http://127.0.0.1:{port}"
    admin = httpx.Client(base_url=url, headers=headers, timeout=180, limits=each_its_own)
    operated = Operated(service, stack.enter_context(admin), bundles, token_file)
    until(lambda: operated.serving() == 2, "two workers that serve")
    return operated


def problem_of(response: httpx.Response, status: int) -> str:
    """The detail of a problem document."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return str(json.loads(response.content)["detail"])
