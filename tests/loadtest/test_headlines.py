"""The headlines as a command, on samples too small to mean anything; needs the extra `train`."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("only", "students", "slowest"),
    [
        ("bert2dnn", ["BERT2DNN, queries encoded too", "BERT2DNN, head"], "BERT-Base"),
        ("reprbert", ["query encoded 1,000 times", "query encoded once"], "12-layer"),
    ],
)
def test_the_command(only: str, students: list[str], slowest: str) -> None:
    pytest.importorskip("transformers")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "loadtest.headlines", "--only", only),
            *("--sample", "2", "--batch", "2", "--runs", "1", "--requests", "3"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    times = {
        cells[1]: float(cells[4].replace(",", ""))
        for line in done.stdout.splitlines()
        if len(cells := [cell.strip() for cell in line.split("|")]) == 6 and cells[4][:1].isdigit()
    }
    assert [name for name in times if "BERT over" in name or "DNN" in name][-1].endswith(
        students[1]
    )
    assert any(name.endswith(students[0]) for name in times)
    assert list(times.values())[-1] == 1.0
    assert max(times, key=lambda name: times[name]).startswith(slowest)
    assert max(times.values()) > 100
