"""Timing one running server: cold start, a check of its scores, sequential and at 8 connections.

Bodies are encoded before the clock starts, and answers are read into scores after it has stopped.
"""

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Barrier, Thread
from time import perf_counter, process_time

import numpy as np
from numpy.typing import NDArray

from loadtest.client import Answer, Client, ServerGone
from loadtest.peers.bodies import BadAnswer, encoded, scores
from loadtest.peers.job import Job
from loadtest.peers.plan import Phase, Question
from loadtest.peers.processes import Running
from loadtest.peers.roster import Server

STARTS_WITHIN_S = 120
ASK_EVERY_S = 0.05
TOLERANCE = 0.02  # int8 graphs and fused kernels differ a little; another model differs a lot


class NotMeasured(Exception):
    """A server did not come up, or answers with other scores; the text says which."""


@dataclass(frozen=True)
class Cell:
    """One phase on one server. A cell with failures does not count."""

    kind: str
    candidates: int
    connections: int
    p50_ms: float
    p99_ms: float
    requests_per_s: float
    client_cpu_ms: float  # of this script, per request: what the measurement itself costs
    failures: int
    first_failure: str


def cold_start_s(server: Server, running: Running, question: Question, started: float) -> float:
    """Seconds from `started` (perf_counter) to the first full list of scores.

    Raises:
        NotMeasured: it ended, or took more than STARTS_WITHIN_S.
    """
    body = encoded(server.protocol, question.body)
    reason = "no answer"
    while perf_counter() - started < STARTS_WITHIN_S:
        if running.process.poll() is not None:
            raise NotMeasured(f"it stopped: {running.last_words()}")
        try:
            with Client(running.url) as client:
                answer = client.post(server.path, body)
            scores(server.protocol, answer.status, answer.body, question.candidates)
        except (OSError, ServerGone, BadAnswer) as error:
            reason = str(error)
            time.sleep(ASK_EVERY_S)
            continue
        return perf_counter() - started
    raise NotMeasured(f"no scores within {STARTS_WITHIN_S} s: {reason}")


def check_scores(
    server: Server, url: str, question: Question, expected: NDArray[np.float32]
) -> float:
    """Largest difference from the job run in this process.

    Raises:
        NotMeasured: it is more than TOLERANCE.
    """
    with Client(url) as client:
        answer = client.post(server.path, encoded(server.protocol, question.body))
    got = scores(server.protocol, answer.status, answer.body, question.candidates)
    difference = float(np.abs(got - expected).max())
    if difference > TOLERANCE:
        raise NotMeasured(
            f"expected the scores of the job in process within {TOLERANCE}, got a difference of "
            f"{difference:.3f}"
        )
    return difference


def measure(server: Server, url: str, phase: Phase) -> Cell:
    """Warms up with the phase's own warm-up requests, then times the rest."""
    warm_up, timed_bodies = (
        [encoded(server.protocol, question.body) for question in questions]
        for questions in (phase.warm_up, phase.timed)
    )
    _exchange(server, url, warm_up, phase.connections)
    gc.collect()
    gc.disable()  # a collection of this script's own would be timed as the server's
    try:
        cpu, started = process_time(), perf_counter()
        timed = _exchange(server, url, timed_bodies, phase.connections)
        wall, cpu = perf_counter() - started, process_time() - cpu
    finally:
        gc.enable()
    failures = []
    for question, (_, answer) in zip(phase.timed, timed, strict=True):
        try:
            if isinstance(answer, str):
                raise BadAnswer(answer)  # noqa: TRY301 - a broken connection counts like any other
            scores(server.protocol, answer.status, answer.body, question.candidates)
        except BadAnswer as error:
            failures.append(str(error))
    return _cell(phase, [ms for ms, _ in timed], wall, cpu, failures)


def measure_floor(job: Job, phase: Phase) -> Cell:
    """The job in this process, one after the other: no server and no HTTP."""
    for question in phase.warm_up:
        job.scores(*question.decoded())
    durations_ms = []
    for question in phase.timed:
        query, product_ids = question.decoded()
        started = perf_counter()
        job.scores(query, product_ids)
        durations_ms.append((perf_counter() - started) * 1e3)
    return _cell(phase, durations_ms, sum(durations_ms) / 1e3, 0.0, [])


_Timed = tuple[float, Answer | str]  # milliseconds, and the answer or why there is none


def _exchange(server: Server, url: str, bodies: Sequence[bytes], connections: int) -> list[_Timed]:
    """Sends every body over `connections` connections; results in the order of the bodies."""
    results: list[_Timed] = [(0.0, "never sent")] * len(bodies)
    if connections == 1:
        _send_all(server, url, bodies, iter(range(len(bodies))), results, None)
        return results
    turns = iter(range(len(bodies)))  # shared: next() of a range iterator is one step of Python
    ready = Barrier(connections)
    threads = [
        Thread(target=_send_all, args=(server, url, bodies, turns, results, ready))
        for _ in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def _send_all(
    server: Server,
    url: str,
    bodies: Sequence[bytes],
    turns: Iterator[int],
    results: list[_Timed],
    ready: Barrier | None,
) -> None:
    """Sends over one connection whatever turn comes next; a broken connection is made again."""
    with ExitStack() as stack:
        client: Client | None = None
        if ready is not None:
            ready.wait()
        for turn in turns:
            started = perf_counter()
            try:
                if client is None:
                    client = stack.enter_context(Client(url))
                answer: Answer | str = client.post(server.path, bodies[turn])
            except (OSError, ServerGone) as error:
                answer, client = f"connection: {error}", None
            results[turn] = ((perf_counter() - started) * 1e3, answer)


def _cell(
    phase: Phase, durations_ms: list[float], wall_s: float, cpu_s: float, failures: list[str]
) -> Cell:
    p50, p99 = np.percentile(durations_ms, (50, 99))
    return Cell(
        phase.kind,
        phase.candidates,
        phase.connections,
        round(float(p50), 3),
        round(float(p99), 3),
        round(len(durations_ms) / wall_s, 1),
        round(cpu_s / len(durations_ms) * 1e3, 3),
        len(failures),
        failures[0] if failures else "",
    )
