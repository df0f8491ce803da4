"""Siamese, Poly-encoder and ListBERT's student from pairs to a running service, unchanged."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from distill.options import TrainOptions
from distill.train import Silence, train
from export.bundle_export import Exported, export_bundle
from export.checkpoint import Checkpoint, load_checkpoint
from export.pairs import Pairs
from export.parity import Rows, tile_independent
from export.scoring import score_pairs
from export.sessions import onnx_head, open_graph
from indexing.catalogue import open_catalogue
from indexing.index import IndexOptions, index
from model_store.registry import activate
from model_store.student import OnnxStudent
from tests.export.small import BASELINES, publication
from vector_store.open import open_store

ROOT = Path(__file__).parents[2]
READY_WITHIN_S = 60


@dataclass(frozen=True)
class Published:
    """A baseline, trained and exported; tests don't change it."""

    checkpoint: Checkpoint
    exported: Exported

    @property
    def rows(self) -> Rows:
        """Golden query rows, and their product rows over and over."""
        with np.load(self.exported.folder / "golden.npz", allow_pickle=False) as golden:
            return Rows(golden["query.float32"], np.tile(golden["product.float32"], (8, 1)))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registry they are published in."""
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory,
    parts: tuple[Pairs, Pairs],
    pairs: Pairs,
    encoder_folder: Path,
    bundles: Path,
) -> dict[str, Published]:
    """Each baseline through the whole gate; one layer, since tracing layers is what takes time."""
    folder = tmp_path_factory.mktemp("checkpoints")
    options = TrainOptions(
        epochs=2, batch_size=64, encoder=encoder_folder, layers=1, encoder_learning_rate=1e-3
    )
    students = {}
    for kind in BASELINES:
        train(kind, *parts, folder / kind, options, Silence())
        checkpoint = load_checkpoint(folder / kind)
        exported = export_bundle(checkpoint, pairs, bundles, publication(kind))
        students[kind] = Published(checkpoint, exported)
    return students


@pytest.mark.parametrize("kind", BASELINES)
def test_a_bundle_scores_as_its_checkpoint(
    kind: str, published: dict[str, Published], pairs: Pairs
) -> None:
    few = pairs.take(np.arange(60))
    checkpoint = published[kind].checkpoint
    expected = score_pairs(checkpoint.student, checkpoint.tokenizer, few)
    assert expected.std() > 0.01  # they say something
    student = OnnxStudent.load(published[kind].exported.folder, precision="float32")
    P = student.encode_products(few.titles)
    got = [
        student.score(student.encode_query(query), P[row : row + 1])[0]
        for row, query in enumerate(few.queries)
    ]
    np.testing.assert_allclose(got, expected, atol=1e-3)  # the rows are float16


@pytest.mark.parametrize("kind", BASELINES)
def test_every_graph_passed_the_gate(kind: str, published: dict[str, Published]) -> None:
    parity = published[kind].exported.manifest.parity
    assert [entry.graph for entry in parity[:3]] == ["query", "product", "head"]
    assert all(entry.max_score_difference <= 1e-5 for entry in parity[:3])
    # No weights in the head: nothing to quantise, nothing for the kernel to pack.
    assert published[kind].exported.manifest.graphs["head"].files == {"float32": "head.onnx"}


@pytest.mark.parametrize("kind", BASELINES)
def test_a_score_does_not_depend_on_its_tile(kind: str, published: dict[str, Published]) -> None:
    head = onnx_head(open_graph(published[kind].exported.folder / "head.onnx"))
    assert tile_independent(head, published[kind].rows)


@pytest.mark.parametrize("kind", ["siamese", "listbert"])
def test_rows_have_length_one(kind: str, published: dict[str, Published]) -> None:
    rows = published[kind].rows
    for vectors in (rows.q, rows.P.astype(np.float32)):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)


def test_polys_head_is_one_product_and_makes_no_mixed_vector(
    published: dict[str, Published],
) -> None:
    """Its cost is that of the m dots: no tensor as wide as candidates x m x H, nor a second one."""
    import onnx

    graph = onnx.load(published["poly"].exported.folder / "head.onnx").graph
    operations = [node.op_type for node in graph.node]
    assert operations.count("MatMul") == 1
    assert "Expand" not in operations
    layout = published["poly"].exported.manifest
    assert layout.d_q == 16 * layout.d_p
    assert list(layout.query_row.segments)[:2] == ["code1", "code2"]


@contextmanager
def _served(bundles: Path, store: str, log: Path) -> Iterator[httpx.Client]:
    """A real server over the three students."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    settings = {"STORE": store, "BUNDLES": str(bundles), "MODELS": ",".join(BASELINES)}
    settings |= {"WORKERS": "1", "PORT": str(port)}
    with (
        log.open("wb") as output,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        process = subprocess.Popen(
            [sys.executable, "-c", "from cli.main import main; main()", "serve"],
            env={
                **kept,
                "PYTHONPATH": str(ROOT),
                **{f"WINNOW_{name}": value for name, value in settings.items()},
            },
            stdout=output,
            stderr=output,
        )
        try:
            _wait_until_ready(client, process, log)
            yield client
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait_until_ready(client: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < give_up and process.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail(f"the service is not ready: {log.read_text()}")


def test_they_are_indexed_and_served(
    published: dict[str, Published], bundles: Path, pairs: Pairs, tmp_path: Path
) -> None:
    titles = pairs.titles[:50]
    catalogue = tmp_path / "products.jsonl"
    catalogue.write_text(
        "".join(
            json.dumps({"product_id": f"p{row}", "title": title}) + "\n"
            for row, title in enumerate(titles)
        )
    )
    url = f"lmdb:{tmp_path / 'rows'}"
    store = open_store(url, timeout_ms=10_000)
    options = IndexOptions(reject_file=tmp_path / "rejects.jsonl", restart=True)
    students = {kind: OnnxStudent.load(each.exported.folder) for kind, each in published.items()}
    for kind, student in students.items():
        index(open_catalogue(catalogue), student, store, options, lambda *_: None)
        activate(bundles, kind, published[kind].exported.manifest.version)
    store.close()
    with _served(bundles, url, tmp_path / "serve.log") as client:
        for kind, student in students.items():
            query = pairs.queries[0]
            body = {
                "query": query,
                "product_ids": [f"p{row}" for row in range(50)] + ["unknown"],
                "model": kind,
            }
            answer = client.post("/score", json=body).raise_for_status().json()
            expected = student.score(student.encode_query(query), student.encode_products(titles))
            np.testing.assert_allclose(answer["scores"][:50], expected, atol=1e-6)
            assert answer["scores"][50] is None
            assert answer["coverage"]["scored"] == 50
