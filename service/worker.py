"""One worker process: its serving state, its threads, and admission by candidates in flight."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from functools import partial
from typing import Final, TypeVar

from starlette.requests import Request

from service import metrics
from service.deadline import Deadline
from service.drain import Drain
from service.follow import Follower
from service.keyring import LOOK_EVERY_S, Keyring
from service.serving import Serving, active_plan
from service.settings import Settings
from service.shadow import Shadows
from vector_store.open import open_store

log = logging.getLogger("winnow.worker")
Result = TypeVar("Result")

# What encoding a text counts for among the candidates in flight: 0.2 to 1.6 ms of a CPU, where
# scoring a stored row takes a few microseconds.
CANDIDATES_PER_ENCODING: Final = 100


class Worker:
    """Everything a route handler needs; made before the first request, closed after the last."""

    def __init__(self, settings: Settings) -> None:
        """Opens the store (which connects lazily) and makes the threads; loads no student yet.

        Raises:
            SettingsError: there are to be API keys, and none can be read.
        """
        self.settings = settings
        self.store = open_store(
            settings.store, read_only=True, timeout_ms=settings.store_timeout_ms
        )
        threads = settings.request_threads
        self._requests = ThreadPoolExecutor(threads, "winnow-request") if threads else None
        # One more for the shadow: a request never waits for a thread that fetches for it.
        self._fetcher = ThreadPoolExecutor(max(1, threads) + 1, "winnow-fetch")
        self._upkeep = ThreadPoolExecutor(1, "winnow-upkeep")
        self.serving = Serving(settings, self.store, self._fetcher)
        self.shadows = Shadows(settings.shadow_queue, lambda: self._inflight_candidates > 0)
        self.drain = Drain(settings.drain_ms / 1e3)
        self._inflight_candidates = 0
        metrics.start(self.serving.names, settings.max_inflight_candidates)
        keys = settings.api_keys_file
        self.keyring = None if keys is None else Keyring(keys, settings.board)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Loads the students, follows the live sets, and closes at the end.

        A worker accepts no connection before it has loaded: while one starts or restarts, requests
        go to the others, and none is answered 503 for want of a student.
        """
        follower: Follower | None = None
        if self.settings.board is None:  # nobody coordinates: what is active now is served for good
            plan = active_plan(self.settings, 1)
            await self.off_loop(partial(self.serving.load, plan))
        else:
            follower = Follower(self.settings.board, self.serving, self.off_loop)
            await follower.start()
        # What is here now stays for good: the garbage collector need not walk it again, and its
        # full collections stop being the longest pauses of a request.
        gc.collect()
        gc.freeze()
        tasks = [asyncio.create_task(self._keep_up()), asyncio.create_task(self.shadows.run())]
        if follower is not None:
            tasks.append(asyncio.create_task(follower.run()))
        if self.keyring is not None:
            tasks.append(asyncio.create_task(self._follow_keys(self.keyring)))
        self.drain.watch()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            self.shadows.close()
            if follower is not None:
                follower.close()
            for pool in (self._requests, self._fetcher, self._upkeep):
                if pool is not None:
                    pool.shutdown()
            self.serving.close()
            self.store.close()

    @contextmanager
    def admitted(self, candidates: int) -> Iterator[bool]:
        """Whether so many more candidates may be in flight; runs on the event loop only."""
        limit = self.settings.max_inflight_candidates
        if self._inflight_candidates + candidates > limit:
            yield False
            return
        self._inflight_candidates += candidates
        metrics.INFLIGHT.inc(candidates)
        try:
            yield True
        finally:
            self._inflight_candidates -= candidates
            metrics.INFLIGHT.dec(candidates)

    async def run(self, request: Request, deadline: Deadline, work: Callable[[], Result]) -> Result:
        """Runs blocking work off the event loop, and ends its deadline if the client leaves.

        Without request threads it runs here and now, and nothing else meanwhile.
        """
        if self._requests is None:
            return work()
        watcher = asyncio.create_task(_cancel_when_gone(request, deadline))
        try:
            inside = partial(copy_context().run, work)  # what it logs carries the request's id
            return await asyncio.get_running_loop().run_in_executor(self._requests, inside)
        finally:
            watcher.cancel()

    async def off_loop(self, work: Callable[[], Result]) -> Result:
        """Runs blocking upkeep (a scrape, a refresh) without taking a request's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._upkeep, work)

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(self.settings.store_refresh_ms / 1e3)
            await self.off_loop(self.serving.refresh)
            self.serving.caches.count_rows()

    async def _follow_keys(self, keyring: Keyring) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.off_loop(keyring.look)
            except Exception:  # a full disk, say: the keys go on
                log.exception("the API keys could not be looked at")


async def _cancel_when_gone(request: Request, deadline: Deadline) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    deadline.cancel()
