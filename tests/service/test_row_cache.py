"""Rows kept in the worker: they are counted, and what changes in the store is forgotten."""

import time
from pathlib import Path

import pytest
import redis

from model_store.bundle import open_bundle
from model_store.registry import DEFAULT_ROOT, bundle_folder
from tests.service.conftest import Service, StartService, index_shop
from vector_store.ids import ProductIds, scan_candidates
from vector_store.live import live_header
from vector_store.open import open_store
from vector_store.rows_library import LIBRARY

MODEL = "shop-bert2dnn"
WITHIN_S = 20
HITS = 'winnow_row_cache_rows_total{result="hit"}'

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="no C compiler: no row cache")


@pytest.fixture(scope="module")
def redis_rows(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A namespace of our own: these tests delete rows."""
    url = f"{redis_url}?ns=cached"
    index_shop(url, (MODEL,), tmp_path_factory.mktemp("redis-cached"))
    return url


def _row_key(store_url: str, product_id: str) -> bytes:
    store = open_store(store_url)
    manifest = open_bundle(bundle_folder(DEFAULT_ROOT, MODEL)).manifest
    header = live_header(store, manifest.vector_fingerprint, manifest.d_p)
    store.close()
    client = redis.Redis.from_url(store_url.partition("?")[0])
    (key,) = list(client.scan_iter(match=f"cached:{header.set_id}:*}}:{product_id}", count=5_000))
    client.close()
    assert isinstance(key, bytes)
    return key


def _metric(service: Service, name: str) -> float:
    lines = service.client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def _until(expected: str, service: Service) -> None:
    give_up = time.monotonic() + WITHIN_S
    state = None
    while time.monotonic() < give_up:
        state = service.client.get("/v1/models").json()["models"][0]["row_cache"]
        if str(state).startswith(expected):
            return
        time.sleep(0.02)
    pytest.fail(f"expected the row cache to be {expected}, it is {state}")


def _start(start_service: StartService, store: str, settings: dict[str, str]) -> Service:
    running = start_service(store, {"models": MODEL, "store_refresh_ms": "20", **settings})
    running.wait_for("/readyz")
    return running


@pytest.mark.parametrize("store", ["lmdb_store", "redis_rows"])
def test_rows_are_fetched_once_and_score_the_same(
    store: str, request: pytest.FixtureRequest, start_service: StartService, ids: list[str]
) -> None:
    service = _start(start_service, request.getfixturevalue(store), {})
    _until("on", service)
    first = service.score("red shoes", ids[:50]).json()["scores"]
    again = service.score("red shoes", ids[25:75]).json()["scores"]
    assert again[:25] == first[25:]
    deadline = time.monotonic() + WITHIN_S
    while (
        time.monotonic() < deadline
        and _metric(service, 'winnow_row_cache_rows_total{result="hit"}') < 25
    ):
        time.sleep(0.02)
    assert _metric(service, HITS) == 25
    assert _metric(service, 'winnow_row_cache_rows_total{result="miss"}') == 75
    assert _metric(service, "winnow_row_cache_held_rows") == 75


@pytest.mark.parametrize("megabytes", ["0", "1"])
def test_with_and_without_the_cache_scores_are_the_same(
    megabytes: str, service: Service, redis_rows: str, start_service: StartService, ids: list[str]
) -> None:
    other = _start(start_service, redis_rows, {"row_cache_mb": megabytes})
    _until("off" if megabytes == "0" else "on", other)
    expected = service.score("steel garden hose", ids, {"model": MODEL}).json()["scores"]
    for _ in range(2):
        assert other.score("steel garden hose", ids).json()["scores"] == expected


def test_a_row_that_is_deleted_is_forgotten(
    redis_rows: str, start_service: StartService, ids: list[str]
) -> None:
    service = _start(start_service, redis_rows, {})
    _until("on", service)
    assert service.score("lamp", ids[:3]).json()["coverage"]["full"]
    key = _row_key(redis_rows, ids[1])
    client = redis.Redis.from_url(redis_rows.partition("?")[0])
    record = client.get(key)
    assert isinstance(record, bytes)
    client.delete(key)
    try:
        give_up = time.monotonic() + WITHIN_S
        scores = []
        while time.monotonic() < give_up:
            scores = service.score("lamp", ids[:3]).json()["scores"]
            if scores[1] is None:
                break
            time.sleep(0.01)
        assert scores[1] is None
        assert scores[0] is not None
    finally:
        client.set(key, record)
        client.close()


def test_a_lost_tracking_connection_empties_the_cache_until_it_is_back(
    redis_rows: str, start_service: StartService, ids: list[str]
) -> None:
    service = _start(start_service, redis_rows, {})
    _until("on", service)
    service.score("lamp", ids[:20])
    client = redis.Redis.from_url(redis_rows.partition("?")[0])
    key = _row_key(redis_rows, ids[0])
    record = client.get(key)
    assert isinstance(record, bytes)
    # While nobody listens the row goes; what the worker kept must not come back with the listener.
    client.client_pause(300, all=False)
    trackers = [c["id"] for c in client.client_list() if "t" in str(c["flags"])]
    assert trackers
    for tracker in trackers:
        client.client_kill_filter(_id=tracker)
    client.delete(key)
    try:
        _until("on", service)
        assert service.score("lamp", ids[:1]).json()["scores"] == [None]
    finally:
        client.set(key, record)
        client.close()


def test_a_new_live_set_brings_a_new_cache(
    tmp_path: Path, start_service: StartService, ids: list[str]
) -> None:
    url = f"lmdb:{tmp_path / 'rows'}"
    index_shop(url, (MODEL,), tmp_path)
    service = _start(start_service, url, {})
    before = service.client.get("/v1/models").json()["models"][0]["vector_set"]
    service.score("lamp", ids[:40])
    index_shop(url, (MODEL,), tmp_path)
    give_up = time.monotonic() + WITHIN_S
    while time.monotonic() < give_up:
        if service.client.get("/v1/models").json()["models"][0]["vector_set"] != before:
            break
        time.sleep(0.02)
    assert service.client.get("/v1/models").json()["models"][0]["vector_set"] != before
    assert service.score("lamp", ids[:40]).json()["coverage"]["full"]


def test_ids_of_every_kind_come_back_from_filter_as_they_were_sent(service: Service) -> None:
    """Through the fast scan, and past it: escapes, quotes, other scripts, repeated ids."""
    plain = ["p0001", "p0001", "鞋-42", "é è", "x" * 256]
    odd = ['quo"te', "back\\slash", "tab\there", "nul\x00", "line\u2028sep", "😀"]
    for sent in (plain, odd, [*plain, *odd], []):
        answer = service.filter("shoes", sent)
        assert answer.status_code == 200, answer.text
        assert answer.json()["kept"] + answer.json()["removed"] == sent
    scanned = scan_candidates(b'{"query": "shoes", "product_ids": ["a", "b"]}')
    assert scanned is not None
    assert scanned.ids.strings() == ProductIds.from_strings(["a", "b"]).strings()
