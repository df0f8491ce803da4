"""Versions change while the service answers: in all workers or in none, and never mixed."""

import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from indexing.sets import activate as activate_set
from loadtest.activations import main as activations
from model_store.bundle import open_bundle, revise, write_manifest
from model_store.manifest import Draft
from model_store.registry import bundle_folder, find
from model_store.rollout import make_active
from tests.service.conftest import SHOP, WINNOW, environment
from tests.service.rollouts import (
    MODEL,
    QUERIES,
    TOKEN,
    Operated,
    index_rotated,
    indexed_versions,
    operate,
    other_rows,
    problem_of,
    three_versions,
    until,
)
from tests.service.test_operation import counter, workers_of
from vector_store.open import open_store


@pytest.fixture(scope="module")
def versions_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Rows of versions 1 and 2, and other rows of version 3."""
    return indexed_versions(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def running(versions_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """One service for all tests of this file that don't need their own."""
    folder = tmp_path_factory.mktemp("running")
    with ExitStack() as stack:
        yield operate(stack, versions_store, three_versions(folder), folder, {})


@pytest.fixture
def operated(running: Operated) -> Operated:
    """Version 1 active, nothing beside it."""
    running.reset()
    return running


def test_changes_under_load_fail_no_request_and_mix_nothing(operated: Operated) -> None:
    """The short form of `python -m loadtest.activations --times 1000`."""
    before = _activations(operated, "done")
    assert (
        activations(
            [
                *("--url", operated.service.url),
                *("--admin-url", str(operated.admin.base_url)),
                *("--admin-token-file", str(operated.token_file)),
                *("--model", MODEL, "--versions", "1", "3", "--times", "30"),
                *("--catalogue", str(SHOP / "products.csv")),
                *("--queries", str(SHOP / "queries.csv"), "--rest-seconds", "1"),
            ]
        )
        == 0
    )
    assert _activations(operated, "done") - before == 32  # two to learn the answers by
    assert find(operated.bundles, MODEL).current == "1"


def _activations(operated: Operated, result: str) -> float:
    metrics = operated.service.client.get("/metrics").text
    labels = f'model="{MODEL}",result="{result}",role="active"'
    return counter(metrics, f"winnow_model_activations_total{{{labels}}}")


def test_every_worker_serves_it_when_the_call_returns(operated: Operated, ids: list[str]) -> None:
    for version in ("2", "3", "1"):
        done = operated.activate(version)
        assert done.json() == {
            "model": MODEL, "version": version, "canary": None, "shadow": None,
        }  # fmt: skip
        answered = {operated.answer("lamp", ids[:3])["version"] for _ in range(12)}
        assert answered == {version}
    state = operated.admin.get("/v1/models").json()
    assert state["models"][0]["versions"][:3] == ["1", "2", "3"]
    assert {worker["pid"] for worker in state["workers"]} == set(workers_of(operated.service))
    assert {worker["state"] for worker in state["workers"]} == {"serving"}
    back = operated.admin.post(f"/v1/models/{MODEL}/rollback")
    assert back.json()["version"] == "3"


def test_gauges_are_those_of_the_loaded_versions(operated: Operated, ids: list[str]) -> None:
    """No alert may stand on a retired version; its counters stay, and a new one's start at 0."""
    operated.answer("lamp", ids[:3])
    for role, version in (("canary", "3"), ("shadow", "2")):
        put = operated.admin.put(f"/v1/models/{MODEL}/{role}", json={"version": version})
        assert put.status_code == 200, put.text
    assert _with_gauges(operated) == {"1", "2", "3"}
    lines = operated.service.client.get("/metrics").text.splitlines()
    for series in (
        f'winnow_scored_candidates_total{{model="{MODEL}",version="3"}}',
        f'winnow_canary_unscored_candidates_total{{model="{MODEL}",version="1"}}',
        f'winnow_canary_unscored_candidates_total{{model="{MODEL}",version="3"}}',
        f'winnow_shadow_requests_total{{model="{MODEL}",result="failed",version="2"}}',
        f'winnow_model_activations_total{{model="{MODEL}",result="refused",role="shadow"}}',
    ):
        assert any(line.startswith(f"{series} ") for line in lines), series
    assert operated.activate("2").status_code == 200
    assert _with_gauges(operated) == {"2", "3"}
    operated.reset()
    assert _with_gauges(operated) == {"1"}
    text = operated.service.client.get("/metrics").text
    assert counter(text, f'winnow_model_workers{{model="{MODEL}",state="ready"}}') == 2
    assert counter(text, "winnow_store_up") == 1
    assert counter(text, f'winnow_scored_candidates_total{{model="{MODEL}",version="1"}}') > 0
    assert f'winnow_scored_candidates_total{{model="{MODEL}",version="2"}}' in text


def _with_gauges(operated: Operated) -> set[str]:
    """Versions that have gauges; every gauge has the same ones."""
    text = operated.service.client.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    found = [
        {sample.labels["version"] for sample in families[name].samples}
        for name in (
            "winnow_model_ready",
            "winnow_vector_set_products",
            "winnow_vector_set_sealed_timestamp_seconds",
        )
    ]
    assert found == [found[0]] * 3
    return found[0]


def _truncated(folder: Path) -> str:
    path = folder / "query.onnx"
    path.write_bytes(path.read_bytes()[:-100])
    return "query.onnx: expected"


def _foreign_fingerprint(folder: Path) -> str:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "vector_fingerprint": "0" * 64}))
    return "vector_fingerprint expected"


def _drifted(folder: Path) -> str:
    """Whole files, other numbers: the golden rows tell."""
    manifest = open_bundle(folder).manifest
    golden = dict(np.load(folder / "golden.npz"))
    golden["head.float32"] = golden["head.float32"] + 0.5
    for name in ("head.int8", "head.native"):
        if name in golden:
            golden[name] = golden[name] + 0.5
    np.savez(folder / "golden.npz", **golden)
    (folder / "manifest.json").unlink()
    write_manifest(folder, Draft(**{n: getattr(manifest, n) for n in Draft.model_fields}))
    return "golden rows of head"


def _no_vectors(folder: Path) -> str:
    manifest = open_bundle(folder).manifest
    fields = {n: getattr(manifest, n) for n in Draft.model_fields}
    (folder / "manifest.json").unlink()
    write_manifest(folder, Draft(**{**fields, "product_row": other_rows(manifest, "nowhere")}))
    return "no live vector set"


@pytest.mark.parametrize(
    ("version", "damage"),
    [("11", _truncated), ("12", _foreign_fingerprint), ("13", _drifted), ("14", _no_vectors)],
)
def test_a_bad_version_leaves_the_old_one_serving_and_says_why(
    operated: Operated, ids: list[str], version: str, damage: Callable[[Path], str]
) -> None:
    before, refusals = operated.answer("lamp", ids[:20]), _activations(operated, "refused")
    first = bundle_folder(operated.bundles, MODEL, "1")
    expected = damage(revise(first, operated.bundles, {"version": version}))
    assert expected in problem_of(operated.activate(version), 409)
    assert [operated.answer("lamp", ids[:20]) for _ in range(6)] == [before] * 6
    assert find(operated.bundles, MODEL).current == "1"
    until(lambda: operated.status()["refused"] is not None, "a refusal in /v1/models")
    refused = operated.status()["refused"]
    assert (refused["role"], refused["version"]) == ("active", version)
    assert expected in refused["reason"]
    assert _activations(operated, "refused") == refusals + 1
    assert operated.activate("3").status_code == 200
    until(lambda: operated.status()["refused"] is None, "no refusal any more")


def test_workers_that_are_killed_come_back_with_what_the_others_serve(
    operated: Operated, ids: list[str]
) -> None:
    """A worker dies at another moment of each activation; it succeeds all the same."""
    for turn, version in enumerate(("2", "3", "1", "2")):
        victim = workers_of(operated.service)[turn % 2]
        timer = threading.Timer(0.03 * turn, os.kill, (victim, signal.SIGKILL))
        timer.start()
        done = operated.activate(version)
        timer.join()
        assert done.status_code == 200, done.text
        until(lambda: operated.serving() == 2, "two workers that serve")
        answered = Counter(_version(operated, ids) for _ in range(20))
        assert set(answered) == {version}


def _version(operated: Operated, ids: list[str]) -> str:
    while True:
        try:
            return str(operated.answer("lamp", ids[:3])["version"])
        except httpx.TransportError:
            continue  # a connection that the killed worker had taken


def test_a_worker_that_hangs_keeps_all_workers_at_the_old_version(
    versions_store: str, tmp_path: Path, ids: list[str], stack: ExitStack
) -> None:
    settings = {"activation_timeout_s": "5"}
    operated = operate(stack, versions_store, three_versions(tmp_path), tmp_path, settings)
    victim = workers_of(operated.service)[0]
    os.kill(victim, signal.SIGSTOP)
    try:
        detail = problem_of(operated.activate("2"), 409)
    finally:
        os.kill(victim, signal.SIGCONT)
    assert str(victim) in detail
    until(lambda: operated.serving() == 2, "two workers that serve")
    assert {_version(operated, ids) for _ in range(20)} == {"1"}
    until(lambda: operated.activate("2").status_code == 200, "the version after all")


def test_the_registry_is_followed_and_a_bad_pointer_is_not(
    operated: Operated, versions_store: str, ids: list[str]
) -> None:
    """As on another host that shares the folder, or has got a copy of it."""
    command = [*WINNOW, "models", "activate", MODEL, "3", "--json"]
    settings = {"store": versions_store, "bundles": str(operated.bundles)}
    done = subprocess.run(command, env=environment(settings), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    until(lambda: operated.answer("lamp", ids[:3])["version"] == "3", "version 3")
    first = bundle_folder(operated.bundles, MODEL, "1")
    expected = _truncated(revise(first, operated.bundles, {"version": "15"}))
    make_active(operated.bundles, MODEL, "15")
    until(lambda: operated.status()["refused"] is not None, "a refusal in /v1/models")
    assert expected in operated.status()["refused"]["reason"]
    assert operated.answer("lamp", ids[:3])["version"] == "3"
    make_active(operated.bundles, MODEL, "1")
    until(lambda: operated.answer("lamp", ids[:3])["version"] == "1", "version 1")
    until(lambda: operated.status()["refused"] is None, "no refusal any more")


def test_a_new_generation_of_rows_is_switched_to_under_load(
    tmp_path: Path, ids: list[str], stack: ExitStack
) -> None:
    """Every answer is of the old rows or of the new ones; after the switch, of the new ones."""
    bundles = three_versions(tmp_path)
    url = f"lmdb:{tmp_path / 'rows'}"
    index_rotated(url, bundles, "1", 0, tmp_path)
    operated = operate(stack, url, bundles, tmp_path, {})
    first_set = operated.status()["vector_set"]
    old = {query: operated.answer(query, ids[:300]) for query in QUERIES}
    seen: list[tuple[str, dict[str, object]]] = []
    ended = threading.Event()

    def load() -> None:
        with httpx.Client(base_url=operated.service.url, timeout=60) as client:
            while not ended.is_set():
                for query in QUERIES:
                    body = {"query": query, "product_ids": ids[:300], "deadline_ms": 60_000}
                    answer = client.post("/score", json=body)
                    assert answer.status_code == 200, answer.text
                    seen.append((query, {**answer.json(), "timings_ms": None}))

    clients = [threading.Thread(target=load) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        index_rotated(url, bundles, "1", 1, tmp_path)
        until(lambda: operated.status()["vector_set"] != first_set, "the new set")
        store = open_store(url)
        for _ in range(3):  # back and forth, by the pointer alone
            live = store.live(store.header(first_set).fingerprint)
            other = next(h.set_id for h in store.headers() if h.set_id != live)
            activate_set(store, other)
            until(lambda other=other: operated.status()["vector_set"] == other, "it")  # type: ignore[misc]
        store.close()
    finally:
        ended.set()
        for client in clients:
            client.join()
    index_rotated(url, bundles, "1", 1, tmp_path)
    until(lambda: _all(operated, QUERIES[0], ids) != [old[QUERIES[0]]] * 8, "new rows")
    until(lambda: len(set(map(str, _all(operated, QUERIES[0], ids)))) == 1, "one set")
    new = {query: operated.answer(query, ids[:300]) for query in QUERIES}
    assert all(new[query]["scores"] != old[query]["scores"] for query in QUERIES)
    which: Counter[bool] = Counter()
    for query, answer in seen:
        is_old = answer["scores"] == old[query]["scores"]
        assert is_old or answer["scores"] == new[query]["scores"], "rows of both sets in one answer"
        which[is_old] += 1
    assert which[True]
    assert which[False]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Stops what a test has started."""
    with ExitStack() as opened:
        yield opened


def _all(operated: Operated, query: str, ids: list[str]) -> list[dict[str, object]]:
    return [operated.answer(query, ids[:300]) for _ in range(8)]


def test_admin_calls_want_the_token_and_answer_in_problem_documents(operated: Operated) -> None:
    admin = operated.admin
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        refused = admin.get("/v1/models", headers=headers)
        assert "admin token" in problem_of(refused, 401)
        assert refused.headers["www-authenticate"].startswith("Bearer realm=")
    anonymous = httpx.get(f"{admin.base_url}/v1/models")
    assert anonymous.status_code == 401
    assert "shop-deepdot" in problem_of(
        admin.post("/v1/models/nobody/activate", json={"version": "1"}), 404
    )
    assert "published: 1, 2, 3" in problem_of(operated.activate("9"), 404)
    url = f"/v1/models/{MODEL}"
    assert "version" in problem_of(admin.post(f"{url}/activate", json={}), 422)
    assert "JSON" in problem_of(admin.post(f"{url}/activate", content=b"{"), 400)
    share = {"version": "2", "share": 1.5}
    assert "share" in problem_of(admin.put(f"{url}/canary", json=share), 422)
    assert "POST" in problem_of(admin.get("/v1/nothing"), 404)
    # The service itself has none of these calls.
    assert operated.service.client.post(f"{url}/rollback").status_code == 404


@pytest.mark.parametrize(
    ("token", "expected"),
    [("short", "16 characters"), (None, "can't be read")],
)
def test_a_bad_token_file_ends_in_one_line(
    versions_store: str, tmp_path: Path, token: str | None, expected: str
) -> None:
    path = tmp_path / "token"
    if token is not None:
        path.write_text(token)
    settings = {
        "store": versions_store,
        "models": MODEL,
        "bundles": str(three_versions(tmp_path)),
        "admin_port": "1",
        "admin_token_file": str(path),
    }
    ended = subprocess.run(
        [*WINNOW, "serve"], env=environment(settings), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert expected in ended.stderr
