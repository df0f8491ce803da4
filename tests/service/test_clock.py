"""The wall clock jumps: no answer, deadline or duration depends on it."""

import shutil
import subprocess
import sys
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from tests.service.conftest import Service, StartService
from tests.service.test_operation import counter

MODEL = "shop-deepdot"
IDS = ["p0001", "p0002"]
DAY_S = 86_400
PATIENT: dict[str, object] = {"deadline_ms": 20_000}

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="a clock that jumps for one process alone takes Linux and a C compiler",
)


@pytest.fixture
def jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the seconds by which clocks of new processes are moved."""
    library, moved = tmp_path / "jumping_clock.so", tmp_path / "jump"
    source = Path(__file__).with_name("jumping_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    moved.write_text("0")
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("CLOCK_JUMP", str(moved))
    return moved


def test_answers_and_durations_do_not_depend_on_the_wall_clock(
    cheap_store: str, start_service: StartService, jump: Path
) -> None:
    service = start_service(cheap_store, {"models": MODEL, "store_refresh_ms": "50"})
    service.wait_for("/readyz")
    at_rest = service.score("shoes", IDS, PATIENT).json()["scores"]
    started_s = _clock_s(service)
    for jump_s in (DAY_S, -DAY_S, 400 * DAY_S, 0):
        jump.write_text(str(jump_s))
        _wait_for_clock(service, started_s + jump_s)
        for _ in range(5):
            answer = service.score("shoes", IDS, PATIENT)
            assert answer.status_code == 200, answer.text
            assert answer.json()["scores"] == at_rest
            stages = answer.json()["timings_ms"].values()
            assert all(0 <= took_ms < 60_000 for took_ms in stages)
            page = service.filter("shoes", IDS, {"threshold": 0.0, **PATIENT}).json()
            assert (page["kept"], page["passed_through"]) == (IDS, False)
        assert service.client.get("/readyz").status_code == 200
    text = service.client.get("/metrics").text
    series = 'winnow_request_duration_seconds_sum{code="200",endpoint="/score"}'
    assert 0 < counter(text, series) < 3_600


def _clock_s(service: Service) -> float:
    """The service's wall clock, of the header that has it."""
    date = httpx.get(f"{service.url}/healthz", timeout=30).headers["date"]
    return parsedate_to_datetime(date).timestamp()


def _wait_for_clock(service: Service, near_s: float) -> None:
    """The header is renewed once a second; the test itself takes less than an hour."""
    for _ in range(1_000):
        if abs(_clock_s(service) - near_s) < 3_600:
            return
    pytest.fail(f"the service's clock did not come near {near_s}")
