"""`winnow bench --tune`: every setting is tried, and a change needs a reason."""

import json

import pytest

from bench.tune import Tuned
from tests.bench.conftest import CWUB, FEW, QUERIES, WORDPIECE, run_bench


@pytest.mark.parametrize(
    ("faster", "best"),
    [
        ([0.90, 0.91, 0.90], 64),
        ([0.97, 0.96, 0.97], 512),  # faster, but by less than the next run's noise
        ([0.80, 0.98, 0.80], 512),  # not in every round
        ([1.20, 1.10, 1.10], 512),
    ],
)
def test_a_change_has_to_gain_in_every_round(faster: list[float], best: int) -> None:
    table = Tuned("WINNOW_HEAD_TILE", "head", 512, (64, 512), {64: faster, 512: [1.0, 1.0, 1.0]})
    assert table.best == best


def test_only_what_is_allowed_is_recommended() -> None:
    ms = {1: [2.0, 2.0], 2: [1.0, 1.0], 4: [0.5, 0.5]}
    assert Tuned("WINNOW_ORT_THREADS", "head", 1, (1, 2), ms).best == 2
    assert Tuned("WINNOW_ORT_THREADS", "head", 1, (), ms).best == 1


def test_lines_to_export(redis_rows: str) -> None:
    command = ("--model", WORDPIECE, "--store", redis_rows, "--queries", QUERIES, *FEW)
    shown = run_bench(*command, "--tune")
    assert shown.returncode == 0, shown.stderr
    settings = [line.removeprefix("# keep ").partition("=") for line in shown.stdout.splitlines()]
    assert [name for name, _, _ in settings] == ["WINNOW_HEAD_TILE", "WINNOW_ORT_THREADS"]
    assert all(int(value) > 0 for _, _, value in settings)
    for name, _, _ in settings:
        assert f"{name}: " in shown.stderr


def test_a_tile_that_costs_is_left(lmdb_rows: str) -> None:
    """Tiles of 16 rows take four times as many calls: the command has to say so.

    Twelve passes make a round here: in one of five, a busy machine hides it now and then.
    """
    command = ("--model", CWUB, "--store", lmdb_rows, "--queries", QUERIES, *FEW)
    more = ("--candidates", "1000", "--requests", "60")
    settings = {"head_tile": "16", "precision": "int8"}
    shown = run_bench(*command, *more, "--tune", "--json", settings=settings)
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    tile = found["settings"]["WINNOW_HEAD_TILE"]
    assert tile["now"] == 16
    assert tile["use"] > 16
    assert set(found["tables"][0]["ms"]) >= {"16", "64", "512", "4096"}
