"""A worker's side of serving a new plan: read the agenda, prepare, report, swap."""

import asyncio
import gc
import logging
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from service.plan import Agenda, Board, Membership, Plan, Report
from service.serving import Refused, Serving, Staged

log = logging.getLogger("winnow.follow")

OffLoop = Callable[[Callable[[], Any]], Awaitable[Any]]
_POLL_S = 0.05  # one read of a file of a few hundred bytes
_AGAIN_S = 1.0


class Follower:
    """Serves what the agenda says, as one of the workers that agree on it."""

    def __init__(self, folder: Path, serving: Serving, upkeep: OffLoop) -> None:
        """`upkeep` runs work in the one thread that may change what is served."""
        self._board = Board(folder)
        self._folder = folder
        self._serving = serving
        self._upkeep = upkeep
        # Its own thread: a version loads for seconds, and neither requests nor refreshes wait.
        self._preparing = ThreadPoolExecutor(1, "winnow-prepare")
        self._membership: Membership | None = None
        self._report = Report(pid=os.getpid())
        self._seen: bytes | None = None
        self._staged: Staged | None = None
        self._started = False

    async def start(self) -> None:
        """Serves what the other workers serve, and has prepared what they have been told to.

        Raises:
            RuntimeError: there is no agenda; `winnow serve` writes it before the first worker.
        """
        self._membership = await self._upkeep(partial(Membership, self._folder))
        self._board.report(self._report)
        text = self._board.changed(None)
        if text is None:
            raise RuntimeError(f"no agenda in {self._folder}: start workers with winnow serve")
        plan = Agenda.model_validate_json(text).serving
        await self._upkeep(partial(self._serving.load, plan))
        self._say(serving=plan.number)
        while await self._step():
            pass
        self._started = True

    async def run(self) -> None:
        """Follows the agenda until it is cancelled."""
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                await self._step()
            except Exception:  # what is served goes on, whatever the folder holds
                log.exception("the agenda could not be followed: trying again in a second")
                self._seen = None
                await asyncio.sleep(_AGAIN_S)

    def close(self) -> None:
        """Leaves the folder; waits for a version that is being prepared."""
        self._preparing.shutdown(cancel_futures=True)
        if self._staged is not None:
            self._serving.discard(self._staged)
        if self._membership is not None:
            self._membership.close()

    async def _step(self) -> bool:
        """Does what a new agenda says; False where there is no new one."""
        text = self._board.changed(self._seen)
        if text is None:
            return False
        self._seen = text
        await self._follow(Agenda.model_validate_json(text))
        return True

    async def _follow(self, agenda: Agenda) -> None:
        self._serving.refusals = agenda.refusals
        if agenda.serving.number != self._report.serving:
            await self._serve(agenda.serving)
        following = agenda.next
        if following is None:
            await self._drop_staged()
        elif following.number not in {self._report.prepared, self._report.refused}:
            await self._drop_staged()
            try:
                self._staged = await self._prepared(following)
            except Refused as error:
                self._say(refused=following.number, reason=str(error))
            else:
                self._say(prepared=following.number, reason="")

    async def _serve(self, plan: Plan) -> None:
        if self._staged is not None and self._staged.plan.number != plan.number:
            await self._drop_staged()
        staged, self._staged = self._staged, None
        if staged is not None:
            await self._upkeep(partial(self._serving.commit, staged))
        elif self._started:  # never, as long as nobody touches the folder
            await self._upkeep(partial(self._serving.commit, await self._prepared(plan)))
        else:  # the others went on while this one was starting
            await self._upkeep(partial(self._serving.load, plan))
        self._say(serving=plan.number)

    async def _prepared(self, plan: Plan) -> Staged:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._preparing, partial(_prepare, self._serving, plan))

    async def _drop_staged(self) -> None:
        staged, self._staged = self._staged, None
        if staged is not None:
            await self._upkeep(partial(self._serving.discard, staged))

    def _say(self, **changed: int | str) -> None:
        self._report = self._report.model_copy(update=changed)
        self._board.report(self._report)


def _prepare(serving: Serving, plan: Plan) -> Staged:
    try:
        staged = serving.prepare(plan)
    except Refused:
        raise
    except Exception as error:  # a worker must answer, or all wait for it
        log.exception("plan %s could not be prepared", plan.number)
        raise Refused(f"unexpected {type(error).__name__}; the log has it") from error
    # As after the start: what has come to stay need not be walked by the garbage collector again.
    gc.collect()
    gc.freeze()
    return staged
