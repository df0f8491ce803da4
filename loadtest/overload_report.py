"""What an overload came to, held against what is promised. Measures nothing.

A *good* answer is whole and comes within the deadline, from when the request was due. *Accepted*
are the requests that were not shed: shed are 429 with `Retry-After`, and pages that `/filter` gave
back as they came.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from loadtest.figures import markdown_table, quantiles, short
from loadtest.open_loop import Sent

LEAST_GOODPUT: Final = 0.90  # under overload, of the peak
MOST_LATE: Final = 0.001  # of the accepted requests
RECOVERED_WITHIN_S: Final = 3.0
MOST_MEMORY: Final = 1.10  # after, of before
_LATE_MS: Final = 20.0  # sent so much after it was due: this client was too slow
_MOST_SENT_LATE: Final = 0.01  # of the requests


@dataclass(frozen=True)
class Step:
    """Good answers per second at a rate of requests per second."""

    rate: float
    good_per_second: float


@dataclass(frozen=True)
class Phase:
    """A stretch of the run, in seconds from its start, at one rate."""

    name: str
    rate: float
    begins_s: float
    ends_s: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.ends_s - self.begins_s

    def has(self, sent: Sent) -> bool:
        """Whether the request was due in it."""
        return self.begins_s <= sent.due_s < self.ends_s


@dataclass(frozen=True)
class Overload:
    """A run: before, overload, after. `memory` is (second, MB of all processes of the service)."""

    phases: Sequence[Phase]
    requests: int
    sent: Sequence[Sent]
    memory: Sequence[tuple[float, float]]
    first_error: str


@dataclass(frozen=True)
class Seen:
    """Of the requests that were due in a phase; quantiles are of the accepted, in ms from due."""

    name: str
    rate: float
    seconds: float
    requests: int
    good_per_second: float
    refused: int
    passed: int
    accepted: int
    late: int
    failed: int
    latency_ms: dict[str, float]
    memory_mb: float


@dataclass(frozen=True)
class Summary:
    """Figures of a run; `broken` are the promises that it did not hold, in words."""

    steps: Sequence[Step]
    peak: float
    phases: Sequence[Seen]
    recovered_s: float
    sent_late: int
    load_before: float
    broken: Sequence[str]
    first_error: str


def good_per_second(sent: Sequence[Sent], deadline_ms: float, phase: Phase) -> float:
    """Good answers of a phase, per second of it."""
    return sum(phase.has(each) and _good(each, deadline_ms) for each in sent) / phase.seconds


def summary(
    found: Overload, steps: Sequence[Step], deadline_ms: float, load_before: float
) -> Summary:
    """The figures, and what was not held."""
    peak = max(step.good_per_second for step in steps)
    before, under, after = (_seen(phase, found, deadline_ms) for phase in found.phases)
    ended_s = found.phases[1].ends_s
    # From the end of the overload to the last request that did not get a good answer.
    not_good = [each.due_s for each in found.sent if not _good(each, deadline_ms)]
    recovered_s = max([0.0, *(due_s - ended_s for due_s in not_good)])
    sent_late = sum(each.lag_ms > _LATE_MS for each in found.sent)
    broken = []
    for seen in (before, under, after):
        if seen.late > MOST_LATE * seen.accepted:
            broken.append(f"{seen.late} of {seen.accepted} accepted too late ({seen.name})")
        if seen.failed:
            broken.append(f"{seen.failed} failed ({seen.name})")
    if found.requests - len(found.sent) + sent_late > _MOST_SENT_LATE * found.requests:
        broken.append(f"this client sent {sent_late} late: on a busy machine nothing counts")
    if under.good_per_second < LEAST_GOODPUT * peak:
        broken.append(f"{under.good_per_second:.0f} good answers/s of {peak:.0f} at the peak")
    if recovered_s > RECOVERED_WITHIN_S:
        broken.append(f"recovered after {recovered_s:.1f} s")
    if after.memory_mb > MOST_MEMORY * before.memory_mb:
        broken.append(f"memory from {before.memory_mb:.0f} to {after.memory_mb:.0f} MB")
    return Summary(
        steps,
        peak,
        (before, under, after),
        recovered_s,
        sent_late,
        load_before,
        broken,
        found.first_error,
    )


def _good(sent: Sent, deadline_ms: float) -> bool:
    return sent.outcome == "ok" and sent.latency_ms <= deadline_ms


def _seen(phase: Phase, found: Overload, deadline_ms: float) -> Seen:
    sent = [each for each in found.sent if phase.has(each)]
    shed = Counter(each.status for each in sent if each.outcome == "shed")
    accepted = [each for each in sent if each.outcome in {"ok", "degraded"}]
    good = sum(_good(each, deadline_ms) for each in accepted)
    memory = [mb for at, mb in found.memory if phase.begins_s <= at < phase.ends_s]
    return Seen(
        phase.name,
        phase.rate,
        phase.seconds,
        len(sent),
        good / phase.seconds,
        shed[429],
        shed[200],
        len(accepted),
        len(accepted) - good,
        sum(each.outcome == "failed" for each in sent),
        quantiles([each.latency_ms for each in accepted]),
        float(np.median(memory)),
    )


def table(found: Summary) -> str:
    """Markdown: the phases, and a line each about peak, recovery and this client."""
    columns = ("", "before", "overload", "after")
    seen = found.phases
    rows: list[tuple[str, list[object]]] = [
        ("requests/s, seconds", [f"{each.rate:,.0f}, {each.seconds:g}" for each in seen]),
        ("requests", [f"{each.requests:,}" for each in seen]),
        ("accepted", [f"{each.accepted:,}" for each in seen]),
        ("of these late or partial", [each.late for each in seen]),
        ("shed: 429 with Retry-After", [f"{each.refused:,}" for each in seen]),
        ("shed: page passed through", [f"{each.passed:,}" for each in seen]),
        ("failed", [each.failed for each in seen]),
        ("good answers/s", [short(each.good_per_second) for each in seen]),
        ("of the peak", [f"{each.good_per_second / found.peak:.0%}" for each in seen]),
        ("accepted p50, p99 (ms from due)", [_p50_p99(each) for each in seen]),
        ("memory (MB, all processes)", [f"{each.memory_mb:.0f}" for each in seen]),
    ]
    steps = ", ".join(f"{step.rate:.0f}: {step.good_per_second:.0f}" for step in found.steps)
    return (
        f"{markdown_table(columns, [(name, *cells) for name, cells in rows])}\n\n"
        f"Peak {found.peak:.0f} good answers/s (requests/s: good/s {steps}). The last request "
        f"without a good answer was due {found.recovered_s:.2f} s after the overload. Sent more "
        f"than {_LATE_MS:g} ms late: {found.sent_late}. Load of the machine before: "
        f"{found.load_before:.1f}.\n"
    )


def _p50_p99(seen: Seen) -> str:
    return f"{short(seen.latency_ms['p50'])}, {short(seen.latency_ms['p99'])}"


def plot(found: Overload, deadline_ms: float, path: Path) -> None:
    """Good, shed and other answers per second over time, as PNG."""
    from loadtest.plots import rates  # noqa: PLC0415 - matplotlib is optional

    def of(sent: Sent) -> str:
        return "good" if _good(sent, deadline_ms) else sent.outcome.replace("ok", "late")

    counts = Counter((of(each), int(each.due_s)) for each in found.sent)
    until = int(found.phases[-1].ends_s)
    rates(
        path,
        {
            name: [(second, counts[name, second]) for second in range(until)]
            for name in sorted({name for name, _ in counts})
        },
        found.memory,
    )
