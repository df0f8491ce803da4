"""An LMDB file that is damaged: before the service starts, and under its feet."""

import shutil
import subprocess
from pathlib import Path

from tests.service.conftest import WINNOW, StartService, environment
from tests.service.test_bad_requests import problem

MODEL = "shop-deepdot"
IDS = ["p0001", "p0002"]
META_BYTES = 8192  # two pages that say where everything is; readers have them in memory


def test_a_truncated_file_ends_in_one_line(cheap_store: str, tmp_path: Path) -> None:
    data = _copied(cheap_store, tmp_path)
    data.write_bytes(data.read_bytes()[:-4096])
    settings = {"store": f"lmdb:{tmp_path / 'rows'}", "models": MODEL, "workers": "1"}
    ended = subprocess.run(
        [*WINNOW, "serve"],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 1
    assert "is truncated: expected" in ended.stderr
    assert "index the catalogue again" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_pages_that_are_overwritten_while_they_are_served(
    cheap_store: str, start_service: StartService, tmp_path: Path
) -> None:
    """As with Redis down; and well again when the file is."""
    data = _copied(cheap_store, tmp_path)
    intact = data.read_bytes()
    settings = {"models": MODEL, "store_refresh_ms": "50", "row_cache_mb": "0"}
    service = start_service(f"lmdb:{tmp_path / 'rows'}", settings)
    service.wait_for("/readyz")
    expected = service.score("shoes", IDS, {"deadline_ms": 20_000}).json()
    assert expected["coverage"]["full"]
    _overwrite(data, b"\xa5" * (len(intact) - META_BYTES))
    problem(service.wait_for("/readyz", 503), 503)
    response = service.score("shoes", IDS, {"deadline_ms": 20_000})
    problem(response, 503)
    assert response.headers["retry-after"] == "1"
    page = service.filter("shoes", IDS, {"deadline_ms": 20_000}).json()
    assert (page["kept"], page["passed_through"]) == (IDS, True)
    assert page["coverage"]["degraded"] == {"store_error": len(IDS)}
    assert service.client.get("/healthz").status_code == 200
    _overwrite(data, intact[META_BYTES:])
    service.wait_for("/readyz")
    again = service.score("shoes", IDS, {"deadline_ms": 20_000}).json()
    assert again["scores"] == expected["scores"]


def _copied(store: str, folder: Path) -> Path:
    """The file of a copy of an LMDB store."""
    copy = shutil.copytree(store.removeprefix("lmdb:"), folder / "rows")
    return Path(copy) / "data.mdb"


def _overwrite(data: Path, pages: bytes) -> None:
    """In place: a file that got shorter would end its readers."""
    with data.open("r+b") as file:
        file.seek(META_BYTES)
        file.write(pages)
