"""`winnow evaluate --url`: figures of one version of one service, or none."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.command import winnow
from tests.service.conftest import SHOP
from tests.service.rollouts import MODEL, Operated, indexed_versions, operate, three_versions

JUDGED = ("--judgments", SHOP / "judgments.test.csv", "--products", SHOP / "products.csv")


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """A service of two workers; version 3 has the same weights as 1 and 2, and other rows."""
    folder = tmp_path_factory.mktemp("evaluated")
    with ExitStack() as stack:
        store = indexed_versions(tmp_path_factory.mktemp("rows"))
        yield operate(stack, store, three_versions(folder), folder, {})


def evaluate(operated: Operated, model: str, url: str) -> "subprocess.CompletedProcess[str]":
    told = ("evaluate", "--model", model, *JUDGED, "--bootstrap", "100")
    return winnow(*told, "--url", url, bundles=operated.bundles)


def roc_auc(shown: "subprocess.CompletedProcess[str]") -> float:
    assert shown.returncode == 0, shown.stderr
    found: float = json.loads(shown.stdout)["roc_auc"]
    return found


def test_figures_are_of_the_active_version(operated: Operated) -> None:
    operated.reset()
    url = operated.service.url
    shown = evaluate(operated, MODEL, url)
    assert f"{url}: scored by {MODEL} 1" in shown.stderr
    first = roc_auc(shown)
    in_process = winnow(
        *("evaluate", "--model", f"{MODEL}@1", *JUDGED, "--bootstrap", "100"),
        bundles=operated.bundles,
    )
    assert first == pytest.approx(roc_auc(in_process), abs=1e-4)
    # A slash at the end is no other service.
    assert roc_auc(evaluate(operated, f"{MODEL}@1", f"{url}/")) == first
    assert operated.activate("3").status_code == 200
    assert roc_auc(evaluate(operated, f"{MODEL}@3", url)) < first  # its rows are other products'


def test_a_version_that_is_not_active_is_refused(operated: Operated) -> None:
    operated.reset()
    ended = evaluate(operated, f"{MODEL}@3", operated.service.url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"expected {MODEL} 3, its active version is 1" in ended.stderr
    ended = evaluate(operated, "absent", operated.service.url)
    assert f"expected a loaded model 'absent', it serves {MODEL}" in ended.stderr


def test_scores_of_two_versions_are_refused(operated: Operated) -> None:
    operated.reset()
    half = {"version": "3", "share": 0.5}
    assert operated.admin.put(f"/v1/models/{MODEL}/canary", json=half).status_code == 200
    ended = evaluate(operated, MODEL, operated.service.url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"expected all scores from {MODEL} 1" in ended.stderr
    assert "got some from version 3" in ended.stderr


class _SaysHello(BaseHTTPRequestHandler):
    """Some other server, as a wrong port may have."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<h1>Hello</h1>")

    def log_message(self, *_: object) -> None: ...


def test_another_kind_of_server_is_said(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), _SaysHello) as server:
        Thread(target=server.handle_request, daemon=True).start()  # nobody may ask
        told = ("evaluate", "--model", MODEL, *JUDGED, "--bootstrap", "100")
        ended = winnow(*told, "--url", f"http://127.0.0.1:{server.server_port}", bundles=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "expected JSON of /v1/models, got '<h1>Hello</h1>': is it a Winnow" in ended.stderr
