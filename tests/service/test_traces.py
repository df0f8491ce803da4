"""Traces as a collector gets them: a real OTLP/HTTP receiver on loopback, and real services."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.observed import open_traces
from service.settings import Settings, SettingsError, read_settings
from tests.service.conftest import MODELS, Service, StartService, free_port

pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http", reason="needs the extra: pip install -e '.[tracing]'"
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STAGES = {"decode", "wait", "rows", "query", "head", "answer"}
QUERY = "a query that nobody may read"
WITHIN_S = 120
ROOT = Path(__file__).parents[2]


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP; `received` has the bodies, as they came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receive)
        self.received: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1/traces"

    def spans(self) -> list[tuple[int, Any]]:
        """Process id of the worker and span, of all that came."""
        found = []
        for body in self.received:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                about = {each.key: each.value for each in resource.resource.attributes}
                assert about["service.name"].string_value == "winnow"
                for scope in resource.scope_spans:
                    found += [(about["process.pid"].int_value, span) for span in scope.spans]
        return found

    def wait_for(self, spans: int) -> list[tuple[int, Any]]:
        """As soon as there are so many."""
        give_up = time.monotonic() + WITHIN_S
        while len(found := self.spans()) < spans:
            assert time.monotonic() < give_up, f"{len(found)} spans of {spans} came"
            time.sleep(0.05)
        return found


class _Receive(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        assert self.headers["Content-Type"] == "application/x-protobuf"
        self.server.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing: a test says what came."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A receiver, and services that send to it ten times a second."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(service: Service, ids: list[str], headers: dict[str, str]) -> httpx.Response:
    """On a connection of its own, so that any worker may get it."""
    body = {"query": QUERY, "product_ids": ids}
    return httpx.post(f"{service.url}/score", json=body, headers=headers, timeout=30)


def test_a_caller_that_samples_gets_the_stages_from_every_worker(
    collector: Collector, lmdb_store: str, start_service: StartService, ids: list[str]
) -> None:
    settings = {"models": MODELS[2], "workers": "2", "log_share": "1"}
    traced = {"trace_endpoint": collector.url, "trace_share": "0"}
    service = start_service(lmdb_store, settings | traced)
    service.wait_for("/readyz")
    workers: set[int] = set()
    asked, give_up = 0, time.monotonic() + WITHIN_S
    while len(workers) < 2 and time.monotonic() < give_up:
        ask(service, ids[:9], {})  # nobody wants this one
        ask(service, ids[:9], {"traceparent": f"00-{TRACE}-{SPAN}-00"})  # nor this one
        ask(service, ids[:9], {"traceparent": f"00-{TRACE}-{SPAN}-01", "X-Request-Id": "seen"})
        asked += 1
        spans = collector.wait_for(asked * (1 + len(STAGES)))
        workers = {pid for pid, _ in spans}
    assert len(workers) == 2
    roots = [span for _, span in spans if span.parent_span_id == bytes.fromhex(SPAN)]
    assert len(roots) == asked
    for root in roots:
        parts = [span for _, span in spans if span.parent_span_id == root.span_id]
        _check(root, parts)
    for body in collector.received:
        assert QUERY.encode() not in body
        assert not any(product.encode() in body for product in ids[:9])
    logged = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert {line["trace_id"] for line in logged if line.get("request_id") == "seen"} == {TRACE}


def _check(root: Any, parts: list[Any]) -> None:
    assert (root.name, root.trace_id.hex(), root.kind) == (
        "POST /score",
        TRACE,
        root.SPAN_KIND_SERVER,
    )
    assert {part.name for part in parts} == STAGES
    assert len(parts) == len(STAGES)
    for part in parts:
        assert part.trace_id == root.trace_id
        assert root.start_time_unix_nano <= part.start_time_unix_nano
        assert part.start_time_unix_nano <= part.end_time_unix_nano <= root.end_time_unix_nano
    said = {each.key: each.value for each in root.attributes}
    assert set(said) == {
        *("http.request.method", "http.route", "http.response.status_code"),
        *("winnow.candidates", "winnow.model", "winnow.version"),
    }
    assert said["http.response.status_code"].int_value == 200
    assert said["winnow.candidates"].int_value == 9


def test_the_share_of_requests_without_a_caller_is_sent_before_the_end(
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    lmdb_store: str,
    start_service: StartService,
    ids: list[str],
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "winnow")
    settings = {"models": MODELS[2], "trace_endpoint": collector.url, "trace_share": "1"}
    service = start_service(lmdb_store, settings)
    service.wait_for("/readyz")  # probes are not traced
    service.client.post("/score", json={"query": 5})
    service.score("tent", [ids[0], "nobody"])
    assert collector.received == []
    service.process.terminate()
    spans = [span for _, span in collector.wait_for(2 + len(STAGES))]
    service.process.wait(timeout=WITHIN_S)
    refused, good = sorted((s for s in spans if not s.parent_span_id), key=_began)
    said = {each.key: each.value for each in refused.attributes}
    assert said["http.response.status_code"].int_value == 422
    assert "winnow.model" not in said
    said = {each.key: each.value for each in good.attributes}
    assert [each.string_value for each in said["winnow.degraded"].array_value.values] == [
        "missing_product"
    ]
    assert refused.trace_id != good.trace_id


def _began(span: Any) -> int:
    began: int = span.start_time_unix_nano
    return began


def test_a_collector_that_is_down_is_no_fault_of_a_request(
    lmdb_store: str, start_service: StartService, ids: list[str]
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}/v1/traces"
    settings = {"models": MODELS[2], "trace_endpoint": endpoint, "trace_share": "1"}
    service = start_service(lmdb_store, settings)
    service.wait_for("/readyz")
    assert service.score("tent", ids[:3]).json()["coverage"]["full"]
    service.process.terminate()
    service.process.wait(timeout=WITHIN_S)  # it gives up and ends
    said = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert any(line["logger"].startswith("opentelemetry") for line in said)


def test_off_it_is_not_even_imported() -> None:
    probe = (
        "import sys; from service.settings import Settings; from service.observed import "
        "open_traces; assert open_traces(Settings(store='lmdb:rows')) is None; "
        "print([m for m in ('service.traces', 'opentelemetry.sdk') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "service.traces", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    settings = Settings(store="lmdb:rows", trace_endpoint="http://127.0.0.1:4318/v1/traces")
    with pytest.raises(SettingsError, match=r"winnow-relevance\[tracing\]"):
        open_traces(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [("WINNOW_TRACE_ENDPOINT", "collector:4318"), ("WINNOW_TRACE_SHARE", "1.5")],
)
def test_settings_that_are_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("WINNOW_STORE", "lmdb:rows")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        read_settings()
