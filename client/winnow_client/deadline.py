"""The one deadline of a call: it bounds connecting, waiting, retries and reading together."""

from time import monotonic

MOST_MS = 60_000.0  # what the service takes


class Deadline:
    """When a call stops being worth waiting for, counted from its start."""

    __slots__ = ("ends_s", "ms")

    def __init__(self, ms: float) -> None:
        """Starts now.

        Raises:
            ValueError: not above 0 and at most 60,000.
        """
        if not 0 < ms <= MOST_MS:
            raise ValueError(f"deadline_ms: expected above 0 and at most {MOST_MS:.0f}, got {ms!r}")
        self.ms = ms
        self.ends_s = monotonic() + ms / 1e3

    def left_s(self) -> float:
        """Seconds left; 0 or less once it has struck."""
        return self.ends_s - monotonic()
