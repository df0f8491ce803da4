"""What the client does when the service is away, late, overloaded or broken.

Times are held against the deadline alone: a peer that misbehaves does so for many deadlines.
"""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from winnow_client import (
    BadAnswer,
    Client,
    ConnectionFailed,
    DeadlineExceeded,
    NotReady,
    Overloaded,
    ServiceFailed,
    Unavailable,
)
from winnow_client.budget import RetryBudget

from tests.client.conftest import (
    MODEL,
    Awaited,
    Open,
    Opened,
    Say,
    Shop,
    StartPeer,
    answers,
    is_silent,
    raw,
    resets,
    scores,
    trickles,
)
from tests.service.conftest import free_port, start
from tests.service.rollouts import until

DEADLINE_MS = 400.0
PATIENT_MS = 30_000
LATE = 2.0  # x the deadline: what a busy machine may add to it
PROBLEM = {"type": "x", "title": "X", "status": 503, "detail": "the store is asleep"}


@contextmanager
def within(deadline_ms: float) -> Iterator[None]:
    """The block ends with the deadline, and not long after it."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < LATE * deadline_ms / 1e3


def test_nobody_listens(client: Open) -> None:
    opened = client(f"http://127.0.0.1:{free_port()}", deadline_ms=PATIENT_MS)
    with pytest.raises(ConnectionFailed, match="does the service run there"):
        opened.score("shoes", ["a", "b"])
    unscored = opened.score("shoes", ["a", "b"], fallback=True)
    assert unscored.or_none() == [None, None]
    assert unscored.coverage.degraded == {"unavailable": 2}
    assert str(unscored.reason).startswith("ConnectionFailed: http://127.0.0.1:")
    page = opened.filter("shoes", ["a", "b"], "price")
    assert (page.kept, page.removed, page.fell_back) == (["a", "b"], [], True)
    ranked = opened.rerank("shoes", ["x", "y", "z"], top_n=2)
    assert [(each.index, each.score) for each in ranked.results] == [(0, None), (1, None)]
    assert ranked.fell_back
    for ask in (
        lambda: opened.filter("shoes", ["a"], "price", fallback=False),
        lambda: opened.rerank("shoes", ["a"], fallback=False),
    ):
        with pytest.raises(ConnectionFailed):
            ask()


@pytest.mark.parametrize(("order", "expected"), [("asc", "bdac"), ("desc", "abdc")])
def test_a_page_falls_back_to_the_order_it_was_to_be_in(
    client: Open, order: Literal["asc", "desc"], expected: str
) -> None:
    opened = client(f"http://127.0.0.1:{free_port()}", deadline_ms=PATIENT_MS)
    page = opened.filter(
        "shoes", list("abcd"), "price", sort_values=[2.0, 1.0, None, 1.0], order=order
    )
    assert page.kept == list(expected)


def test_a_service_that_dies_and_comes_back(shop: Shop, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = start(stack, tmp_path, shop.store, {"models": MODEL})
        first.wait_for("/readyz")
        both: list[Opened] = [kind(first.url, deadline_ms=PATIENT_MS) for kind in (Client, Awaited)]
        for opened in both:
            stack.callback(opened.close)
            assert opened.score("tent", ["p0001"]).coverage.full
        os.kill(first.process.pid, signal.SIGSTOP)
        for opened in both:
            with within(DEADLINE_MS):
                assert opened.filter("tent", ["p0001"], "price", deadline_ms=DEADLINE_MS).fell_back
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
        for opened in both:
            with pytest.raises(ConnectionFailed):
                opened.score("tent", ["p0001"])
        start(stack, tmp_path, shop.store, {"models": MODEL, "port": str(first.port)})
        for opened in both:
            until(partial(_filters, opened), "the service is back")
            assert opened.score("tent", ["p0001"]).coverage.full


def _filters(opened: Opened) -> bool:
    return not opened.filter("tent", ["p0001"], "price").fell_back


def test_a_lost_connection_is_tried_again_with_what_is_left(client: Open, peer: StartPeer) -> None:
    there = peer(resets, resets, scores(0.25, 0.75))
    got = client(there.url, deadline_ms=1000).score("tent", ["a", "b"])
    assert got.or_none() == [0.25, 0.75]
    told = [sent["deadline_ms"] for sent in there.sent]
    assert len(told) == 3
    assert 900 >= told[0] > told[1] > told[2]
    assert [sent["product_ids"] for sent in there.sent] == [["a", "b"]] * 3


@pytest.mark.parametrize(("status", "kind"), [(429, Overloaded), (503, NotReady)])
def test_a_refusal_is_asked_again_when_it_says(
    client: Open, peer: StartPeer, status: int, kind: type[Unavailable]
) -> None:
    there = peer(answers(status, PROBLEM, retry_after="1"), scores(0.5))
    started = time.monotonic()
    assert client(there.url, deadline_ms=PATIENT_MS).score("tent", ["a"]).or_none() == [0.5]
    assert time.monotonic() - started >= 1
    # Where the deadline comes first, the call ends at once.
    hasty = peer(answers(status, PROBLEM, retry_after="1"))
    opened = client(hasty.url, deadline_ms=900)
    with pytest.raises(kind, match="the store is asleep") as refused:
        opened.score("tent", ["a"])
    assert (refused.value.status, refused.value.retry_after_s) == (status, 1)
    assert opened.filter("tent", ["a"], "price").kept == ["a"]
    assert len(hasty.sent) == 2


@pytest.mark.parametrize(
    ("say", "kind"),
    [
        (answers(500, PROBLEM), ServiceFailed),
        (answers(502, {}), ServiceFailed),
        (answers(504, PROBLEM), DeadlineExceeded),
        (answers(302, {}, location="/elsewhere"), BadAnswer),
        (answers(200, {"scores": [0.5]}), BadAnswer),  # not the binary form
        (scores(0.5, 0.5), BadAnswer),  # not as many as were asked for
    ],
)
def test_other_failures_are_not_asked_again(
    client: Open, peer: StartPeer, say: Say, kind: type[Unavailable]
) -> None:
    there = peer(say)
    opened = client(there.url, deadline_ms=PATIENT_MS)
    with pytest.raises(kind):
        opened.score("tent", ["a"])
    assert opened.score("tent", ["a"], fallback=True).or_none() == [None]
    assert len(there.sent) == 2


@pytest.mark.parametrize(
    "say",
    [
        is_silent,
        trickles(raw(200, {f"x-{i}": "y" * 20 for i in range(50)}, b""), 20, 0.05),
        trickles(raw(200, {}, b"x" * 400), 60, 0.05),
        trickles(b"HTTP/1.1 200 -\r\n\r\n" + b"x" * 400, 0, 0.05),
    ],
    ids=["silent", "head", "body", "byte"],
)
def test_a_slow_answer_ends_with_the_deadline(client: Open, peer: StartPeer, say: Say) -> None:
    opened = client(peer(say).url)
    with within(DEADLINE_MS), pytest.raises(DeadlineExceeded, match="within 400 ms"):
        opened.score("tent", ["a"], deadline_ms=DEADLINE_MS)


def test_a_peer_that_reads_nothing_ends_with_the_deadline(client: Open) -> None:
    """Nobody accepts: the request fills what the system buffers, and stays there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Little is buffered there, so a request of some megabytes, soon written as JSON, will do.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened = client(f"http://127.0.0.1:{listener.getsockname()[1]}")
        many = ["p" * 200] * 30_000
        deadline_ms = 2 * DEADLINE_MS
        with within(deadline_ms), pytest.raises(DeadlineExceeded):
            opened.score("tent", many, deadline_ms=deadline_ms)


def test_a_host_that_takes_no_connection_ends_with_the_deadline(client: Open) -> None:
    """Its queue of connections is full, so it answers no SYN."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
        address = listener.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        opened = client(f"http://127.0.0.1:{address[1]}")
        with within(DEADLINE_MS), pytest.raises(DeadlineExceeded):
            opened.score("tent", ["a"], deadline_ms=DEADLINE_MS)


def test_retries_end_with_their_budget(client: Open, peer: StartPeer) -> None:
    there = peer(resets)
    opened = client(there.url, deadline_ms=PATIENT_MS, retry_ratio=0.1, retry_burst=3)
    for _ in range(20):
        assert opened.filter("tent", ["a"], "price").fell_back
    retries = len(there.sent) - 20
    assert 3 <= retries <= 0.1 * 20 + 3


def test_retries_of_one_call_are_bounded(client: Open, peer: StartPeer) -> None:
    for retries in (0, 2):
        there = peer(resets)
        with pytest.raises(ConnectionFailed):
            client(there.url, deadline_ms=PATIENT_MS, retries=retries).score("tent", ["a"])
        assert len(there.sent) == 1 + retries


def test_ten_calls_pay_for_one_retry() -> None:
    budget = RetryBudget(0.1, 1)
    assert (budget.withdraw(), budget.withdraw()) == (True, False)
    for _ in range(10):
        assert not budget.withdraw()
        budget.deposit()
    assert (budget.withdraw(), budget.withdraw()) == (True, False)
