"""What breaks while a service answers: its Redis, a master of its cluster, the service itself."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from loadtest.activations import fixed_requests
from loadtest.chaos_clients import Load, NotRecovered
from loadtest.chaos_redis import Cluster, lasting_redis
from loadtest.commands import STOPS_WITHIN_S, Served, index, serve
from loadtest.traffic import read_ids, read_queries

RECOVERS_WITHIN_S: Final = 60.0
_STEADY: Final = 50  # answers between two faults, at least
# A stall shows in the latency and not as a partial answer; everything is read from the store.
_SETTINGS: Final = {"row_cache_mb": "0"}


@dataclass(frozen=True)
class Shop:
    """What is served and asked for.

    candidates: of one request
    seed: of requests and of moments
    seconds: after which no fault is repeated once more
    """

    model: str
    bundles: Path
    catalogue: Path
    queries: Path
    workers: int
    connections: int
    candidates: int
    seed: int
    seconds: float

    def over(self, catalogue: Path) -> "Shop":
        """The same with another catalogue."""
        return replace(self, catalogue=catalogue)

    def load(self, served: list[Served]) -> Load:
        """Clients whose next connection goes to the first of `served`, as it is then."""
        requests = fixed_requests(
            self.model,
            read_ids(self.catalogue),
            read_queries(self.queries),
            self.candidates,
            self.seed,
        )
        return Load(lambda: served[0].url, requests, self.connections)


@dataclass
class Result:
    """A row of the table: so many answers (or rows) by what they were.

    times: how often it was done
    recovery_s: seconds of each repetition until everything was right again
    notes: what went wrong, in words; empty where the promise held
    """

    fault: str
    times: int = 0
    right: int = 0
    marked: int = 0
    wrong: int = 0
    failed: int = 0
    recovery_s: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def repeated(self, times: int, seconds: float) -> Iterator[None]:
        """Counts what is done while it goes on: so often, or until the time is over."""
        until_s = time.monotonic() + seconds
        while self.times < times and time.monotonic() < until_s:
            yield
            self.times += 1

    @property
    def held(self) -> bool:
        """Whether nothing was wrong, failed or worth a note."""
        return not (self.wrong or self.failed or self.notes)

    def as_json(self) -> dict[str, Any]:
        """All of it, and whether it held."""
        return {**asdict(self), "held": self.held}

    def count(self, load: Load) -> None:
        """Takes over what the clients saw."""
        total = load.total()
        self.right, self.marked = total.right, total.marked
        self.wrong, self.failed = len(total.wrong), len(total.failed)
        self.notes += [*total.wrong[:3], *total.failed[:3]]


def redis_killed(shop: Shop, work: Path, times: int) -> Result:
    """SIGKILL to Redis, and the same Redis again after up to two seconds."""
    result = Result("Redis killed and started again")
    draw = random.Random(shop.seed)
    with lasting_redis(work / "redis") as server:
        index(shop.catalogue, shop.model, server.url, shop.bundles)
        time.sleep(2)  # Redis writes its append-only file out once a second
        with serve(server.url, shop.model, shop.bundles, shop.workers, _SETTINGS) as served:
            workers, load = served.workers(), shop.load([served])
            with load.running():
                for _ in result.repeated(times, shop.seconds):
                    load.wait_for_answers(_STEADY)
                    server.kill()
                    time.sleep(draw.uniform(0.1, 2))
                    started_s = time.monotonic()
                    server.start()
                    if not _recovered(load, result, started_s):
                        break
            result.count(load)
            _same_workers(served, workers, result)
    return result


def master_killed(shop: Shop, work: Path, times: int) -> Result:
    """SIGKILL to a master of a Redis Cluster; it comes back as a replica of its replica."""
    result = Result("a master of a Redis Cluster killed, its replica takes over")
    draw = random.Random(shop.seed)
    with ExitStack() as stack:
        cluster = Cluster(work / "cluster", stack)
        index(shop.catalogue, shop.model, cluster.url, shop.bundles)
        served = stack.enter_context(
            serve(cluster.url, shop.model, shop.bundles, shop.workers, _SETTINGS)
        )
        workers, load = served.workers(), shop.load([served])
        with load.running():
            for _ in result.repeated(times, shop.seconds):
                load.wait_for_answers(_STEADY)
                cluster.wait_until_whole()
                lost = draw.choice(cluster.masters())
                lost.kill()
                killed_s = time.monotonic()
                cluster.wait_until_covered(without=lost)
                if not _recovered(load, result, killed_s):
                    break
                lost.start()
        result.count(load)
        _same_workers(served, workers, result)
    return result


def ended_under_load(shop: Shop, work: Path, times: int) -> Result:
    """SIGTERM to one of two instances; new connections go to the other, as behind a balancer."""
    result = Result("SIGTERM under load")
    store = f"lmdb:{work / 'rows'}"
    index(shop.catalogue, shop.model, store, shop.bundles)
    with ExitStack() as others:
        served: list[Served] = []
        stacks: list[ExitStack] = []

        def start() -> None:
            stack = others.enter_context(ExitStack())
            instance = serve(store, shop.model, shop.bundles, shop.workers, {})
            served.append(stack.enter_context(instance))
            stacks.append(stack)

        start()
        load = shop.load(served)
        with load.running():
            for _ in result.repeated(times, shop.seconds):
                start()
                load.wait_for_answers(_STEADY)
                ending = served.pop(0)
                told_s = time.monotonic()
                os.kill(ending.pid, signal.SIGTERM)
                stacks.pop(0).close()  # waits for its end
                took_s = time.monotonic() - told_s
                result.recovery_s.append(took_s)
                if took_s >= STOPS_WITHIN_S:
                    result.notes.append(f"an instance did not end within {STOPS_WITHIN_S:g} s")
            load.wait_for_answers(_STEADY)
        result.count(load)
    if result.marked:
        result.notes.append(f"{result.marked} answers were degraded, though every row was there")
    return result


def _recovered(load: Load, result: Result, since_s: float) -> bool:
    try:
        result.recovery_s.append(load.recovered_after_s(since_s, RECOVERS_WITHIN_S))
    except NotRecovered as error:
        result.notes.append(str(error))
        return False
    return True


def _same_workers(served: Served, before: list[int], result: Result) -> None:
    if served.workers() != before:
        result.notes.append(f"expected workers {before} to live on, got {served.workers()}")
