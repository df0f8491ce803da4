"""The attempts of one call: what each sends, and whether another one is worth it.

Scoring changes nothing, so any request can be sent twice. Which errors are worth a second attempt:
a connection refused or lost, which another worker or the next moment may answer, and 429 and 503,
which say when. All other errors would come again, or have taken the time there was.
"""

from random import uniform

from winnow_client.budget import RetryBudget
from winnow_client.deadline import Deadline
from winnow_client.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    NotReady,
    Overloaded,
    Unavailable,
)

# Of the time that is left, the service gets so much: an answer that it cuts short at its own
# deadline still has to come back before that of the call.
SERVICE_SHARE = 0.9
FIRST_PAUSE_S = 0.02  # doubled with each retry; drawn between half of it and all


class Attempts:
    """Of one call, under one deadline."""

    def __init__(self, head: bytes, deadline: Deadline, retries: int, budget: RetryBudget) -> None:
        """head: the body without its deadline and closing brace; retries: at most so many."""
        self._head = head
        self._deadline = deadline
        self._left = retries
        self._pause_s = FIRST_PAUSE_S
        self._budget = budget
        budget.deposit()

    def next(self) -> tuple[bytes, float]:
        """Body of the next attempt, and the seconds that it may take.

        What has passed is gone from the `deadline_ms` that it names.

        Raises:
            DeadlineExceeded: nothing is left.
        """
        left_s = self._deadline.left_s()
        if left_s <= 0:
            raise self.too_late()
        service_ms = max(0.001, left_s * 1e3 * SERVICE_SHARE)
        return b'%b,"deadline_ms":%.3f}' % (self._head, service_ms), left_s

    def pause_s(self, error: Unavailable) -> float | None:
        """How long to wait before the next attempt; None: the error is the call's."""
        if not isinstance(error, ConnectionFailed | Overloaded | NotReady) or not self._left:
            return None
        pause_s = error.retry_after_s or 0.0
        pause_s += uniform(self._pause_s / 2, self._pause_s)  # noqa: S311 - no secret
        if pause_s >= self._deadline.left_s() or not self._budget.withdraw():
            return None
        self._left -= 1
        self._pause_s *= 2
        return pause_s

    def too_late(self) -> DeadlineExceeded:
        """What the call ends with when its deadline strikes."""
        return DeadlineExceeded(
            f"expected an answer within {self._deadline.ms:g} ms: send fewer candidates, raise "
            "deadline_ms, or look at what the service is doing (its /metrics)"
        )
