"""`winnow bench` on the shop: every figure where all went well, and none where anything didn't."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from tests.bench.conftest import CWUB, FEW, PATIENT, QUERIES, WORDPIECE, run_bench
from tests.conftest import RedisServer
from tests.service.conftest import index_shop, start

RATIOS = [
    "cold / bare",
    "warm / ONNX Runtime's head alone",
    "warm / its head stage",
    "zipf p99 / p50",
    "head / ONNX Runtime's head",
    "per candidate, 1,000 / 100",
]


def test_every_figure_and_the_plot(redis_rows: str, tmp_path: Path) -> None:
    plot = tmp_path / "stages.png"
    shown = run_bench(
        *("--model", WORDPIECE, "--store", redis_rows, "--queries", QUERIES, *FEW),
        *("--plot", str(plot), "--json"),
    )
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert list(found["ratios"]) == RATIOS
    for of_rounds in found["ratios"].values():
        assert 0 < of_rounds["min"] <= of_rounds["median"] <= of_rounds["max"]
    assert list(found["ms"]["bare"]) == ["query", "rows", "head", "all"]
    for column in ("cold", "warm", "zipf"):
        stages = found["ms"][column]
        assert {"query", "rows", "head", "http", "all"} <= set(stages)
        assert 0 < stages["head"]["p50"]["median"] < stages["all"]["p50"]["median"]
    # A cached query and cached rows cost next to nothing; encoding and reading are real work.
    for stage in ("query", "rows"):
        assert (
            found["ms"]["warm"][stage]["p50"]["median"] < found["ms"]["bare"][stage]["p50"]["min"]
        )
    assert found["host"]["store"].startswith("Redis ")
    assert (found["service"]["workers"], found["bare_head"]) == (1, "int8")
    assert plot.read_bytes().startswith(b"\x89PNG")
    for name in RATIOS:
        assert name in shown.stderr


def test_a_running_service_is_measured_as_it_is(lmdb_rows: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        settings = {**PATIENT, "models": CWUB, "head_tile": "96"}
        running = start(stack, tmp_path, lmdb_rows, settings)
        running.wait_for("/readyz")
        command = ("--store", lmdb_rows, "--queries", QUERIES, "--url", running.url, *FEW)
        shown = run_bench("--model", CWUB, *command, "--json")
        assert shown.returncode == 0, shown.stderr
        found = json.loads(shown.stdout)
        assert (found["service"]["head_tile"], list(found["ratios"])) == (96, RATIOS)
        assert found["host"]["store"].startswith("LMDB ")
        scraped = running.client.get("/metrics").text
    assert 'winnow_query_rows_total{source="cache"}' in scraped  # it was asked, and no other


def test_settings_of_the_environment_hold(lmdb_rows: str) -> None:
    command = ("--model", CWUB, "--store", lmdb_rows, "--queries", QUERIES, *FEW, "--json")
    shown = run_bench(*command, settings={**PATIENT, "head_tile": "64", "max_candidates": "500"})
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert found["service"]["head_tile"] == 64
    # Ten times as many candidates are more than the service takes.
    assert list(found["ratios"]) == RATIOS[:-1]
    assert "no lists of 1,000 candidates: 500 are possible here" in shown.stderr


def _refused(reason: str, *arguments: str, settings: dict[str, str] | None = None) -> None:
    shown = run_bench(*arguments, settings=settings)
    assert shown.returncode == 1, shown.stderr
    assert reason in " ".join(shown.stderr.split())
    assert shown.stdout == ""
    assert "ratio" not in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_degraded_answer_ends_the_run(lmdb_rows: str) -> None:
    command = ("--model", CWUB, "--store", lmdb_rows, "--queries", QUERIES, *FEW)
    late = {"deadline_ms": "1"}
    _refused('"degraded":{"deadline":', *command, "--candidates", "1500", settings=late)


def test_lost_and_broken_rows(redis_server: RedisServer, tmp_path: Path) -> None:
    url = redis_server.url
    index_shop(url, (CWUB,), tmp_path)
    command = ("--model", CWUB, "--store", url, "--queries", QUERIES, *FEW, "--json")
    with redis.Redis(port=redis_server.port) as client:
        keys = list(client.scan_iter(match="*:{*}:*"))
        for key in keys:
            client.set(key, b"short")
        _refused("the store has not all of them", *command)
        client.delete(keys[0])
        _refused("expected the 3055 products of vector set", *command)


def test_another_service_at_the_url(lmdb_rows: str, redis_rows: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        running = start(stack, tmp_path, redis_rows, {"models": WORDPIECE})
        running.wait_for("/readyz")
        command = ("--store", lmdb_rows, "--queries", QUERIES, "--url", running.url, *FEW)
        _refused(f"to serve {CWUB}", "--model", CWUB, *command)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--queries", "absent.txt"), "absent.txt: can't be read as queries"),
        (("--queries", "/dev/null"), "expected queries, one per line, got none"),
        (("--candidates", "4000"), "expected at least 4000 products"),
        (("--plot", "absent/stages.png"), "expected a file in a folder that is there"),
        (("--url", "http://127.0.0.1:9"), "the service at http://127.0.0.1:9 failed"),
        (("--model", "absent"), "no student named 'absent'"),
    ],
)
def test_refused_before_measuring(lmdb_rows: str, arguments: tuple[str, str], reason: str) -> None:
    command = ("--model", CWUB, "--store", lmdb_rows, "--queries", QUERIES, *FEW)
    _refused(reason, *command, *arguments)


def test_a_cluster_is_refused(redis_cluster_url: str, tmp_path: Path) -> None:
    index_shop(redis_cluster_url, (CWUB,), tmp_path)
    _refused(
        "expected a store of lmdb:",
        *("--model", CWUB, "--store", redis_cluster_url, "--queries", QUERIES, *FEW),
    )
