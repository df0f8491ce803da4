"""The measurement: rounds in which each whole request is followed by bare parts.

bare   parts of a request one after the other; ids drawn at random, every query new
cold   the service with its caches off; the same kind of requests
warm   the service on one list of products and one query
zipf   the service on the traffic of a shop: popular products, half of the queries seen before
long   the service on ten times as many candidates, warm
heads  ONNX Runtime's head and the service's, in this process, on the rows of warm
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from bench.floor import Floor
from bench.subject import Subject
from bench.whole import Service, ask, connection
from loadtest.client import Client
from loadtest.traffic import Request, Traffic

Column = Literal["bare", "cold", "warm", "zipf", "long", "heads"]
# Milliseconds of one round: of each stage, request by request.
Samples = dict[str, list[float]]
Round = dict[Column, Samples]
Report = Callable[[str, int, int | None], None]
Item = TypeVar("Item")

STEADY_AFTER = 300  # requests until the caches hold what is popular
LONG = 10  # times as many candidates


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; `long` says whether `LONG` times the candidates are possible."""

    candidates: int
    requests: int
    warmup: int
    rounds: int
    seed: int
    long: bool


def measure(
    subject: Subject, floor: Floor, warm: Service, cold: Service, plan: Plan, report: Report
) -> list[Round]:
    """Warms up, then measures every round.

    Raises:
        BenchError: an answer was not fully scored, or the service or the store went away.
    """
    bench = _Bench(subject, floor, warm, cold, plan, report)
    bench.warm_up()
    return [
        {**bench.cold(), **bench.warm(), **bench.zipf(), **bench.long()} for _ in range(plan.rounds)
    ]


class _Bench:
    """One run: the requests that repeat, and the stream of those that don't."""

    def __init__(
        self,
        subject: Subject,
        floor: Floor,
        warm: Service,
        cold: Service,
        plan: Plan,
        report: Report,
    ) -> None:
        self._student = subject.student
        self._floor, self._plan = floor, plan
        self._warm, self._cold = warm, cold
        self._traffic = Traffic(subject.ids, subject.queries, plan.seed)
        self._report = report
        self._done: Counter[str] = Counter()
        self._repeated = self._uniform(1, plan.candidates)[0]
        long = plan.candidates * (LONG if plan.long else 1)
        self._repeated_long = self._uniform(1, long)[0]
        query, product_ids = _fields(self._repeated)
        self._q: NDArray[np.float32] = floor.encode(query)
        self._P: NDArray[np.float16] = floor.rows(product_ids)

    def warm_up(self) -> None:
        steady = self._zipf(max(STEADY_AFTER, self._plan.warmup))
        requests = [*self._traffic.warm_up(), *steady]
        with connection(self._warm) as client:
            for request in self._each("warming up", requests, 1):
                ask(client, request)
            for _ in range(self._plan.warmup):
                ask(client, self._repeated)
        with connection(self._cold) as client:
            for request in self._unseen(self._plan.warmup):
                ask(client, request)
                self._floor.request(*_fields(request))

    def cold(self) -> Round:
        count = self._plan.requests
        requests = zip(self._unseen(count), self._unseen(count), strict=True)
        cold, bare = Samples(), Samples()
        with connection(self._cold) as client:
            for whole, parts in self._each("cold and bare", list(requests)):
                _add(cold, ask(client, whole))
                _add(bare, self._floor.request(*_fields(parts)))
        return {"cold": cold, "bare": bare}

    def warm(self) -> Round:
        warm, heads = Samples(), Samples()
        turns = range(self._plan.requests)
        with connection(self._warm) as client:
            for turn in self._each("warm and heads", turns):
                _add(warm, ask(client, self._repeated))
                _add(heads, self._heads(service_first=bool(turn % 2)))
        return {"warm": warm, "heads": heads}

    def zipf(self) -> Round:
        zipf = Samples()
        with connection(self._warm) as client:
            for request in self._each("zipf", self._zipf(self._plan.requests)):
                _add(zipf, ask(client, request))
        return {"zipf": zipf}

    def long(self) -> Round:
        if not self._plan.long:
            return {}
        samples = Samples()
        turns = range(max(1, self._plan.requests // LONG))
        with connection(self._warm) as client:
            self._settle(client)
            for _ in self._each("long lists", turns):
                samples.setdefault("all", []).append(ask(client, self._repeated_long)["all"])
                samples.setdefault("short", []).append(ask(client, self._repeated)["all"])
        return {"long": samples}

    def _settle(self, client: Client) -> None:
        """Rows that the traffic has pushed out come back."""
        ask(client, self._repeated_long)
        ask(client, self._repeated)

    def _heads(self, *, service_first: bool) -> dict[str, float]:
        if service_first:
            service = self._service_head()
            return {"service": service, "onnxruntime": self._onnxruntime_head()}
        return {"onnxruntime": self._onnxruntime_head(), "service": self._service_head()}

    def _service_head(self) -> float:
        started = perf_counter()
        self._student.score(self._q, self._P)
        return (perf_counter() - started) * 1e3

    def _onnxruntime_head(self) -> float:
        started = perf_counter()
        self._floor.head(self._q, self._P)
        return (perf_counter() - started) * 1e3

    def _unseen(self, count: int) -> list[Request]:
        """Requests whose query was never sent before."""
        found: list[Request] = []
        while len(found) < count:
            drawn = self._uniform(count, self._plan.candidates)
            found += [request for request in drawn if not request.query_seen]
        return found[:count]

    def _uniform(self, count: int, candidates: int) -> list[Request]:
        return self._traffic.requests(count, candidates, "uniform", "score")

    def _zipf(self, count: int) -> list[Request]:
        return self._traffic.requests(count, self._plan.candidates, "zipf", "score")

    def _each(self, name: str, items: Sequence[Item], times: int | None = None) -> Iterator[Item]:
        """The items one by one; a bar of this name runs over all rounds."""
        total = len(items) * (self._plan.rounds if times is None else times)
        for item in items:
            yield item
            self._done[name] += 1
            self._report(name, self._done[name], total)


def _fields(request: Request) -> tuple[str, list[str]]:
    """Query and product ids of a request."""
    body = orjson.loads(request.body)
    return body["query"], body["product_ids"]


def _add(samples: Samples, values: dict[str, float]) -> None:
    for stage, value in values.items():
        samples.setdefault(stage, []).append(value)
