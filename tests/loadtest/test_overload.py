"""Overload in short: the real command, and what its report makes of answers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.client import Outcome
from loadtest.open_loop import Sent
from loadtest.overload import main
from loadtest.overload_report import Overload, Phase, Step, summary, table

DEADLINE_MS = 500.0
PHASES = (
    Phase("before", 50, 0, 4),
    Phase("overload", 200, 4, 10),
    Phase("after", 50, 10, 14),
)
STEPS = (Step(80, 80), Step(110, 100), Step(130, 90))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A test machine is busy, so how much is good is not looked at; what is shed keeps its word."""
    arguments = [
        *("--model", "shop-bert2dnn", "--candidates", "1000", "--inflight", "2000"),
        *("--seconds", "2", "--around-seconds", "1.5", "--step-seconds", "0.5"),
        *("--deadline-ms", "20000", "--connections", "64", "--out", str(tmp_path)),
    ]
    code = main(arguments)
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "overload.json").read_text())
    before, under, after = found["phases"]
    assert code == bool(found["broken"])
    assert (tmp_path / "overload.md").read_text() in printed
    assert (before["failed"], under["failed"], after["failed"]) == (0, 0, 0)
    assert under["refused"] > 0
    assert under["passed"] > 0
    assert under["late"] == 0
    assert under["accepted"] + under["refused"] + under["passed"] == under["requests"]
    assert under["memory_mb"] > 20


def _sent(due_s: float, outcome: Outcome, latency_ms: float = 10.0, status: int = 200) -> Sent:
    return Sent(due_s, 0.0, latency_ms, outcome, status)


def _held() -> Overload:
    """An overload in which all was as promised: 92 of 200 requests each second are good."""
    sent = [_sent(i / 50, "ok") for i in range(200)]
    for i in range(1200):
        status = 429 if i % 2 else 200
        shed = _sent(4 + i / 200, "shed", 2.0, status)
        sent.append(_sent(4 + i / 200, "ok", 200.0) if i % 25 < 11.5 else shed)
    sent += [_sent(10 + i / 50, "ok") for i in range(200)]
    return Overload(PHASES, len(sent), sent, [(i + 0.5, 100.0) for i in range(14)], "")


def test_what_is_promised() -> None:
    found = summary(_held(), STEPS, DEADLINE_MS, 0.5)
    assert found.broken == []
    assert found.peak == 100
    under = found.phases[1]
    assert (under.accepted, under.refused + under.passed) == (576, 624)
    assert under.good_per_second == 96
    assert found.recovered_s == 0
    assert "| of the peak | 50% | 96% | 50% |" in table(found)


@pytest.mark.parametrize(
    ("more", "broken"),
    [
        ([_sent(5, "ok", 501.0)], "1 of 577 accepted too late (overload)"),
        ([_sent(5, "degraded")], "1 of 577 accepted too late (overload)"),
        ([_sent(5, "failed", status=429)], "1 failed (overload)"),
        ([_sent(13.5, "shed", status=429)], "recovered after 3.5 s"),
        ([Sent(5, 30.0, 40.0, "ok", 200)] * 20, "this client sent 20 late: on a busy machine"),
    ],
)
def test_promises_that_are_not_held(more: list[Sent], broken: str) -> None:
    held = _held()
    found = summary(
        replace(held, sent=[*held.sent, *more], requests=held.requests + len(more)),
        STEPS,
        DEADLINE_MS,
        0.5,
    )
    assert [text[: len(broken)] for text in found.broken] == [broken]


def test_too_little_and_too_much() -> None:
    held = _held()
    grown = [(at, 100.0 if at < 10 else 111.0) for at, _ in held.memory]
    assert summary(replace(held, memory=grown), STEPS, DEADLINE_MS, 0.5).broken == [
        "memory from 100 to 111 MB"
    ]
    assert summary(held, [Step(130, 120)], DEADLINE_MS, 0.5).broken == [
        "96 good answers/s of 120 at the peak"
    ]
