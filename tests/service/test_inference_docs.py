"""The examples of docs/inference-protocol.md do what the page says."""

import re
import subprocess
from pathlib import Path

import pytest

from service.inference_grpc import STATUS_OF
from tests.service.conftest import Service
from tests.service.triton import PYTHON

PAGE = Path(__file__).parents[2] / "docs" / "inference-protocol.md"


def example(language: str, service: Service) -> str:
    """The first block of a language, pointed at the service."""
    block = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    assert "127.0.0.1:8000" in block[1]
    return block[1].replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_example_prints_scores(service: Service) -> None:
    if not PYTHON.exists():
        pytest.skip("tritonclient has an environment of its own: make .venv-triton/all")
    lines = run([str(PYTHON), "-c", example("python", service)]).splitlines()
    assert [re.sub(r"0\.\d{3}$", "SCORE", line) for line in lines] == [
        *("p0044 SCORE", "p0023 SCORE", "p0001 SCORE"),
        "no such product no score",
    ]


def test_the_curl_example_answers(service: Service) -> None:
    answer = run(["bash", "-c", example("bash", service)])
    assert '"name":"scores","datatype":"FP32","shape":[2],"data":[0.' in answer


def test_every_status_of_the_page_is_one_that_is_sent() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| (\w+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    told = {(int(code), name) for codes, name in rows for code in codes.split(", ")}
    sent = {(code, status.name) for code, status in STATUS_OF.items() if code != 500}
    assert told - sent == {(413, "RESOURCE_EXHAUSTED")}
    assert sent <= told
