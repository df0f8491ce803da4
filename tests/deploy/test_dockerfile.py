"""The Dockerfile: linted, and its own steps run in empty folders; the result serves."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.deploy.conftest import ROOT, tool
from tests.deploy.dockerfile import Stage, build
from tests.service.conftest import MODELS, free_port, index_shop

READY_WITHIN_S = 120


def test_hadolint_finds_nothing() -> None:
    hadolint = tool("hadolint", "extra `deploy`")
    done = subprocess.run(
        [hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The last stage; its steps fetch the pinned packages, from pip's cache where they are."""
    return build(ROOT / "Dockerfile", tmp_path_factory.mktemp("image"))


def test_it_has_what_serving_needs_and_no_more(image: Stage) -> None:
    packages = next((image.root / "opt" / "winnow").rglob("site-packages"))
    there = {path.name for path in packages.iterdir()}
    assert {"service", "vector_store", "model_store", "indexing", "onnxruntime"} <= there
    assert not {"torch", "transformers", "pip", "pytest", "onnx"} & there
    for shared_object in ("model_store/libhead.so", "vector_store/librows.so"):
        assert (packages / shared_object).is_file(), "the C parts are compiled at install"
    assert (packages / "playground" / "static" / "index.html").is_file()
    assert not list(packages.glob("model_store/bundles"))
    assert (image.root / "bundles" / MODELS[0] / "current").is_file()
    assert {path.name for path in image.root.iterdir()} <= {"opt", "bundles", "tmp"}
    assert image.user == "10001:10001"


@pytest.fixture(scope="module")
def served(image: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, str]]:
    """The entry point, run as the image says but on a free port of the loopback interface."""
    folder = tmp_path_factory.mktemp("rows")
    store = f"lmdb:{folder / 'rows'}"
    index_shop(store, MODELS[1:2], folder)
    port = free_port()
    own = {"HOST": "127.0.0.1", "PORT": str(port), "WORKERS": "1"}
    image.env |= {f"WINNOW_{name}": value for name, value in own.items()}
    image.env |= {"WINNOW_STORE": store, "WINNOW_MODELS": MODELS[1], "TMPDIR": str(folder)}
    program = image.root / "opt" / "winnow" / "bin" / image.entrypoint[0]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), *image.entrypoint[1:], *image.cmd],
            cwd=folder,
            env=image.environment(),
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        give_up = time.monotonic() + READY_WITHIN_S
        while not _ready(url):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < give_up, (folder / "log").read_text()
            time.sleep(0.1)
        yield image, url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_it_serves_with_the_compiled_head(served: tuple[Stage, str]) -> None:
    _, url = served
    answer = httpx.post(f"{url}/score", json={"query": "lamp", "product_ids": ["p0001"]})
    assert answer.json()["coverage"]["full"] is True
    (model,) = httpx.get(f"{url}/v1/models").json()["models"]
    assert model["head_kernel"] is not None


def test_its_healthcheck_tells_a_service_from_none(served: tuple[Stage, str]) -> None:
    image, _ = served
    assert image.run(image.healthcheck).returncode == 0
    other = Stage(image.root, env={**image.env, "WINNOW_PORT": str(free_port())})
    assert other.run(image.healthcheck).returncode != 0


def test_it_writes_nothing_outside_its_temporary_folder(served: tuple[Stage, str]) -> None:
    """What a read-only root asks for: the same files after serving as before, none newer."""
    image, url = served
    before = _files(image.root)
    httpx.post(f"{url}/filter", json={"query": "lamp", "product_ids": ["p0001"], "sort": "price"})
    assert httpx.get(f"{url}/metrics").status_code == 200
    assert _files(image.root) == before


def _files(root: Path) -> dict[Path, float]:
    return {path: path.lstat().st_mtime for path in root.rglob("*") if not path.is_dir()}
