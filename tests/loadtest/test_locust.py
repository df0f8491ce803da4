"""Locust as the command that a user runs: its exit code, and the stages in its report."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from loadtest.traffic import Traffic, read_ids, read_queries
from tests.loadtest.conftest import CATALOGUE, QUERIES
from tests.service.conftest import Service

ROOT = Path(__file__).parents[2]


def _locust(service: Service, *options: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", ROOT / "loadtest" / "locustfile.py"),
            *("--headless", "--users", "2", "--run-time", "60s", "--host", service.url),
            *("--prepared", "60", "--queries", QUERIES, *options),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
    )


def test_a_run_within_its_budget(service: Service) -> None:
    done = _locust(service, "--catalogue", CATALOGUE, "--budget-p99-ms", "60000")
    assert done.returncode == 0, done.stderr
    for entry in ("POST     /score", "POST     /filter", "STAGE    head", "STAGE    decode"):
        assert entry in done.stderr
    counted = sum(
        int(line.split()[2]) for line in done.stderr.splitlines() if line.startswith("POST  /")
    )
    assert counted == 60  # it ends with the prepared requests, each sent once


def test_a_missed_budget(service: Service) -> None:
    done = _locust(service, "--catalogue", CATALOGUE, "--budget-p50-ms", "0.001")
    assert done.returncode == 1
    assert "missed: /score p50" in done.stderr


def _half_unknown(tmp_path: Path) -> Path:
    catalogue = tmp_path / "products.csv"
    unknown = [f"x{n}" for n in range(3_000)]
    catalogue.write_text("\n".join(["product_id", *read_ids(CATALOGUE), *unknown]))
    return catalogue


@pytest.mark.parametrize(
    ("warm_up", "said"),
    [("10", "in the warm-up, got degraded"), ("0", "60 answers failed or were degraded")],
)
def test_degraded_answers(service: Service, tmp_path: Path, warm_up: str, said: str) -> None:
    catalogue = _half_unknown(tmp_path)
    queries = read_queries(QUERIES)
    seed = next(n for n in range(99) if _warms_up(Traffic(read_ids(catalogue), queries, n)))
    done = _locust(service, "--catalogue", catalogue, "--warm-up", warm_up, "--seed", str(seed))
    assert done.returncode == 1
    assert said in done.stderr


def _warms_up(traffic: Traffic) -> bool:
    """Whether the product of the head queries' warm-up is one that the service knows."""
    product_id: str = orjson.loads(traffic.warm_up()[0].body)["product_ids"][0]
    return product_id.startswith("p")
