"""What a worker does when it is told to end: first it sends its callers elsewhere, then it stops.

A server that closes kept-alive connections at SIGTERM breaks the requests that are on their way
over them, and nobody can repeat a POST unasked. So for a while every answer says `Connection:
close`, and who got it opens the next connection, which by then leads to another instance. SIGINT
ends at once: somebody waits at a terminal.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Final

log = logging.getLogger("winnow.drain")

_QUIET_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.05
# systemd tells every process of a service to end, and then the parent tells its workers, which it
# does within half a second: one wish, told twice.
_ONE_WISH_S: Final = 2.0


class Drain:
    """Whether this worker has been told to end; it ends after `most_s`, or a quiet second."""

    def __init__(self, most_s: float) -> None:
        """Seconds; 0 ends at once, as the server does by itself."""
        self.begun = False
        self._most_s = most_s
        self._begun_s = 0.0
        self._last_request_s = 0.0
        self._ending: asyncio.Task[None] | None = None

    def note_request(self) -> None:
        """Somebody still asks for scores; probes and scrapes do not count."""
        self._last_request_s = monotonic()

    def watch(self) -> None:
        """Puts the drain in front of what the server does at SIGTERM.

        The server must have set its own handler. Signals come to main threads alone: in any other
        thread nobody can tell this worker to end, and there is nothing to do.
        """
        before = signal.getsignal(signal.SIGTERM)
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            return
        loop = asyncio.get_running_loop()

        def told(number: int, frame: FrameType | None) -> None:
            if self.begun and monotonic() - self._begun_s < _ONE_WISH_S:
                return
            if self.begun or not self._most_s:
                before(number, frame)  # told again: not another moment
                return
            self.begun, self._begun_s = True, monotonic()
            loop.call_soon_threadsafe(self._begin, lambda: before(number, frame))

        signal.signal(signal.SIGTERM, told)

    def _begin(self, stop: Callable[[], object]) -> None:
        log.warning("told to end: callers are sent elsewhere for up to %g s", self._most_s)
        self._ending = asyncio.create_task(self._end(stop))

    async def _end(self, stop: Callable[[], object]) -> None:
        started = monotonic()
        while monotonic() - started < self._most_s:
            if monotonic() - max(started, self._last_request_s) >= _QUIET_S:
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        stop()
