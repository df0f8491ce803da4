"""What a machine gives against what the settings ask for, with each of them too small."""

from dataclasses import replace
from pathlib import Path
from resource import RLIM_INFINITY

import pytest

from doctor.finding import Finding
from doctor.machine import (
    Machine,
    Served,
    body_limit,
    in_flight,
    memory,
    open_files,
    this_machine,
    threads,
)
from service.settings import Settings

ROOMY = Machine(cpus=2.0, memory_bytes=8 * 2**30, open_files=65_536)
SERVED = (Served(width=256, bundle_bytes=10_000_000, cache_bytes=256 * 2**20),)


def settings(workers: int = 2, max_inflight: int = 40_000, max_body: int = 4 * 2**20) -> Settings:
    """Those of a deployment with two workers, unless told otherwise."""
    return Settings(
        store="lmdb:rows",
        workers=workers,
        max_inflight_candidates=max_inflight,
        max_body_bytes=max_body,
    )


def test_the_defaults_are_fine() -> None:
    findings = [
        threads(2, 1, ROOMY.cpus, ""),
        memory(settings(), SERVED, ROOMY),
        open_files(ROOMY, 512),
        body_limit(settings()),
        in_flight(settings()),
    ]
    assert {(finding.verdict, finding.to_do) for finding in findings} == {("fine", "")}


@pytest.mark.parametrize(
    ("workers", "ort_threads", "cpus", "verdict", "to_do"),
    [
        (2, 1, 2.0, "fine", ""),
        (1, 1, 0.5, "fine", ""),  # there is no half a worker
        (4, 1, 2.0, "change", "set WINNOW_WORKERS=2 and WINNOW_ORT_THREADS=1"),
        (2, 2, 2.0, "change", "set WINNOW_WORKERS=1 and WINNOW_ORT_THREADS=2"),
        (1, 8, 4.0, "change", "set WINNOW_WORKERS=1 and WINNOW_ORT_THREADS=4"),
        (2, 1, 8.0, "note", "WINNOW_WORKERS=8 would use all CPUs"),
    ],
)
def test_threads_against_the_quota(
    workers: int, ort_threads: int, cpus: float, verdict: str, to_do: str
) -> None:
    found = threads(workers, ort_threads, cpus, " of a test")
    assert (found.check, found.verdict) == ("threads of a test", verdict)
    assert found.to_do.startswith(to_do)


def test_memory_that_is_too_small_with_full_caches() -> None:
    found = memory(settings(), SERVED, replace(ROOMY, memory_bytes=2**29))
    assert found.verdict == "change"
    assert "WINNOW_ROW_CACHE_MB" in found.to_do


def test_memory_that_has_no_room_for_a_new_version() -> None:
    needed = 0
    for size in range(100 * 2**20, 4 * 2**30, 2**20):  # the least limit that holds what runs
        if memory(settings(), SERVED, replace(ROOMY, memory_bytes=size)).verdict != "change":
            needed = size
            break
    found = memory(settings(), SERVED, replace(ROOMY, memory_bytes=needed))
    assert found.verdict == "note"
    assert "activating a version" in found.to_do


def _changed(finding: Finding, check: str, to_do: str) -> bool:
    return (finding.check, finding.verdict) == (check, "change") and to_do in finding.to_do


def test_too_few_open_files() -> None:
    few = open_files(replace(ROOMY, open_files=256), 512)
    assert _changed(few, "open files", "raise it to 576 or more")
    assert "ulimit -n 256: 192 connections" in few.found
    assert open_files(replace(ROOMY, open_files=RLIM_INFINITY), 512).verdict == "fine"


def test_a_body_limit_below_the_largest_request() -> None:
    assert _changed(body_limit(settings(max_body=100_000)), "body limit", "answered 413")


def test_fewer_candidates_in_flight_than_threads_could_score() -> None:
    assert in_flight(settings(max_inflight=10_000)).verdict == "note"


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("memory.max", "123456789\n", 123_456_789),
        ("memory.max", "max\n", 1024 * 1_000_000),
        ("memory/memory.limit_in_bytes", "654321\n", 654_321),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", 1024 * 1_000_000),
    ],
)
def test_the_memory_limit_of_cgroups(
    tmp_path: Path, file: str, content: str, expected: int
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemFree: 10 kB\nMemTotal:       1000000 kB\n")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    found = this_machine(tmp_path, meminfo).memory_bytes
    assert found == min(expected, 1024 * 1_000_000)
