"""Schemathesis asks what the OpenAPI description says may be asked, and what may not."""

import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.conftest import SEED, Fuzz
from tests.service.conftest import Service

CONFIG = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


def test_the_service_keeps_its_own_description(
    service: Service, fuzz: Fuzz, tmp_path: Path
) -> None:
    examples = max(10, fuzz.share(0.01))
    done = subprocess.run(
        [
            *(str(SCHEMATHESIS), "--config-file", str(CONFIG), "run"),
            f"{service.url}/openapi.json",
            *("--phases", "examples,coverage,fuzzing,stateful"),  # all checks are on
            *("--max-examples", str(examples), "--seed", str(SEED), "--no-color"),
            *("--generation-database", "none", "--continue-on-failure"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=3000,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    generated = re.search(r"([\d,]+) generated", done.stdout)
    assert generated is not None, done.stdout
    fuzz.tell("schemathesis", int(generated[1].replace(",", "")), {"as described": 1})
