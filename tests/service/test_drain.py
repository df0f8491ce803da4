"""SIGTERM under load: callers are sent elsewhere before a connection of theirs is closed."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from loadtest.client import Client
from tests.service.conftest import Service, StartService
from tests.service.rollouts import until
from tests.service.test_bad_requests import problem
from tests.service.test_operation import counter, workers_of

MODEL = "shop-deepdot"
BODY = b'{"query":"shoes","product_ids":["p0001"],"deadline_ms":20000}'


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_no_request_fails_after_sigterm(
    workers: int,
    cheap_store: str,
    start_service: StartService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Clients that leave when they are told to are all gone before the doors close."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    settings = {"models": MODEL, "drain_ms": "60000", "workers": str(workers)}
    service = start_service(cheap_store, settings)
    service.wait_for("/readyz")
    ready = f'winnow_model_workers{{model="{MODEL}",state="ready"}}'
    until(lambda: counter(httpx.get(f"{service.url}/metrics").text, ready) == workers, ready)
    seen = Seen()
    with Client(service.url) as idle:
        assert idle.post("/score", BODY).status == 200
        told_before = idle.told_to_leave
        clients = [threading.Thread(target=seen.until_told, args=(service,)) for _ in range(4)]
        late = threading.Thread(target=seen.anew, args=(service,))
        for client in (*clients, late):
            client.start()
        time.sleep(1)
        told = [service.process.pid]
        if workers == 2:  # as systemd does: to all processes of the service
            told += workers_of(service)
        for pid in told:
            os.kill(pid, signal.SIGTERM)
        problem(service.wait_for("/readyz", 503), 503)
        assert service.client.get("/healthz").status_code == 200
        assert idle.post("/score", BODY).status == 200  # its connection was not closed on it
        while not idle.told_to_leave:  # its worker hears of it a moment after the others, perhaps
            assert idle.post("/score", BODY).status == 200
        assert not told_before
    for client in clients:
        client.join()
    time.sleep(1)  # a balancer that hears of it late; by now the workers have been told twice
    seen.enough.set()
    late.join()
    assert (seen.told, seen.failed) == (4, [])
    # Nobody asks any more, so it does not take the minute that it may.
    assert service.process.wait(timeout=50) == 0
    assert set(tmp_path.glob("winnow-workers-*")) == set()  # its folder has gone with it
    assert "Traceback" not in service.log.read_text()


class Seen:
    """What clients in threads saw."""

    def __init__(self) -> None:
        self.told = 0
        self.failed: list[str] = []
        self.enough = threading.Event()
        self._lock = threading.Lock()

    def until_told(self, service: Service) -> None:
        """Asks over one connection until an answer closes it."""
        with Client(service.url) as client:
            while not client.told_to_leave and not self.failed:
                self._noting(lambda: client.post("/score", BODY).status)
        with self._lock:
            self.told += 1

    def anew(self, service: Service) -> None:
        """A connection per request: a balancer that goes on sending."""
        while not self.enough.is_set():
            with Client(service.url) as client:
                self._noting(lambda: client.post("/filter", BODY[:-1] + b',"sort":"price"}').status)

    def _noting(self, ask: Callable[[], int]) -> None:
        try:
            status = ask()
        except Exception as error:
            self.failed.append(repr(error))
        else:
            if status != 200:
                self.failed.append(str(status))
