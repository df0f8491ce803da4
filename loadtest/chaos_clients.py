"""Steady load in which every answer is held against the one that the service gives at rest.

right    the same to the last bit
marked   says that it could not score: 503 of /score, a page of /filter passed through whole, or
         candidates without a score that are counted in `coverage`
wrong    anything else with status 200
failed   no answer, or one of any other status; /filter has no other than 200
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from loadtest.activations import Request, ask
from loadtest.client import Answer, Client, ServerGone

_BETWEEN_S: Final = 0.01  # a refusal costs nothing: without a pause thousands would come
_STILL_S: Final = 1.0  # of right answers alone, before a service counts as recovered
_LOOK_EVERY_S: Final = 0.05
_PROBLEM: Final = b"urn:winnow:problem:"

Verdict = Literal["right", "marked", "wrong", "failed"]


class NotRecovered(Exception):
    """Answers did not become right again, although what was broken is back."""


@dataclass
class Seen:
    """What one client saw; it alone writes here."""

    right: int = 0
    marked: int = 0
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    last_right_s: float = 0.0
    last_marked_s: float = 0.0


class Load:
    """So many clients that ask a fixed list of requests over and over."""

    def __init__(
        self, where: Callable[[], str], requests: Sequence[Request], connections: int
    ) -> None:
        """Asks every request once; `where` is the URL that the next connection goes to.

        Raises:
            ServerGone: not every candidate is scored at rest.
        """
        self._where = where
        self._requests = requests
        with Client(where()) as client:
            self._expected = [ask(client, request) for request in requests]
        self._ended = threading.Event()
        self.clients = [Seen() for _ in range(connections)]

    @contextmanager
    def running(self) -> Iterator[None]:
        """The clients ask while the block runs."""
        threads = [
            threading.Thread(target=self._client, args=(seen, place * 7))
            for place, seen in enumerate(self.clients)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def total(self) -> Seen:
        """The sum over the clients."""
        total = Seen()
        for seen in self.clients:
            total.right += seen.right
            total.marked += seen.marked
            total.wrong += seen.wrong
            total.failed += seen.failed
        return total

    def recovered_after_s(self, since_s: float, within_s: float) -> float:
        """Waits until every client had a second of right answers alone.

        Args:
            since_s: `time.monotonic()` when what was broken was back.
            within_s: the longest wait.

        Returns:
            Seconds from then to the last marked answer.

        Raises:
            NotRecovered: it took longer.
        """
        while time.monotonic() < since_s + within_s:
            if all(
                seen.last_right_s >= max(seen.last_marked_s, since_s) + _STILL_S
                for seen in self.clients
            ):
                return max(0.0, max(seen.last_marked_s for seen in self.clients) - since_s)
            time.sleep(_LOOK_EVERY_S)
        total = self.total()
        raise NotRecovered(
            f"expected right answers alone within {within_s:g} s, got {total.marked} that are "
            f"marked, {total.failed[-1:]} {total.wrong[-1:]}"
        )

    def wait_for_answers(self, more: int) -> None:
        """Returns when so many more answers have come, whatever they say."""
        until = self._answers() + more
        while self._answers() < until:
            time.sleep(_LOOK_EVERY_S)

    def _answers(self) -> int:
        return sum(
            seen.right + seen.marked + len(seen.wrong) + len(seen.failed) for seen in self.clients
        )

    def _client(self, seen: Seen, first: int) -> None:
        client: Client | None = None
        for place in itertools.count(first):
            if self._ended.is_set():
                break
            try:
                if client is None or client.told_to_leave:
                    client = _connected(self._where(), instead_of=client)
                self._ask(client, place % len(self._requests), seen)
            except (ServerGone, OSError) as error:
                seen.failed.append(f"{type(error).__name__}: {error}")
            time.sleep(_BETWEEN_S)
        if client is not None:
            client.close()

    def _ask(self, client: Client, place: int, seen: Seen) -> None:
        request = self._requests[place]
        answer = client.post(request.path, request.body)
        found = verdict(request, answer, self._expected[place])
        if found == "right":
            seen.right += 1
            seen.last_right_s = time.monotonic()
        elif found == "marked":
            seen.marked += 1
            seen.last_marked_s = time.monotonic()
        else:
            into = seen.wrong if found == "wrong" else seen.failed
            into.append(f"{request.path}: {answer.status} {answer.body[:300]!r}")


def _connected(url: str, instead_of: Client | None) -> Client:
    if instead_of is not None:
        instead_of.close()
    return Client(url)


def verdict(request: Request, answer: Answer, expected: dict[str, Any]) -> Verdict:
    """What an answer is, beside the one at rest; both without their timings."""
    if answer.status == 503 and request.path == "/score" and _PROBLEM in answer.body:
        return "marked"
    if answer.status != 200:
        return "failed"
    got = json.loads(answer.body)
    del got["timings_ms"]
    if got == expected:
        return "right"
    coverage = got["coverage"]
    if coverage["full"] or sum(coverage["degraded"].values()) == 0:
        return "wrong"
    if request.path == "/filter":
        whole = got["passed_through"] and got["kept"] == json.loads(request.body)["product_ids"]
        return "marked" if whole else "wrong"
    pairs = zip(got["scores"], expected["scores"], strict=True)
    return "marked" if all(score is None or score == usual for score, usual in pairs) else "wrong"
