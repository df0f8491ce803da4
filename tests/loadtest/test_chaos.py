"""The short form of `make chaos`: every fault twice, in earnest; and what counts as right."""

import json
from pathlib import Path

import pytest

from loadtest.activations import Request
from loadtest.chaos import main
from loadtest.chaos_clients import Verdict, verdict
from loadtest.chaos_indexing import compare
from loadtest.chaos_serving import Result
from loadtest.client import Answer

ARGUMENTS = ("--times", "2", "--kills", "3", "--workers", "1", "--candidates", "20")


@pytest.mark.parametrize("fault", ["redis", "cluster", "index", "sigterm"])
def test_the_command(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([*ARGUMENTS, "--out", str(tmp_path), "--only", fault, "--products", "5000"])
    printed = capsys.readouterr().out
    assert code == 0, printed
    (result,) = json.loads((tmp_path / "chaos.json").read_text())["results"]
    assert result["held"]
    assert result["times"] == (3 if fault == "index" else 1 if fault == "cluster" else 2)
    assert result["right"] > 0
    assert (result["wrong"], result["failed"]) == (0, 0)
    assert (tmp_path / "chaos.md").read_text() in printed


SCORE = Request("/score", b'{"product_ids":["a","b"]}')
FILTER = Request("/filter", b'{"product_ids":["a","b"]}')
FULL = {"requested": 2, "full": True, "degraded": {}}
LACKS = {"requested": 2, "full": False, "degraded": {"store_error": 1}}
SCORED = {"scores": [0.5, 0.25], "coverage": FULL}
PAGE = {"kept": ["a"], "removed": ["b"], "passed_through": False, "coverage": FULL}


@pytest.mark.parametrize(
    ("request_", "status", "body", "expected", "is_"),
    [
        (SCORE, 200, SCORED, SCORED, "right"),
        (SCORE, 200, {"scores": [0.5, 0.3], "coverage": FULL}, SCORED, "wrong"),
        (SCORE, 200, {"scores": [0.5, None], "coverage": FULL}, SCORED, "wrong"),
        (SCORE, 200, {"scores": [0.5, None], "coverage": LACKS}, SCORED, "marked"),
        (SCORE, 200, {"scores": [0.4, None], "coverage": LACKS}, SCORED, "wrong"),
        (SCORE, 503, {"type": "urn:winnow:problem:not-ready"}, SCORED, "marked"),
        (SCORE, 503, {"error": "a proxy's"}, SCORED, "failed"),
        (SCORE, 500, {"type": "urn:winnow:problem:internal"}, SCORED, "failed"),
        (FILTER, 503, {"type": "urn:winnow:problem:not-ready"}, PAGE, "failed"),
        (FILTER, 200, PAGE, PAGE, "right"),
        (
            FILTER,
            200,
            {"kept": ["a", "b"], "removed": [], "passed_through": True, "coverage": LACKS},
            PAGE,
            "marked",
        ),
        (
            FILTER,
            200,
            {"kept": ["a"], "removed": ["b"], "passed_through": True, "coverage": LACKS},
            PAGE,
            "wrong",
        ),
    ],
)
def test_what_an_answer_is(
    request_: Request,
    status: int,
    body: dict[str, object],
    expected: dict[str, object],
    is_: Verdict,
) -> None:
    answer = Answer(status, {}, json.dumps({**body, "timings_ms": {}}).encode())
    assert verdict(request_, answer, expected) == is_


def test_rows_that_are_lost_or_changed_are_counted() -> None:
    result = Result("killed")
    clean = {b"a": [b"1"], b"b": [b"2"], b"c": [b"3"]}
    compare(clean, clean, result)
    assert (result.right, result.held) == (3, True)
    compare(clean, {b"a": [b"1"], b"b": [b"2", b"2"], b"d": [b"4"]}, result)
    assert (result.right, result.wrong, result.held) == (4, 3, False)
    assert result.notes == ["3 rows differ, 1 are missing, 1 are there twice"]
