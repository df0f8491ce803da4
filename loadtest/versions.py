"""A service of its own on the shop's rows, with two versions of one student and its admin port.

The second version has another scale and other thresholds on the same rows, so that every answer
tells which of the two made it.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from loadtest.client import ServerGone
from loadtest.commands import CommandFailed, Served, free_port, index, serve

SHOP = Path("examples") / "shop"
_BUNDLES = Path("model_store") / "bundles"
_TOKEN = "a token of this run alone"
_CONSOLE = Console(stderr=True)


class Admin:
    """The admin port of the service."""

    def __init__(self, url: str, token: str, model: str) -> None:
        """Connects at the first call."""
        headers = {"Authorization": f"Bearer {token}"}
        # Calls come seconds apart: a connection that the service just closes would fail the next.
        each_its_own = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(base_url=url, headers=headers, timeout=600, limits=each_its_own)
        self._model = model

    def activate(self, version: str) -> None:
        """Raises ServerGone where the service refuses."""
        self._call("activate", {"version": version})

    def rollback(self) -> None:
        """Raises ServerGone where the service refuses."""
        self._call("rollback", None)

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def state(self) -> dict[str, Any]:
        """Models and workers."""
        answer: dict[str, Any] = self._client.get("/v1/models").raise_for_status().json()
        return answer

    def _call(self, what: str, body: dict[str, str] | None) -> None:
        answer = self._client.post(f"/v1/models/{self._model}/{what}", json=body)
        if answer.status_code != 200:
            raise ServerGone(f"{what} {body}: {answer.status_code} {answer.text}")


@dataclass(frozen=True)
class TwoVersions:
    """A ready service; `versions` are the active one and the other."""

    served: Served
    admin: Admin
    versions: tuple[str, str]


@contextmanager
def two_versions(model: str, workers: int) -> Iterator[TwoVersions]:
    """Starts it, in the project's folder; ends it and removes its files afterwards.

    Raises:
        CommandFailed: a command did not succeed, or the service did not come up.
    """
    with tempfile.TemporaryDirectory(prefix="winnow-versions-") as temporary:
        folder = Path(temporary)
        bundles, store = folder / "bundles", f"lmdb:{folder / 'rows'}"
        shutil.copytree(_BUNDLES / model, bundles / model)
        active = (bundles / model / "current").read_text(encoding="ascii").strip()
        _CONSOLE.print("a second version, and the rows of both ...")
        other = _calibrate(model, bundles)
        index(SHOP / "products.csv", model, store, bundles)
        token, port = folder / "token", free_port()
        token.write_text(_TOKEN)
        settings = {
            "admin_port": str(port),
            "admin_token_file": str(token),
            "row_cache_mb": "16",
            "query_cache_entries": "1000",
        }
        with (
            serve(store, model, bundles, workers, settings) as served,
            closing(Admin(f"http://127.0.0.1:{port}", _TOKEN, model)) as admin,
        ):
            yield TwoVersions(served, admin, (active, other))


def _calibrate(model: str, bundles: Path) -> str:
    """Publishes the second version."""
    command = [
        *(sys.executable, "-c", "from cli.main import main; main()", "calibrate", "--json"),
        *("--model", model, "--bundles", str(bundles), "--default", "recall=0.9"),
        *("--judgments", str(SHOP / "judgments.valid.csv"), "--bootstrap", "100"),
        *("--products", str(SHOP / "products.csv")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(f"winnow calibrate: {done.stderr[-2000:]}")
    published: str = json.loads(done.stdout)["published"]
    return published
