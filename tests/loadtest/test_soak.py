"""The soak in short: the real command, and what its figures are called a miss for."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.soak import Soaked, main

HELD = Soaked(
    minutes=30,
    rate=50,
    requests=90_000,
    failed=0,
    degraded=0,
    shed=0,
    unsent=0,
    changes=176,
    refused=0,
    p99_first_ms=10.0,
    p99_last_ms=10.5,
    p99_sixths_ms=[10.0, 9.0, 11.0, 10.0, 12.0, 10.5],
    p99_old_ms=10.4,
    p99_fresh_ms=10.0,
    memory_first_mb=260,
    memory_last_mb=262,
    memory_sixths_mb=[260, 261, 261, 262, 262, 262],
    memory_slope_mb_per_hour=4,
    memory_slope_error=0.5,
)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A test machine is busy and a short run has grown no caches: tail and memory aren't judged."""
    arguments = [
        *("--minutes", "0.2", "--every-seconds", "2", "--rate", "20", "--candidates", "100"),
        *("--warm-up-seconds", "1", "--model", "shop-bert2dnn", "--out", str(tmp_path)),
    ]
    code = main(arguments)
    printed = capsys.readouterr().out
    found = Soaked(**json.loads((tmp_path / "soak.json").read_text()))
    assert code == bool(found.problems)
    assert (found.failed, found.degraded, found.unsent, found.refused) == (0, 0, 0, 0)
    assert found.requests == 240
    assert found.changes >= 3
    assert found.p99_sixths_ms[0] == found.p99_first_ms
    assert min(*found.p99_sixths_ms, found.p99_old_ms, found.p99_fresh_ms) > 0
    assert found.memory_first_mb > 20
    assert found.memory_sixths_mb[0] == found.memory_first_mb
    assert found.memory_sixths_mb[-1] == found.memory_last_mb
    assert "| requests; failed, degraded, shed | 240 | 0, 0, 0 |" in printed


def test_what_is_a_miss() -> None:
    assert not HELD.problems
    assert replace(HELD, failed=1, refused=2).problems == ["1 failed", "2 changes refused"]
    assert replace(HELD, memory_last_mb=290).problems == ["memory 260 MB, then 290 MB"]


def test_a_tail_that_grew_is_a_miss_unless_a_fresh_service_has_it_too() -> None:
    slower = replace(HELD, p99_last_ms=11.1)
    assert not slower.problems
    (problem,) = replace(slower, p99_old_ms=11.1).problems
    assert problem.startswith("p99 10.0 ms at first, 11.1 ms at last")
    assert not replace(HELD, p99_old_ms=11.1).problems
