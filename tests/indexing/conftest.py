"""Stores and catalogues for tests of indexing."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexing.index import IndexOptions
from vector_store.open import open_store
from vector_store.protocol import VectorStore

Products = list[tuple[str, str]]


@pytest.fixture(params=["lmdb", "redis", "cluster"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store that outlives a process."""
    if request.param == "lmdb":
        return f"lmdb:{tmp_path / 'store'}"
    return str(request.getfixturevalue(f"{request.param}_store_url"))


@pytest.fixture
def redis_store_url(redis_url: str) -> str:
    """A namespace of the shared Redis that no other test uses."""
    return f"{redis_url}?ns=test-{uuid.uuid4().hex}"


@pytest.fixture
def cluster_store_url(redis_cluster_url: str) -> str:
    """A namespace of the shared Redis Cluster that no other test uses."""
    return f"{redis_cluster_url}?ns=test-{uuid.uuid4().hex}"


@pytest.fixture
def store(store_url: str) -> Iterator[VectorStore]:
    opened = open_store(store_url, timeout_ms=10_000)
    yield opened
    opened.close()


@pytest.fixture
def memory_store() -> VectorStore:
    return open_store("memory:")


@pytest.fixture
def options(tmp_path: Path) -> IndexOptions:
    """Small chunks, so that a small catalogue has many."""
    return IndexOptions(tmp_path / "rejects.jsonl", chunk_rows=10, batch_titles=4, verify_sample=8)


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[[Products], Path]:
    """Writes products to catalogue.csv, newer than any one written before."""

    def write(products: Products) -> Path:
        path = tmp_path / "catalogue.csv"
        lines = "".join(f"{product_id},{title}\n" for product_id, title in products)
        path.write_text("product_id,title\n" + lines, encoding="utf-8")
        return path

    return write
