"""Requests at a fixed arrival rate, each timed from the moment at which it was meant to be sent.

    python -m loadtest.open_loop --url http://127.0.0.1:8000 --catalogue products.csv \
        --queries queries.txt --rate 200 --seconds 20

Shoppers don't wait for each other: while a server stalls, requests go on arriving, and each of them
has waited. A driver whose users wait for answers sends one request into a stall and shows one slow
answer (coordinated omission). A request that finds no free connection goes out late; its latency
counts from when it was due.

Threads with blocking sockets, because an event loop's timers are only good to a millisecond. Exit
code 1 when an answer failed or was degraded, a request could not be sent, or the budget is missed;
shed answers (429, or /filter passing through) are counted apart.
"""

import argparse
import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import orjson
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from loadtest.client import Answer, Client, Outcome, ServerGone
from loadtest.figures import quantiles, short
from loadtest.traffic import Kind, Request, Traffic, read_ids, read_queries

MAX_REQUESTS = 200_000
LATE_MS = 2.0  # sent so much after it was due: the connections, or this client, did not keep up
DRAIN_S = 5.0  # after the last arrival; what is not sent by then stays unsent
_CONSOLE = Console(stderr=True)

Arrivals = Literal["poisson", "fixed"]


@dataclass(frozen=True, slots=True)
class Sent:
    """One request: when it was due (seconds from the start), and how it went.

    status: of the answer, 0 where none came
    """

    due_s: float
    lag_ms: float
    latency_ms: float
    outcome: Outcome
    status: int


class Run:
    """The schedule, and what has come of it so far; shared by the connections' threads."""

    def __init__(self, url: str, requests: list[Request], due_s: NDArray[np.float64]) -> None:
        """Request i is meant to leave `due_s[i]` seconds after the start; float64 [n], rising."""
        self._url = url
        self._requests = requests
        self._due_s: list[float] = due_s.tolist()
        self._next: Iterator[int] = iter(range(len(requests)))
        self._started = 0.0
        self.sent: list[Sent] = []
        self.stages_ms: dict[str, list[float]] = {}
        self.first_error = ""

    def drive(self, connections: int, on_second: Callable[["Run", float], None]) -> None:
        """Returns when each request is answered, or `DRAIN_S` after the last was due.

        `on_second` is called with the seconds since the start.

        Raises:
            OSError, ServerGone: nobody listens there, or nobody who answers.
        """
        clients = [Client(self._url, timeout_s=DRAIN_S) for _ in range(connections)]
        for client in clients:  # a pool that stands; being let in takes a moment
            client.get("/healthz")
        threads = [threading.Thread(target=self._connection, args=(each,)) for each in clients]
        self._started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(1.0)
                on_second(self, self._elapsed_s())

    def _elapsed_s(self) -> float:
        return time.perf_counter() - self._started

    def _connection(self, client: Client | None) -> None:
        give_up_s = self._due_s[-1] + DRAIN_S
        for i in self._next:  # one shared iterator: each request has one taker
            wait_s = self._due_s[i] - self._elapsed_s()
            if wait_s > 0:
                time.sleep(wait_s)
            elif self._elapsed_s() > give_up_s:
                break
            sent_s = self._elapsed_s()
            try:
                client = client or Client(self._url, timeout_s=DRAIN_S)
                answer = client.post(self._requests[i].path, self._requests[i].body)
            except (ServerGone, OSError) as error:
                self.first_error = self.first_error or f"{type(error).__name__}: {error}"
                if client:
                    client.close()
                    client = None
                self._note(i, sent_s, "failed", 0)
            else:
                self._note(i, sent_s, answer.outcome, answer.status)
                self._note_answer(answer)
        if client:
            client.close()

    def _note(self, i: int, sent_s: float, outcome: Outcome, status: int) -> None:
        due_s = self._due_s[i]
        lag_ms, latency_ms = (sent_s - due_s) * 1e3, (self._elapsed_s() - due_s) * 1e3
        self.sent.append(Sent(due_s, lag_ms, latency_ms, outcome, status))

    def _note_answer(self, answer: Answer) -> None:
        for stage, ms in answer.timings_ms.items():
            self.stages_ms.setdefault(stage, []).append(ms)
        if answer.outcome == "failed" and not self.first_error:
            detail = answer.body[:200].decode(errors="replace")
            self.first_error = f"status {answer.status}: {detail}"


@dataclass(frozen=True)
class Report:
    """What a run showed; quantiles are of the fully scored and the degraded answers, from due."""

    rate: float
    achieved_rate: float
    requests: int
    latency_ms: dict[str, float]
    stages_ms: dict[str, dict[str, float]]
    late: int
    worst_lag_ms: float
    unsent: int
    failed: int
    degraded: int
    shed: int
    first_error: str


def due_times(rate: float, seconds: float, arrivals: Arrivals, seed: int) -> NDArray[np.float64]:
    """Seconds from the start at which requests are due, float64 [n], rising.

    Raises:
        ValueError: none, or more than `MAX_REQUESTS`.
    """
    count = int(rate * seconds)
    if not 0 < count <= MAX_REQUESTS:
        raise ValueError(
            f"expected 1 to {MAX_REQUESTS} requests, got {rate:g} per second for {seconds:g} s"
        )
    if arrivals == "fixed":
        return np.arange(count) / rate
    gaps: NDArray[np.float64] = np.random.default_rng(seed).exponential(1 / rate, count)
    return np.cumsum(gaps)


def report(run: Run, rate: float, requests: int) -> Report:
    """Figures of a finished run."""
    outcomes = Counter(sent.outcome for sent in run.sent)
    counted = [sent.latency_ms for sent in run.sent if sent.outcome in {"ok", "degraded"}]
    lags = [sent.lag_ms for sent in run.sent]
    last_s = max((sent.due_s + sent.latency_ms / 1e3 for sent in run.sent), default=float("nan"))
    return Report(
        rate=rate,
        achieved_rate=round(len(counted) / last_s, 1),
        requests=requests,
        latency_ms=quantiles(counted),
        stages_ms={stage: quantiles(values) for stage, values in run.stages_ms.items()},
        late=sum(lag > LATE_MS for lag in lags),
        worst_lag_ms=round(max(lags, default=0.0), 3),
        unsent=requests - len(run.sent),
        failed=outcomes["failed"],
        degraded=outcomes["degraded"],
        shed=outcomes["shed"],
        first_error=run.first_error,
    )


def problems(found: Report, budget_p99_ms: float | None) -> list[str]:
    """Why the run doesn't count; shed answers are no reason."""
    wrong = [
        f"{count} {what}"
        for what in ("failed", "degraded", "unsent")
        if (count := getattr(found, what))
    ]
    p99 = found.latency_ms["p99"]
    if budget_p99_ms is not None and not p99 <= budget_p99_ms:
        wrong.append(f"p99 {p99} ms > {budget_p99_ms} ms")
    return wrong


def main() -> None:
    """Sends, prints a table on standard error and, with --json, the report on standard output."""
    options = _options()
    due_s = due_times(options.rate, options.seconds, options.arrivals, options.seed)
    traffic = Traffic(read_ids(options.catalogue), read_queries(options.queries), options.seed)
    requests = traffic.requests(options.warmup + len(due_s), options.candidates, options.kind)
    with Client(options.url) as client:
        for request in [*traffic.warm_up(), *requests[: options.warmup]]:
            client.post(request.path, request.body)
    run = Run(options.url, requests[options.warmup :], due_s)
    gc.collect()
    gc.freeze()  # a collection that walks the prepared requests would delay sending
    run.drive(options.connections, _progress)
    found = report(run, options.rate, len(due_s))
    _show(found)
    if options.plot:
        _plot(run, options.plot)
    if options.json:
        print(orjson.dumps(asdict(found), option=orjson.OPT_INDENT_2).decode())
    wrong = problems(found, options.budget_p99_ms)
    if wrong:
        sys.exit(f"missed: {', '.join(wrong)}. {found.first_error}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument(
        "--catalogue", type=Path, required=True, help="CSV with a product_id column"
    )
    parser.add_argument("--queries", type=Path, required=True, help="one query per line")
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--arrivals", choices=get_args(Arrivals), default="poisson")
    parser.add_argument("--candidates", type=int, help="of every request; a mix where absent")
    parser.add_argument("--kind", choices=get_args(Kind), default="zipf", help="popularity")
    parser.add_argument("--warmup", type=int, default=200, help="requests before the clock")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--budget-p99-ms", type=float)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, help="PNG of every latency over time; matplotlib")
    options = parser.parse_args()
    if options.plot and find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    return options


def _progress(run: Run, elapsed_s: float) -> None:
    recent = [sent for sent in run.sent[-10_000:] if sent.due_s >= elapsed_s - 1.0]
    found = quantiles([sent.latency_ms for sent in recent])
    bad = sum(sent.outcome != "ok" for sent in run.sent)
    _CONSOLE.print(
        f"{elapsed_s:4.0f} s: {len(run.sent)} answered, in the last second {len(recent)}, "
        f"p50 {found['p50']:.2f} ms, max {found['max']:.2f} ms; not ok so far: {bad}",
        highlight=False,
        soft_wrap=True,
    )


def _show(found: Report) -> None:
    _CONSOLE.print(f"{found.rate:g} requests per second, each timed from when it was due")
    table = Table()
    for column in ("ms", *found.latency_ms):
        table.add_column(column, justify="right")
    table.add_row("latency", *(short(value) for value in found.latency_ms.values()))
    for stage, values in found.stages_ms.items():
        table.add_row(stage, *(short(value) for value in values.values()))
    _CONSOLE.print(table)
    _CONSOLE.print(
        f"{found.requests} requests, {found.achieved_rate:g} scored per second; sent late "
        f"{found.late} (worst {found.worst_lag_ms:.1f} ms), unsent {found.unsent}, "
        f"failed {found.failed}, degraded {found.degraded}, shed {found.shed}",
        highlight=False,
        soft_wrap=True,
    )


def _plot(run: Run, path: Path) -> None:
    from loadtest.plots import scatter  # noqa: PLC0415 - matplotlib is optional

    series: dict[str, list[tuple[float, float]]] = {}
    for sent in run.sent:
        series.setdefault(sent.outcome, []).append((sent.due_s, sent.latency_ms))
    scatter(path, series, "due, s", "latency from due, ms")


if __name__ == "__main__":
    main()
