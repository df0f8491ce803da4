"""The growth tables: the real command at a small size, and the arithmetic of its report."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from loadtest.commands import CommandFailed, index, memory_mb, redis, serve
from loadtest.growth_plan import THREADS
from loadtest.growth_report import long_over_short, markdown
from model_store.registry import DEFAULT_ROOT
from tests.loadtest.conftest import CATALOGUE, MODEL


def growth(out: Path, *options: str) -> dict[str, list[dict[str, Any]]]:
    """What the command found, small; its report is on standard output too."""
    small = ("--products", "1200", "--requests", "10", "--catalogue-model", MODEL)
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.growth", "--out", out, "--model", MODEL, *small, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (out / "growth.md").read_text() in done.stdout
    assert not list(out.glob("work-*"))
    found: dict[str, list[dict[str, Any]]] = orjson.loads((out / "growth.json").read_bytes())
    return found


def test_the_command(tmp_path: Path) -> None:
    lists = ("--sizes", "1000", "--workers", "2", "--megabytes", "1", "--rounds", "2")
    but_threads = ("candidates", "catalogue", "caches", "workers")
    only = [word for section in but_threads for word in ("--only", section)]
    found = growth(tmp_path / "out", *lists, *only)
    assert [row["candidates"] for row in found["candidates"]] == [10, 30, 100, 300, 1_000]
    cells = [(row["products"], row["store"], row["row_cache"]) for row in found["catalogue"]]
    assert cells == [(1_000, store, row) for store in ("lmdb", "redis") for row in ("on", "off")]
    (cache,) = found["caches"]
    assert all(0.5 < ratio <= 1 for ratio in cache["hit_ratio"])
    (workers,) = found["workers"]
    assert len(workers["pss_mb"]) == len(workers["uss_mb"]) == 2  # one figure per worker
    for row in (row for rows in found.values() for row in rows):
        assert all(len(row[name]) == 2 and min(row[name]) > 0 for name in ("p50_ms", "p99_ms"))


def test_threads(tmp_path: Path) -> None:
    found = growth(tmp_path / "out", "--only", "threads", "--rounds", "1")
    assert list(found) == ["threads"]
    cells = [(row["request_threads"], row["ort_threads"]) for row in found["threads"]]
    assert cells == [(of or "event loop", ort) for of, ort in THREADS for _connections in (1, 8)]
    assert all(min(row["per_second"]) > 0 for row in found["threads"])


def test_cost_of_a_candidate_in_a_long_list() -> None:
    rows: list[dict[str, int | list[float]]] = [
        {"candidates": 1_000, "us_per_candidate": [2.0, 4.0]},
        {"candidates": 10_000, "us_per_candidate": [3.0, 4.0]},
    ]
    assert long_over_short(rows) == [1.5, 1.0]
    assert long_over_short(rows[:1]) == []
    text = markdown({"candidates": rows})
    assert "| 10,000 | 3.50 (3.00-4.00) |" in text
    assert "10,000 / 1,000: 1.25 (1.00-1.50)" in text


def test_memory_of_a_worker() -> None:
    program = "held = bytes(range(1, 251)) * 400_000; print('held', flush=True); input()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        found = memory_mb(process.pid)
        process.communicate(b"\n")
    assert 95 < found["uss"] < 150  # 100 million bytes and the interpreter
    assert found["pss"] >= found["uss"]


def test_commands_that_fail_say_why(tmp_path: Path) -> None:
    with redis() as store:
        with pytest.raises(CommandFailed, match=r"winnow index .*nowhere"):
            index(CATALOGUE, "nowhere", store, DEFAULT_ROOT)
        with (
            pytest.raises(CommandFailed, match=r"(?s)did not come up.*nowhere"),
            serve(store, "nowhere", DEFAULT_ROOT, 1, {}),
        ):
            pass
