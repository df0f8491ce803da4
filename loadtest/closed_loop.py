"""A few connections that each wait for an answer before they ask again: throughput, and latency
without queueing. What arrives while a server stalls is `open_loop`'s matter.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from loadtest.client import Client, Outcome, ServerGone
from loadtest.traffic import Request


@dataclass
class Measured:
    """Latencies in ms in the order the answers came, stages in ms, and how the answers counted."""

    wall_s: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    outcomes: Counter[Outcome] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return len(self.latencies_ms) / self.wall_s

    def require_ok(self) -> None:
        """Raises:
        ServerGone: an answer was degraded, shed or failed; fast answers of that kind don't count.
        """
        bad = {outcome: count for outcome, count in self.outcomes.items() if outcome != "ok"}
        if bad:
            raise ServerGone(f"expected only fully scored answers, got {bad} of the others")


def measure(url: str, requests: Sequence[Request], connections: int = 1) -> Measured:
    """Sends all requests over so many connections, each request once.

    Raises:
        ServerGone, OSError: the server went away; what was measured until then is lost.
    """
    measured = Measured()
    todo = iter(requests)
    errors: list[ServerGone | OSError] = []
    clients = [Client(url) for _ in range(connections)]
    threads = [
        threading.Thread(target=_send, args=(client, todo, measured, errors)) for client in clients
    ]
    started = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    measured.wall_s = perf_counter() - started
    for client in clients:
        client.close()
    if errors:
        raise errors[0]
    return measured


def _send(
    client: Client,
    todo: Iterator[Request],
    measured: Measured,
    errors: list[ServerGone | OSError],
) -> None:
    # One shared iterator and appends to lists: each is a single step under the interpreter's lock.
    try:
        for request in todo:
            started = perf_counter()
            answer = client.post(request.path, request.body)
            measured.latencies_ms.append((perf_counter() - started) * 1e3)
            measured.outcomes[answer.outcome] += 1
            for stage, ms in answer.timings_ms.items():
                measured.stages_ms.setdefault(stage, []).append(ms)
    except (ServerGone, OSError) as error:
        errors.append(error)
