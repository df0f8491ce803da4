"""The realistic mix as locust users, with latency budgets; the only module that imports locust,
whose import patches the standard library (gevent).

    python -m locust -f loadtest/locustfile.py --headless --users 4 --run-time 60s \
        --host http://127.0.0.1:8000 --catalogue products.csv --queries queries.txt \
        --budget-p50-ms 5 --budget-p99-ms 20

Exit code 1 when any answer failed, was shed or degraded, or when a budget is missed. Locust rounds
durations to whole milliseconds, so budgets and the last table are of the exact ones. The run ends
early when all prepared requests are sent: sending them again would find every query seen.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import FastResponse
from locust.env import Environment
from locust.runners import Runner
from rich.console import Console

from loadtest.client import Answer, Client, parse_stages
from loadtest.figures import quantiles
from loadtest.traffic import Request, Traffic, read_ids, read_queries

_HEADERS = {"Content-Type": "application/json"}


class Run:
    """What the users of this process share: requests yet to send, durations of those answered."""

    def __init__(self, prepared: list[Request]) -> None:
        self.todo: Iterator[Request] = iter(prepared)
        self.http_ms: dict[str, list[float]] = {}
        self.stages_ms: dict[str, list[float]] = {}


class Shopper(FastHttpUser):
    """Sends the next request of the mix, waits for its answer, thinks, and goes on."""

    run_state: Run  # one per process, set before the first user is born

    def wait_time(self) -> float:
        """Seconds between an answer and the next request."""
        return float(self.environment.parsed_options.think_time_ms) / 1e3

    @task
    def send(self) -> None:
        """One request; anything but a fully scored answer is a failure."""
        request = next(self.run_state.todo, None)
        if request is None:
            # A greenlet, as patched: quitting ends this user too, so it can't be done from within.
            threading.Thread(target=self.environment.runner.quit).start()
            self.stop()
            return
        with self.client.post(
            request.path, data=request.body.decode(), headers=_HEADERS, catch_response=True
        ) as response:
            outcome = _answer(response).outcome
            if outcome != "ok":
                response.failure(f"{outcome}: status {response.status_code}")
            meta = response.request_meta
        self.run_state.http_ms.setdefault(request.path, []).append(meta["response_time"])
        for stage, ms in _answer(response).timings_ms.items():
            self.run_state.stages_ms.setdefault(stage, []).append(ms)
            self.environment.events.request.fire(
                request_type="STAGE",
                name=stage,
                response_time=ms,
                response_length=0,
                exception=None,
                context={},
            )


def add_arguments(parser: LocustArgumentParser) -> None:
    """Options of this file, each an environment variable too."""
    group = parser.add_argument_group("traffic and budgets")
    for name, kind, default, what in (
        ("catalogue", Path, None, "CSV file with a product_id column"),
        ("queries", Path, None, "queries, one per line, or a CSV file with a query column"),
        ("seed", int, 7, "of the traffic; another one for a second run on the same service"),
        ("prepared", int, 10_000, "requests encoded before the start; the run ends with them"),
        ("warm-up", int, 200, "of these sent before the users, after every head query once"),
        ("think-time-ms", float, 0.0, "between an answer and the user's next request"),
        ("budget-p50-ms", float, None, "highest median of /score and of /filter"),
        ("budget-p99-ms", float, None, "highest 99th percentile of /score and of /filter"),
    ):
        variable = f"LOADTEST_{name.upper().replace('-', '_')}"
        group.add_argument(f"--{name}", type=kind, default=default, env_var=variable, help=what)


def prepare(environment: Environment, runner: Runner, web_ui: object) -> None:  # noqa: ARG001
    """Encodes every request and warms the service's caches up, before the first user is born."""
    options = environment.parsed_options
    if options is None or not (options.catalogue and options.queries and options.host):
        raise SystemExit("expected --host, --catalogue and --queries, got none of one: give each")
    traffic = Traffic(read_ids(options.catalogue), read_queries(options.queries), options.seed)
    requests = traffic.requests(options.warm_up + options.prepared)
    with Client(options.host) as client:
        for request in [*traffic.warm_up(), *requests[: options.warm_up]]:
            outcome = client.post(request.path, request.body).outcome
            if outcome != "ok":
                raise SystemExit(f"expected a fully scored answer in the warm-up, got {outcome}")
    Shopper.run_state = Run(requests[options.warm_up :])


def judge(environment: Environment) -> None:
    """The exact figures, and the exit code."""
    options, state, console = environment.parsed_options, Shopper.run_state, Console(stderr=True)
    assert options is not None
    missed = [] if state.http_ms else ["no answer came"]
    for kind, durations in (("POST", state.http_ms), ("STAGE", state.stages_ms)):
        for name, values in durations.items():
            found = quantiles(values)
            console.print(
                f"{kind:5} {name:10} {len(values):8}", _line(found), highlight=False, soft_wrap=True
            )
            for quantile, budget in (
                ("p50", options.budget_p50_ms),
                ("p99", options.budget_p99_ms),
            ):
                if kind == "POST" and budget is not None and found[quantile] > budget:
                    missed.append(f"{name} {quantile} {found[quantile]} ms > {budget} ms")
    failures = environment.stats.total.num_failures
    if failures:
        missed.append(f"{failures} answers failed or were degraded")
    for what in missed:
        console.print(f"missed: {what}", highlight=False, soft_wrap=True)
    environment.process_exit_code = 1 if missed else 0


def _line(found: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.2f} ms" for name, value in found.items())


def _answer(response: FastResponse) -> Answer:
    retry_after = str(response.headers.get("Retry-After", "")) if response.headers else ""
    stages = str(response.headers.get("Server-Timing", "")) if response.headers else ""
    return Answer(
        response.status_code,
        parse_stages(stages.encode()),
        response.content or b"",
        int(retry_after) if retry_after else None,
    )


for hook, listener in (
    (events.init_command_line_parser, add_arguments),
    (events.init, prepare),
    (events.quitting, judge),
):
    hook.add_listener(listener)  # type: ignore[no-untyped-call]  # locust's is not annotated
