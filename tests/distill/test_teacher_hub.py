"""Encoders by name: downloaded from a hub, here a server of our own with the hub's routes."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from distill.pretrained import encoder_folder as folder_of
from distill.pretrained import load_encoder, load_tokenizer
from export.errors import EncoderRefused

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"

_FETCH = (
    "import sys; from distill.pretrained import encoder_folder; print(encoder_folder(sys.argv[1]))"
)


def _hub(files: dict[str, bytes]) -> type[BaseHTTPRequestHandler]:
    """A hub with one repository, shop/encoder, at one commit."""

    class Hub(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = self.path.split("?")[0]
            if path.startswith(f"/api/models/shop/encoder/tree/{COMMIT}"):
                self._send(
                    json.dumps(
                        [
                            {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                            for name, content in files.items()
                        ]
                    )
                )
            elif path.startswith("/api/models/shop/encoder"):
                names = [{"rfilename": name} for name in files]
                self._send(json.dumps({"id": "shop/encoder", "sha": COMMIT, "siblings": names}))
            elif path.startswith(f"/shop/encoder/resolve/{COMMIT}/"):
                content = files[path.rsplit("/", 1)[1]]
                self._send(content if body else b"", content)
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.end_headers()

        def _send(self, body: str | bytes, content: bytes | None = None) -> None:
            body = body.encode() if isinstance(body, str) else body
            whole = body if content is None else content
            self.send_response(200)
            self.send_header("Content-Length", str(len(whole)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(whole).hexdigest()}"')
            self.end_headers()
            self.wfile.write(body)

    return Hub


@pytest.fixture
def hub(encoder_folder: Path) -> Iterator[str]:
    """URL of a hub that has the small encoder, and a pickle that nobody may fetch."""
    files = {path.name: path.read_bytes() for path in encoder_folder.iterdir()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _hub(files | {"pytorch_model.bin": b"pickle"}))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def _fetch(name: str, hub: str, cache: Path) -> "subprocess.CompletedProcess[str]":
    """In a process of its own: the hub's address is read when its library is imported."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub, "HF_HOME": str(cache)}
    return subprocess.run(
        [sys.executable, "-c", _FETCH, name],
        env={**environment, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_an_encoder_is_fetched_by_its_name(hub: str, tmp_path: Path, encoder_folder: Path) -> None:
    fetched = _fetch("shop/encoder", hub, tmp_path)
    assert fetched.returncode == 0, fetched.stderr
    folder = Path(fetched.stdout.strip().splitlines()[-1])
    assert folder.name == COMMIT
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    ours, theirs = load_encoder(encoder_folder).state_dict(), load_encoder(folder).state_dict()
    assert all((ours[name] == theirs[name]).all() for name in ours)
    assert load_tokenizer(folder).to_str() == load_tokenizer(encoder_folder).to_str()


def test_a_name_that_no_hub_has_says_so(hub: str, tmp_path: Path) -> None:
    fetched = _fetch("shop/other", hub, tmp_path)
    assert fetched.returncode == 1
    assert "EncoderRefused: shop/other: no such folder here, and the hub doesn't give it" in (
        fetched.stderr
    )


def test_a_hub_out_of_reach_says_so(tmp_path: Path) -> None:
    fetched = _fetch("shop/encoder@main", "http://127.0.0.1:9", tmp_path)
    assert fetched.returncode == 1
    assert "Check the name and the connection" in fetched.stderr


def test_a_folder_is_taken_as_it_is(encoder_folder: Path) -> None:
    assert folder_of(str(encoder_folder)) == encoder_folder


@pytest.mark.parametrize("name", ["/no/such/folder", "a/b/c", "two words", ""])
def test_what_is_neither_folder_nor_name_is_refused(name: str) -> None:
    with pytest.raises(
        EncoderRefused, match=r"expected a folder with config\.json, package:NAME, or OWN"
    ):
        folder_of(name)


def test_a_package_carries_an_encoder(
    encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "shop_encoder"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('nobody runs a package')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EncoderRefused, match=r"package:shop_encoder: .* found 0: name the folder"):
        folder_of("package:shop_encoder")
    shutil.copytree(encoder_folder, package / "model")
    assert folder_of("package:shop_encoder") == package / "model"
    shutil.copytree(encoder_folder, package / "larger")
    with pytest.raises(EncoderRefused, match="found 2: name the folder"):
        folder_of("package:shop_encoder")


@pytest.mark.parametrize("name", ["no_such_package", "json.decoder", ""])
def test_what_is_no_installed_package_is_refused(name: str) -> None:
    with pytest.raises(EncoderRefused, match="expected an installed package of that name"):
        folder_of(f"package:{name}")
