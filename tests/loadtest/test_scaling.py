"""The check of the capacity model in short, on a real cluster; and the fit of its costs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.costs import Costs, commands, redis_us, worker_us
from loadtest.scaling import main
from loadtest.scaling_report import Cell, Indexed, Lost, Scaling, fitted


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--products", "3000", "--requests", "20", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "scaling.json").read_text())
    assert code == 0, printed
    assert (tmp_path / "scaling.md").read_text() in printed
    assert found["indexed"]["rows"] >= 3_000
    assert found["indexed"]["row_bytes"] > 200
    assert len(found["cells"]) == 10
    for cell in found["cells"]:
        assert min(cell["worker_us"], cell["per_second"]) > 0
        assert (cell["hit_ratio"] == 0) == (cell["row_cache_mb"] == 0)
    assert 0.4 < found["lost"]["share"] < 0.95  # 0.7, and of few requests
    assert found["lost"]["recovered_s"] > 0


def test_costs_that_fit() -> None:
    kinds = [
        *((1, 0, 0.0), (3, 0, 0.0), (10, 0, 0.0), (10, 0, 1.0), (100, 0, 0.5), (1_000, 0, 0.0)),
        *((3_000, 0, 0.0), (1_000, 0.5, 0.0)),
    ]
    expected = {
        **{"request": 400, "query": 300, "candidate": 2, "ask": 100, "miss": 1},
        **{"asked": 60, "command": 2, "served": 0.5},
    }
    runs = [_run(masters, Costs(**expected), kinds) for masters in (3, 12)]
    assert fitted(runs) == pytest.approx(expected)
    cheap = [replace(each, redis_us=commands(each.misses)) for each in runs[0].cells]
    assert min(fitted([replace(runs[0], cells=cheap)]).values()) >= 0


def _run(masters: int, costs: Costs, kinds: list[tuple[int, float, float]]) -> Scaling:
    """What would be measured if a request cost what these costs say."""
    cells = []
    for n, hits, new in kinds:
        misses = n * (1 - hits)
        worker = worker_us(costs, n, misses, new, masters)
        cells.append(Cell(n, 0, new, hits, worker, redis_us(costs, misses, masters), 1.0))
    indexed, lost = Indexed(0, 0.0, 0.0, 0.0, 0.0), Lost(3, 0.0, 0.0, [])
    return Scaling(1_000_000, masters, indexed, cells, lost, 0.0)
