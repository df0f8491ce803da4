"""How many retries a client may add to its calls, so that a service in trouble isn't asked twice.

After Finagle's RetryBudget and gRPC's retry throttling: every call puts a part of a token in,
every retry takes a whole one out.
"""

from threading import Lock


class RetryBudget:
    """Tokens shared by all calls of a client; safe to use from many threads.

    Over any number of calls there are at most `ratio` x calls + `burst` retries.
    """

    def __init__(self, ratio: float, burst: float) -> None:
        """Starts full, so that a client that has just begun can retry.

        ratio: retries per call, such as 0.1
        burst: most tokens kept

        Raises:
            ValueError: ratio outside [0, 1], or a negative burst.
        """
        if not 0 <= ratio <= 1:
            raise ValueError(f"retry_ratio: expected a share from 0 to 1, got {ratio!r}")
        if burst < 0:
            raise ValueError(f"retry_burst: expected 0 or more, got {burst!r}")
        self._ratio = ratio
        self._burst = burst
        self._tokens = float(burst)
        self._lock = Lock()

    def deposit(self) -> None:
        """A call begins."""
        with self._lock:
            self._tokens = min(self._burst, self._tokens + self._ratio)

    def withdraw(self) -> bool:
        """Whether there is a token for a retry, which is then spent."""
        with self._lock:
            # Ten tenths make a little less than one.
            if self._tokens < 1 - 1e-9:
                return False
            self._tokens -= 1
            return True
