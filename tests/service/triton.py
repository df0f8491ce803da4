"""`tritonclient` as published, in its own environment: a process that is told what to ask."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-triton" / "bin" / "python"
PROGRAM = Path(__file__).with_name("triton_program.py")
Protocol = Literal["http", "grpc"]


@dataclass(frozen=True)
class Triton:
    """A client of one server."""

    lines: IO[str]
    answers: IO[str]

    def ask(self, do: str, call: Mapping[str, object]) -> dict[str, Any]:
        """One call of the program, and what came of it."""
        self.lines.write(json.dumps({"do": do, **call}) + "\n")
        self.lines.flush()
        answer: dict[str, Any] = json.loads(self.answers.readline())
        return answer

    def infer(
        self,
        model: str,
        query: str,
        product_ids: list[str] | list[int],
        options: Mapping[str, object] | None = None,
    ) -> dict[str, Any]:
        """An inference; outputs as hexadecimal bytes."""
        call = {"model": model, "query": query, "product_ids": product_ids, **(options or {})}
        return self.ask("infer", call)


@contextmanager
def triton(protocol: Protocol, port: int) -> Iterator[Triton]:
    """A client that is there until the end."""
    if not PYTHON.exists():
        pytest.skip("tritonclient has an environment of its own: make .venv-triton/all")
    with subprocess.Popen(
        [PYTHON, PROGRAM, protocol, f"127.0.0.1:{port}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Triton(process.stdin, process.stdout)
        process.stdin.close()
        assert process.wait(timeout=60) == 0
