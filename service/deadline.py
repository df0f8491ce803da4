"""One deadline per request, from its arrival; a client that has gone ends it at once."""

from time import perf_counter


class Deadline:
    """When a request stops being worth its work. Checked between stages and between tiles."""

    __slots__ = ("_ends_s", "_gone")

    def __init__(self, started_s: float, deadline_ms: float) -> None:
        """`started_s` is `time.perf_counter()` at the request's arrival."""
        self._ends_s = started_s + deadline_ms / 1e3
        self._gone = False

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self._gone = True

    def expired(self) -> bool:
        """Whether to stop working."""
        return self._gone or perf_counter() >= self._ends_s

    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return 0.0 if self._gone else max(0.0, self._ends_s - perf_counter())
