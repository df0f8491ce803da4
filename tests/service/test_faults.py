"""What breaks, and the one documented outcome of each: docs/faults.md is this file in words."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import redis

from model_store.registry import DEFAULT_ROOT, bundle_folder
from model_store.student import OnnxStudent
from tests.conftest import RedisServer
from tests.service.conftest import (
    MODELS,
    WINNOW,
    Service,
    StartService,
    environment,
    expected_scores,
    index_shop,
)
from tests.service.test_bad_requests import problem
from vector_store.open import open_store

MODEL = "shop-bert2dnn"


def row_key(client: "redis.Redis", product_id: str) -> bytes:
    """The one key of a product's row."""
    (key,) = client.scan_iter(match=f"*:{{*}}:{product_id}", count=100_000)
    found: bytes = key
    return found


def test_redis_down_at_the_start_then_up(
    redis_server: RedisServer, start_service: StartService, tmp_path: Path
) -> None:
    redis_server.stop()
    service = start_service(redis_server.url, {"models": MODEL, "store_refresh_ms": "50"})
    service.wait_for_reason("vector store can't be reached")
    detail = str(problem(service.client.get("/readyz"), 503)["detail"])
    assert str(redis_server.port) not in detail  # where the store is stays inside
    response = service.score("shoes", ["p0001"])
    problem(response, 503)
    assert response.headers["retry-after"] == "1"
    page = service.filter("shoes", ["p0001", "p0002"]).json()
    assert page["kept"] == ["p0001", "p0002"]
    assert page["passed_through"] is True
    assert page["coverage"]["degraded"] == {"store_error": 2}
    redis_server.start()
    service.wait_for_reason("winnow index")
    index_shop(redis_server.url, (MODEL,), tmp_path)
    service.wait_for("/readyz")
    assert service.score("shoes", ["p0001"]).json()["coverage"]["full"]


def test_redis_dies_under_a_running_service(
    redis_server: RedisServer, start_service: StartService, tmp_path: Path
) -> None:
    index_shop(redis_server.url, (MODEL,), tmp_path)
    service = start_service(redis_server.url, {"models": MODEL, "store_refresh_ms": "50"})
    service.wait_for("/readyz")
    redis_server.stop()
    response = service.score("shoes", ["p0001"])
    problem(response, 503)
    assert response.headers["retry-after"] == "1"
    page = service.filter("shoes", ["p0001"], {"threshold": 1.0}).json()
    assert page["kept"] == ["p0001"]
    assert page["passed_through"] is True
    assert service.client.get("/healthz").status_code == 200
    problem(service.wait_for("/readyz", 503), 503)
    redis_server.start()
    index_shop(redis_server.url, (MODEL,), tmp_path)
    service.wait_for("/readyz")
    assert service.score("shoes", ["p0001"]).json()["coverage"]["full"]


def test_a_corrupt_row_is_not_scored(
    redis_server: RedisServer,
    start_service: StartService,
    tmp_path: Path,
    titles: dict[str, str],
    students: dict[str, OnnxStudent],
) -> None:
    index_shop(redis_server.url, (MODEL,), tmp_path)
    client = redis.Redis.from_url(redis_server.url)
    key = row_key(client, "p0001")
    client.set(key, b"short")
    client.setrange(row_key(client, "p0002"), 0, np.array([np.nan], dtype="<f2").tobytes())
    service = start_service(redis_server.url, {"models": MODEL})
    service.wait_for("/readyz")
    answer = service.score("shoes", ["p0001", "p0003", "p0002"]).json()
    assert [score is None for score in answer["scores"]] == [True, False, True]
    assert answer["coverage"]["degraded"] == {"corrupt_row": 2}
    expected = expected_scores(students[MODEL], "shoes", [titles["p0003"]])
    np.testing.assert_allclose(answer["scores"][1], expected[0], atol=2e-3)
    page = service.filter("shoes", ["p0001", "p0003"], {"threshold": 0.0}).json()
    assert page["kept"] == ["p0001", "p0003"]
    client.close()


def test_a_set_of_another_fingerprint_is_never_scored(
    redis_server: RedisServer, start_service: StartService, tmp_path: Path
) -> None:
    """BERT2DNN and deep-dot rows are both 64 wide: only the fingerprint tells them apart."""
    index_shop(redis_server.url, ("shop-deepdot",), tmp_path)
    store = open_store(redis_server.url)
    deepdot, bert2dnn = (
        OnnxStudent.load(bundle_folder(DEFAULT_ROOT, name)).manifest
        for name in ("shop-deepdot", MODEL)
    )
    assert deepdot.d_p == bert2dnn.d_p
    service = start_service(redis_server.url, {"models": MODEL, "store_refresh_ms": "50"})
    service.wait_for_reason("no live vector set")
    set_id = store.live(deepdot.vector_fingerprint)
    assert set_id is not None
    # Somebody points this student's fingerprint at the other set by hand.
    with redis.Redis.from_url(redis_server.url) as client:
        client.hset("winnow:live", bert2dnn.vector_fingerprint, set_id)
    reason = service.wait_for_reason("does not hold rows of this student")
    assert deepdot.vector_fingerprint[:8] in reason
    assert bert2dnn.vector_fingerprint[:8] in reason
    problem(service.client.get("/readyz"), 503)
    problem(service.score("shoes", ["p0001"]), 503)
    store.close()


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("head.onnx", "head.onnx: expected"),
        ("vectors.weights", "vectors.weights: expected"),
        ("golden.npz", "golden.npz: expected"),
        ("manifest.json", "manifest.json: not a manifest"),
    ],
)
def test_a_truncated_bundle_is_refused_before_anything_is_served(
    bundles: Path, lmdb_store: str, file: str, expected: str
) -> None:
    path = bundle_folder(bundles, MODEL) / file
    path.write_bytes(path.read_bytes()[:-100])
    settings = {"store": lmdb_store, "models": MODEL, "bundles": str(bundles), "workers": "1"}
    ended = subprocess.run(
        [*WINNOW, "serve"],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert expected in ended.stderr
    assert ended.stderr.count("\n") == 1  # one clear line, no traceback


def test_a_bundle_damaged_while_serving_changes_nothing(
    bundles: Path, lmdb_store: str, start_service: StartService, ids: list[str]
) -> None:
    service = start_service(lmdb_store, {"models": MODEL, "bundles": str(bundles)})
    service.wait_for("/readyz")
    shutil.rmtree(bundles / MODEL)
    assert service.score("shoes", ids[:5]).json()["coverage"]["full"]
    service.wait_for("/readyz")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"models": "nobody"}, "no student named 'nobody'"),
        ({"models": ""}, "several students are active"),
        ({"store": "lmdb:nowhere"}, "no LMDB store"),
        ({"store": "mongodb://x"}, "expected a store URL"),
        ({"port": "http"}, "WINNOW_PORT"),
        ({"typo": "1"}, "unknown setting WINNOW_TYPO"),
    ],
)
def test_what_cannot_be_served_ends_in_one_line(
    lmdb_store: str, settings: dict[str, str], expected: str
) -> None:
    ended = subprocess.run(
        [*WINNOW, "serve"],
        env=environment({"store": lmdb_store, "models": ",".join(MODELS), **settings}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr


def test_overload_is_refused_at_once_and_filter_passes_through(
    lmdb_store: str, start_service: StartService, ids: list[str]
) -> None:
    """Ten candidates may be in flight: two requests of ten at the same time are one too many."""
    settings = {"max_candidates": "10", "max_inflight_candidates": "10", "models": MODEL}
    service = start_service(lmdb_store, settings)
    service.wait_for("/readyz")
    refused = _together(service, "/score", {"query": "shoes", "product_ids": ids[:10]})
    assert refused.keys() == {200, 429}
    passed = _together(
        service, "/filter", {"query": "shoes", "product_ids": ids[:10], "sort": "price"}
    )
    assert passed.keys() == {200}
    metrics = service.client.get("/metrics").text
    assert 'winnow_shed_requests_total{endpoint="/score"}' in metrics
    assert service.score("shoes", ids[:10]).status_code == 200


def _together(service: Service, path: str, body: dict[str, object]) -> dict[int, int]:
    """Status codes of 64 requests sent by 16 threads."""
    from collections import Counter
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: service.client.post(path, json=body), range(64)))
    for answer in answers:
        if answer.status_code == 429:
            problem(answer, 429)
            assert answer.headers["retry-after"] == "1"
    return dict(Counter(answer.status_code for answer in answers))
