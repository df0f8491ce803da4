"""What is sent: the same requests to every server, drawn once and encoded before any clock starts.

`zipf` is the mix of the load test: popular products more often, half of the queries seen before.
`uniform` draws any product, and every query is new.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from loadtest.traffic import Kind, Request, Traffic

KINDS: tuple[Kind, ...] = ("uniform", "zipf")
CHECKED_CANDIDATES = 100


@dataclass(frozen=True)
class Question:
    """One candidate list as plain JSON: thousands of ids as strings would need gigabytes."""

    candidates: int
    body: bytes

    def decoded(self) -> tuple[str, list[str]]:
        """Query and product ids."""
        request = orjson.loads(self.body)
        return request["query"], request["product_ids"]


@dataclass(frozen=True)
class Phase:
    """One kind of traffic at one size and number of connections."""

    kind: Kind
    candidates: int
    connections: int
    warm_up: list[Question]
    timed: list[Question]


@dataclass(frozen=True)
class Plan:
    """Everything that one server is asked in one round."""

    checked: Question
    phases: list[Phase]


def make_plan(
    ids: Sequence[str],
    queries: Sequence[str],
    kinds: Sequence[Kind],
    sizes: Sequence[int],
    connections: Sequence[int],
    requests: int,
    warm_up: int,
    passes: int,
    seed: int,
) -> Plan:
    """Draws the requests. No new query is sent twice, so a cache never helps where it shouldn't.

    passes: how often the queries that count as seen before are sent over several connections. One
        connection reaches one worker only, and each worker has caches of its own.

    Raises:
        ValueError: more candidates than there are products.
    """
    phases = []
    for kind in kinds:
        traffic = Traffic(ids, queries, seed)
        # Half of the queries are "seen before" only if they have been: all of them, once.
        head = [_question(request) for request in traffic.warm_up()] if kind == "zipf" else []
        for size in sizes:
            for count in connections:
                times = passes if count > 1 else 1
                first = head * times + _draw(traffic, kind, size, warm_up)
                phases.append(Phase(kind, size, count, first, _draw(traffic, kind, size, requests)))
                head = head if passes > 1 and count == 1 else []
    checked = Traffic(ids, queries, seed + 1)
    candidates = min(CHECKED_CANDIDATES, len(ids))
    return Plan(_draw(checked, "uniform", candidates, 1)[0], phases)


def _draw(traffic: Traffic, kind: Kind, candidates: int, count: int) -> list[Question]:
    drawn: list[Question] = []
    while len(drawn) < count:
        requests = traffic.requests(count, candidates, kind, "score")
        drawn += [_question(one) for one in requests if kind == "zipf" or not one.query_seen]
    return drawn[:count]


def _question(request: Request) -> Question:
    return Question(request.candidates, request.body)
