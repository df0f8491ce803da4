"""The open loop: a stall shows in every request that was due in it, and every loss is counted."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import orjson
import pytest

from loadtest.open_loop import Report, Run, due_times, problems, report
from loadtest.traffic import Traffic, read_ids, read_queries
from tests.loadtest.conftest import CATALOGUE, PATIENT, QUERIES
from tests.service.conftest import Service, start

RATE = 100.0


def _drive(
    service: Service, seconds: float, connections: int, candidates: int
) -> tuple[Run, Report]:
    traffic = Traffic(read_ids(CATALOGUE), read_queries(QUERIES), 7)
    due_s = due_times(RATE, seconds, "fixed", 7)
    run = Run(service.url, traffic.requests(len(due_s), candidates, endpoint="score"), due_s)
    run.drive(connections, lambda _run, _elapsed_s: None)
    return run, report(run, RATE, len(due_s))


@contextmanager
def _stalled(service: Service, after_s: float, for_s: float) -> Iterator[None]:
    """Freezes the service's process for a while, in the background."""
    timers = [
        threading.Timer(after_s, service.process.send_signal, [signal.SIGSTOP]),
        threading.Timer(after_s + for_s, service.process.send_signal, [signal.SIGCONT]),
    ]
    for timer in timers:
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.join()


@pytest.mark.parametrize("connections", [2, 32])
def test_a_stall_shows_in_every_request_due_in_it(service: Service, connections: int) -> None:
    """Users who wait for their answers would show as many slow ones as there are connections."""
    with _stalled(service, after_s=1.0, for_s=0.3):
        run, found = _drive(service, 2.0, connections, 10)
    slow = [sent for sent in run.sent if sent.latency_ms > 150]
    assert len(slow) >= 10  # due every 10 ms, and those of the first 150 ms of the stall
    assert (found.failed, found.degraded, found.unsent, found.requests) == (0, 0, 0, 200)
    assert found.latency_ms["max"] > 150
    if connections == 2:
        assert found.late >= 10
        assert found.worst_lag_ms > 150


def test_shed_answers_are_counted_apart(rows_url: str, tmp_path: Path) -> None:
    limits = {"max_candidates": "100", "max_inflight_candidates": "100"}
    with ExitStack() as stack:
        service = start(stack, tmp_path, rows_url, {**PATIENT, **limits})
        service.wait_for("/readyz")
        with _stalled(service, after_s=0.3, for_s=0.3):
            run, found = _drive(service, 1.0, 32, 100)
    assert found.shed > 0
    assert found.failed == 0
    assert sum(sent.outcome == "ok" for sent in run.sent) + found.shed == 100
    assert not [what for what in problems(found, None) if "shed" in what]


def test_a_server_that_dies_fails_the_run(service: Service) -> None:
    killer = threading.Timer(0.5, service.process.kill)
    killer.start()
    _, found = _drive(service, 1.0, 8, 10)
    killer.join()
    assert found.failed > 10
    assert found.first_error
    assert problems(found, None)[0] == f"{found.failed} failed"


def test_arrivals() -> None:
    assert due_times(50, 1, "fixed", 7).tolist() == pytest.approx([i / 50 for i in range(50)])
    poisson = due_times(100, 50, "poisson", 7)
    assert np.array_equal(poisson, due_times(100, 50, "poisson", 7))
    gaps = np.diff(poisson)
    assert gaps.min() > 0
    assert gaps.mean() == pytest.approx(0.01, rel=0.05)
    assert gaps.std() == pytest.approx(0.01, rel=0.1)
    with pytest.raises(ValueError, match="expected 1 to 200000 requests"):
        due_times(1e6, 60, "fixed", 7)


@pytest.mark.parametrize(("budget", "code"), [("60000", 0), ("0.001", 1)])
def test_the_command(service: Service, tmp_path: Path, budget: str, code: int) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "loadtest.open_loop", "--url", service.url, "--json"),
            *("--catalogue", CATALOGUE, "--queries", QUERIES, "--rate", "50", "--seconds", "1.5"),
            *("--candidates", "20", "--warmup", "5", "--budget-p99-ms", budget),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    found = orjson.loads(done.stdout)
    assert (found["requests"], found["failed"], found["unsent"]) == (75, 0, 0)
    assert found["stages_ms"]["head"]["p50"] > 0
    assert ("missed: p99" in done.stderr) == bool(code)
