"""The bill of materials names what is installed; known holes are asked for where that can be."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest

from tests.deploy.conftest import ROOT, tool

WHERE = "extra `deploy`"
SERVICE = "https://pypi.org/pypi/redis/json"  # pip-audit asks the same service for each package


def installed_for(name: str) -> dict[str, str]:
    """Versions of a distribution's dependencies and of theirs, without extras."""
    found: dict[str, str] = {}
    left = [name]
    while left:
        for line in distribution(left.pop()).requires or []:
            match = re.match(r"[A-Za-z0-9._-]+", line)
            if match is None or "extra ==" in line:
                continue
            needed = re.sub(r"[-_.]+", "-", match[0]).lower()
            try:
                if needed not in found:
                    found[needed] = version(needed)
                    left.append(needed)
            except PackageNotFoundError:
                continue  # of another system or Python
    return found


def test_the_bill_names_everything_that_serving_installs(tmp_path: Path) -> None:
    path = tmp_path / "sbom.json"
    done = subprocess.run(
        [
            *(tool("cyclonedx-py", WHERE), "environment", sys.executable, "--output-reproducible"),
            "--no-validate",
            *("--pyproject", str(ROOT / "pyproject.toml"), "--of", "JSON", "-o", str(path)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    bill = json.loads(path.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "winnow-relevance"
    listed = {
        re.sub(r"[-_.]+", "-", each["name"]).lower(): each["version"] for each in bill["components"]
    }
    needed = installed_for("winnow-relevance")
    assert {"fastapi", "starlette", "redis", "onnxruntime"} <= set(needed)
    assert needed.items() <= listed.items()


def test_no_pinned_version_has_a_known_hole(tmp_path: Path) -> None:
    audit = tool("pip-audit", WHERE)
    try:
        urllib.request.urlopen(SERVICE, timeout=10).close()
    except (urllib.error.URLError, TimeoutError) as error:
        pytest.skip(f"the service with known holes can't be reached: {error}")
    pins = "".join(f"{name}=={v}\n" for name, v in installed_for("winnow-relevance").items())
    (tmp_path / "pins.txt").write_text(pins)
    command = [audit, "-r", str(tmp_path / "pins.txt"), "--no-deps", "--disable-pip", "-f", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["dependencies"]
    # A mirror without PyPI's records has everything skipped, and exit code 0.
    if any("skip_reason" in each for each in found):
        pytest.skip("the service that answers here has no record of some packages")
    assert not [each for each in found if each["vulns"]]
