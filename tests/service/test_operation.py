"""Health, models, info, metrics over several workers, and the OpenAPI document."""

import json
import os
import signal
import socket
import time

import httpx
import pytest

from model_store.student import OnnxStudent
from tests.service.conftest import MODELS, Service, StartService


def counter(text: str, series: str) -> float:
    """Value of one series of a metrics page, 0 where it is not there yet."""
    for line in text.splitlines():
        if line.startswith(f"{series} "):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def test_health(service: Service) -> None:
    assert service.client.get("/healthz").json() == {"status": "live"}
    assert service.client.get("/readyz").json() == {"status": "ready"}


def test_models_name_version_set_and_thresholds(
    service: Service, students: dict[str, OnnxStudent], ids: list[str]
) -> None:
    listed = service.client.get("/v1/models").json()["models"]
    assert [model["name"] for model in listed] == list(MODELS)
    assert [model["default"] for model in listed] == [True, False, False]
    for model in listed:
        manifest = students[model["name"]].manifest
        assert model["ready"] is True
        assert model["reason"] is None
        assert model["version"] == manifest.version
        assert model["vector_set"].startswith(manifest.vector_fingerprint[:8])
        assert model["products"] == len(ids)
        assert model["thresholds"]["price"] == manifest.thresholds.price
        assert model["precision"]["head"] == manifest.graphs["head"].run


def test_info_shows_limits_and_threads_in_force(service: Service) -> None:
    info = service.client.get("/info").json()
    assert info["limits"]["max_candidates"] == 10_000
    threads = info["threads"]
    assert threads["workers"] == 1
    assert 1 <= threads["ort_threads"] * threads["workers"] <= max(1, threads["cpus"])
    assert "redis://" not in str(info)  # no address, no password


def test_the_openapi_document_names_every_endpoint_and_error(service: Service) -> None:
    document = service.client.get("/openapi.json").json()
    one, version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    assert set(document["paths"]) == {
        *("/score", "/filter", "/explain", "/rerank", "/v1/rerank", "/v2/rerank"),
        *("/healthz", "/readyz", "/v1/models", "/info", "/metrics"),
        *("/v2", "/v2/health/live", "/v2/health/ready"),
        *(f"{path}{what}" for path in (one, version) for what in ("", "/ready", "/infer")),
    }
    for path in ("/score", "/filter"):
        operation = document["paths"][path]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert {"query", "product_ids"} <= set(schema["required"])
        for status in ("400", "404", "413", "415", "422", "429", "503"):
            assert list(operation["responses"][status]["content"]) == ["application/problem+json"]
    (metrics_type,) = document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert service.client.get("/metrics").headers["content-type"].startswith(metrics_type)
    assert service.client.get("/docs").status_code == 200


def test_metrics_of_one_request(
    service: Service, ids: list[str], students: dict[str, OnnxStudent]
) -> None:
    version = students[MODELS[0]].manifest.version
    before = service.client.get("/metrics").text
    service.score("metrics", [*ids[:9], "nobody"])
    after = service.client.get("/metrics").text
    for series, grown in (
        (f'winnow_scored_candidates_total{{model="{MODELS[0]}",version="{version}"}}', 9),
        ('winnow_unscored_candidates_total{reason="missing_product"}', 1),
        ('winnow_request_duration_seconds_count{code="200",endpoint="/score"}', 1),
        ('winnow_stage_duration_seconds_count{stage="head"}', 1),
    ):
        assert counter(after, series) - counter(before, series) == grown, series
    assert counter(after, "winnow_inflight_candidates") == 0


def test_a_client_that_has_gone_frees_its_work(service: Service, ids: list[str]) -> None:
    """Ten thousand candidates, nobody waiting: the rest of the tiles is never scored."""
    series = 'winnow_unscored_candidates_total{reason="deadline"}'
    body = json.dumps({"query": "gone", "product_ids": (ids * 4)[:10_000], "deadline_ms": 60_000})
    request = (
        f"POST /score HTTP/1.1\r\nHost: winnow\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    before = counter(service.client.get("/metrics").text, series)
    give_up = time.monotonic() + 30
    while counter(service.client.get("/metrics").text, series) == before:
        assert time.monotonic() < give_up, "no abandoned request was cut short"
        with socket.create_connection((service.client.base_url.host, service.port)) as hasty:
            hasty.sendall(request)
        time.sleep(0.1)
    assert counter(service.client.get("/metrics").text, "winnow_inflight_candidates") == 0


def workers_of(service: Service) -> list[int]:
    """Process ids of the workers, as Linux lists a process's children."""
    children = f"/proc/{service.process.pid}/task/{service.process.pid}/children"
    with open(children) as file:  # noqa: PTH123 - no regular file
        pids = [int(pid) for pid in file.read().split()]
    return [pid for pid in pids if b"spawn_main" in _command(pid)]


def _command(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - no regular file
        return file.read()


@pytest.fixture
def two_workers(lmdb_store: str, start_service: StartService) -> Service:
    """A ready service with two workers."""
    service = start_service(lmdb_store, {"workers": "2", "models": MODELS[1]})
    service.wait_for("/readyz")
    return service


def test_metrics_are_summed_over_workers_and_survive_one(
    two_workers: Service, ids: list[str]
) -> None:
    series = 'winnow_request_duration_seconds_count{code="200",endpoint="/score"}'
    workers = workers_of(two_workers)
    assert len(workers) == 2
    _spread(two_workers.url, ids, 40)
    pages = {counter(_fresh_get(two_workers.url), series) for _ in range(8)}
    assert pages == {40.0}  # whichever worker answers
    os.kill(workers[0], signal.SIGKILL)
    give_up = time.monotonic() + 30
    while len(set(workers_of(two_workers)) - {workers[0]}) < 2 and time.monotonic() < give_up:
        time.sleep(0.1)
    _spread(two_workers.url, ids, 20)
    assert counter(_fresh_get(two_workers.url), series) == 60.0  # counters never fall
    assert counter(_fresh_get(two_workers.url), "winnow_inflight_candidates") == 0


def _spread(url: str, ids: list[str], requests: int) -> None:
    """One connection per request, so that both workers get some."""
    done = 0
    give_up = time.monotonic() + 60
    while done < requests and time.monotonic() < give_up:
        try:
            answer = httpx.post(
                f"{url}/score", json={"query": "a", "product_ids": ids[:2]}, timeout=10
            )
        except httpx.TransportError:
            continue  # the killed worker's connection
        assert answer.status_code == 200, answer.text  # a worker that still loads accepts nothing
        done += 1
    assert done == requests


def _fresh_get(url: str) -> str:
    return httpx.get(f"{url}/metrics", timeout=10).text
