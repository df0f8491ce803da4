"""Metrics that alerts stand on: states, the age of the set, the store, and workers that died."""

import os
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.exposition import MULTIPROCESS_VARIABLE
from tests.conftest import RedisServer
from tests.service.conftest import MODELS, Service, StartService, index_shop
from tests.service.test_operation import counter, workers_of
from vector_store.open import open_store

MODEL = MODELS[1]
COMES_WITHIN_S = 60


def page(service: Service) -> str:
    """The metrics page over a connection of its own, so that any worker may answer."""
    return httpx.get(f"{service.url}/metrics", timeout=30).text


def wait_for(service: Service, series: str, value: float) -> str:
    """Reads the metrics until a series has a value; that page."""
    give_up = time.monotonic() + COMES_WITHIN_S
    text = ""
    while time.monotonic() < give_up:
        try:
            text = page(service)
        except httpx.TransportError:
            continue  # the connection of a worker that was killed
        if f"{series} {value}" in text.splitlines():
            return text
        time.sleep(0.05)
    found = [line for line in text.splitlines() if line.startswith(series.partition("{")[0])]
    pytest.fail(f"expected {series} {value}, got {found}")


def state(name: str) -> str:
    return f'winnow_model_workers{{model="{MODEL}",state="{name}"}}'


@pytest.fixture
def redis_url_of_one(redis_server: RedisServer, tmp_path: Path) -> str:
    """A Redis of this test's own, with the rows of one student."""
    index_shop(redis_server.url, (MODEL,), tmp_path)
    return redis_server.url


def test_every_counter_starts_at_0(lmdb_store: str, start_service: StartService) -> None:
    """A series that appears with its first failure has no increase that `rate` could see."""
    service = start_service(lmdb_store, {"models": MODEL, "max_inflight_candidates": "20000"})
    service.wait_for("/readyz")
    version = service.wait_for("/v1/models").json()["models"][0]["version"]
    text = page(service)
    lines = set(text.splitlines())
    for series in (
        'winnow_degraded_responses_total{endpoint="/filter",reason="store_error"}',
        'winnow_request_duration_seconds_count{code="503",endpoint="/score"}',
        f'winnow_model_activations_total{{model="{MODEL}",result="refused",role="active"}}',
        f'winnow_scored_candidates_total{{model="{MODEL}",version="{version}"}}',
        'winnow_shed_requests_total{endpoint="/score"}',
        'winnow_stage_duration_seconds_count{stage="head"}',
        'winnow_store_failures_total{operation="rows"}',
        'winnow_unscored_candidates_total{reason="missing_product"}',
    ):
        assert f"{series} 0.0" in lines, series
    assert "winnow_inflight_candidates_limit 20000.0" in lines
    assert "winnow_store_up 1.0" in lines
    assert any(line.startswith("winnow_build_info{version=") for line in lines)
    for family in text_string_to_metric_families(text):
        assert family.documentation != "Multiprocess metric", family.name
        for sample in family.samples:
            assert not {"pid", "query", "product_id"} & set(sample.labels), sample


def test_the_live_set_says_when_it_was_sealed(lmdb_store: str, start_service: StartService) -> None:
    service = start_service(lmdb_store, {"models": MODEL})
    service.wait_for("/readyz")
    with_set = service.wait_for("/v1/models").json()["models"][0]
    store = open_store(lmdb_store, read_only=True)
    sealed = store.header(with_set["vector_set"]).sealed
    store.close()
    assert sealed is not None
    labels = f'{{model="{MODEL}",version="{with_set["version"]}"}}'
    shown = counter(page(service), f"winnow_vector_set_sealed_timestamp_seconds{labels}")
    assert shown == datetime.fromisoformat(sealed).timestamp()


def test_states_of_a_model(
    redis_server: RedisServer, tmp_path: Path, start_service: StartService
) -> None:
    service = start_service(redis_server.url, {"models": MODEL, "store_refresh_ms": "50"})
    wait_for(service, state("no_vector_set"), 1.0)
    index_shop(redis_server.url, (MODELS[2],), tmp_path)
    wait_for(service, state("fingerprint_mismatch"), 1.0)
    index_shop(redis_server.url, (MODEL,), tmp_path)
    text = wait_for(service, state("ready"), 1.0)
    assert f"{state('fingerprint_mismatch')} 0.0" in text
    before = counter(text, 'winnow_store_failures_total{operation="live_set"}')
    redis_server.stop()
    text = wait_for(service, state("store_down"), 1.0)
    wait_for(service, "winnow_store_up", 0.0)
    assert counter(text, 'winnow_store_failures_total{operation="live_set"}') > before
    redis_server.start()  # empty: it kept nothing
    wait_for(service, "winnow_store_up", 1.0)
    wait_for(service, state("no_vector_set"), 1.0)


def test_rows_that_the_store_does_not_give_are_counted(
    redis_server: RedisServer, redis_url_of_one: str, start_service: StartService
) -> None:
    settings = {"models": MODEL, "store_refresh_ms": "600000", "row_cache_mb": "0"}
    service = start_service(redis_url_of_one, settings)
    service.wait_for("/readyz")
    redis_server.stop()
    assert service.score("lamp", ["p0001"]).status_code == 503
    assert counter(page(service), 'winnow_store_failures_total{operation="rows"}') == 1


def test_gauges_of_a_killed_worker_go_and_counters_stay(
    lmdb_store: str, start_service: StartService, ids: list[str]
) -> None:
    """SIGKILL, in the middle of requests: no farewell, its files are still there."""
    service = start_service(
        lmdb_store, {"workers": "2", "models": MODEL, "max_inflight_candidates": "20000"}
    )
    service.wait_for("/readyz")
    wait_for(service, state("ready"), 2.0)
    folder = _metrics_folder(service)
    victim = workers_of(service)[0]
    _until(lambda: bool(list(folder.glob(f"gauge_live*_{victim}.db"))))
    for _ in range(20):  # each on a connection of its own, so that both workers get some
        body = {"query": "a", "product_ids": ids[:50]}
        httpx.post(f"{service.url}/score", json=body, timeout=30).raise_for_status()
    version = service.wait_for("/v1/models").json()["models"][0]["version"]
    series = f'winnow_scored_candidates_total{{model="{MODEL}",version="{version}"}}'
    assert counter(page(service), series) == 1000
    counters = list(folder.glob(f"counter_{victim}.db"))
    os.kill(victim, signal.SIGKILL)
    _until(lambda: victim not in workers_of(service))
    text = wait_for(service, state("ready"), 2.0)  # the survivor and the one that replaced it
    assert victim not in workers_of(service)
    # The page may be of the moment before the kill was seen; the next one of any worker isn't.
    text = wait_for(service, state("ready"), 2.0)
    assert not list(folder.glob(f"gauge_live*_{victim}.db"))
    assert list(folder.glob(f"counter_{victim}.db")) == counters
    assert counter(text, series) == 1000
    assert counter(text, "winnow_inflight_candidates") == 0
    assert counter(text, "winnow_inflight_candidates_limit") == 40_000
    assert counter(text, "winnow_store_up") == 1


def _metrics_folder(service: Service) -> Path:
    environment = Path(f"/proc/{workers_of(service)[0]}/environ").read_bytes().split(b"\0")
    (folder,) = (
        entry.partition(b"=")[2]
        for entry in environment
        if entry.startswith(f"{MULTIPROCESS_VARIABLE}=".encode())
    )
    return Path(os.fsdecode(folder))


def _until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + COMES_WITHIN_S
    while not condition():
        assert time.monotonic() < give_up, "it did not come"
        time.sleep(0.02)
