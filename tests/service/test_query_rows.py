"""Stored query rows behind a real service: the same scores bit for bit, or the query is encoded."""

from pathlib import Path

import numpy as np
import pytest
import redis

from indexing.catalogue import open_queries
from indexing.index import IndexOptions, index_rows
from indexing.student import query_rows
from model_store.manifest import Precision
from model_store.registry import DEFAULT_ROOT, bundle_folder
from model_store.student import OnnxStudent
from service.query_rows import QueryRows
from tests.conftest import RedisServer
from tests.service.conftest import Service, StartService, index_shop
from tests.service.test_operation import counter
from vector_store.errors import StoreUnavailable
from vector_store.header import SetHeader
from vector_store.keys import query_id
from vector_store.memory import MemoryStore
from vector_store.open import open_store

MODEL = "shop-reprbert"
STORED = ["red running shoes", "拉杆箱", "tent for four " * 40]
UNSEEN = "a query that nobody stored"


def index_queries(
    store_url: str, folder: Path, queries: list[str], precision: Precision | None = None
) -> SetHeader:
    """Stores the rows of these queries and makes them live; the header of their set."""
    path = folder / "queries.txt"
    path.write_text("\n".join(queries) + "\n", "utf-8")
    student = OnnxStudent.load(bundle_folder(DEFAULT_ROOT, MODEL), precision=precision)
    store = open_store(store_url, timeout_ms=10_000)
    options = IndexOptions(folder / "queries.rejects.jsonl")
    report = index_rows(open_queries(path), query_rows(student), store, options, lambda *_: None)
    header = store.header(report.set_id)
    store.close()
    return header


def index_texts(store_url: str, folder: Path, texts: dict[str, str]) -> SetHeader:
    """Stores rows of queries that are encoded from other texts, and makes them live."""
    path = folder / "texts.csv"
    path.write_text("query,text\n" + "".join(f"{q},{t}\n" for q, t in texts.items()), "utf-8")
    student = OnnxStudent.load(bundle_folder(DEFAULT_ROOT, MODEL))
    store = open_store(store_url, timeout_ms=10_000)
    options = IndexOptions(folder / "texts.rejects.jsonl")
    queries = open_queries(path, text_column="text")
    report = index_rows(queries, query_rows(student), store, options, lambda *_: None)
    header = store.header(report.set_id)
    store.close()
    return header


def sources(service: Service) -> dict[str, float]:
    """Query rows so far by source, and those that could not be used."""
    page = service.client.get("/metrics").text
    series = {s: f'winnow_query_rows_total{{source="{s}"}}' for s in ("cache", "store", "encoded")}
    for reason in ("corrupt_row", "store_error"):
        series[reason] = f'winnow_query_row_failures_total{{reason="{reason}"}}'
    return {name: counter(page, line) for name, line in series.items() if counter(page, line)}


@pytest.fixture(params=["lmdb", "redis"])
def own_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store with the shop's rows of one student, for one test alone."""
    url = f"lmdb:{tmp_path / 'rows'}"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.url
    index_shop(url, (MODEL,), tmp_path)
    return url


def test_a_query_is_found_that_was_encoded_from_another_text(
    start_service: StartService, tmp_path: Path, ids: list[str]
) -> None:
    store_url = f"lmdb:{tmp_path / 'rows'}"
    index_shop(store_url, (MODEL,), tmp_path)
    query, text = "running shoes", "running shoes [SEP] red trail runner men"
    service = start_service(store_url, {"models": MODEL, "query_cache_entries": "0"})
    service.wait_for("/readyz")
    alone, with_context = (service.score(q, ids, {"raw": True}).json() for q in (query, text))
    assert alone["raw_scores"] != with_context["raw_scores"]

    index_texts(store_url, tmp_path, {query: text})
    restarted = start_service(store_url, {"models": MODEL})
    restarted.wait_for("/readyz")
    found = restarted.score(query, ids, {"raw": True}).json()
    assert found["raw_scores"] == with_context["raw_scores"]
    assert sources(restarted) == {"store": 1}


def test_a_stored_row_scores_as_an_encoded_one(
    own_store: str, start_service: StartService, tmp_path: Path, ids: list[str]
) -> None:
    service = start_service(own_store, {"models": MODEL, "query_cache_entries": "0"})
    service.wait_for("/readyz")
    (before,) = service.client.get("/v1/models").json()["models"]
    assert (before["query_set"], before["stored_queries"]) == (None, None)
    encoded = {q: service.score(q, ids, {"raw": True}).json() for q in [*STORED, UNSEEN]}
    assert sources(service) == {"encoded": 4}

    header = index_queries(own_store, tmp_path, STORED)
    restarted = start_service(own_store, {"models": MODEL})
    restarted.wait_for("/readyz")
    (shown,) = restarted.client.get("/v1/models").json()["models"]
    assert (shown["query_set"], shown["stored_queries"]) == (header.set_id, 3)
    for query, expected in encoded.items():
        answer = restarted.score(query, ids, {"raw": True}).json()
        assert answer["scores"] == expected["scores"]
        assert answer["raw_scores"] == expected["raw_scores"]
    assert sources(restarted) == {"store": 3, "encoded": 1}
    assert restarted.score(STORED[0], ids[:1]).json()["scores"] == encoded[STORED[0]]["scores"][:1]
    assert sources(restarted) == {"store": 3, "encoded": 1, "cache": 1}


def test_a_running_service_finds_the_live_query_set(
    own_store: str, start_service: StartService, tmp_path: Path, ids: list[str]
) -> None:
    service = start_service(own_store, {"models": MODEL, "store_refresh_ms": "50"})
    service.wait_for("/readyz")
    header = index_queries(own_store, tmp_path, STORED)
    wait_for_query_set(service, header.set_id)
    service.score(STORED[1], ids[:3])
    assert sources(service) == {"store": 1}


def wait_for_query_set(service: Service, set_id: str | None) -> None:
    """Asks until the first model uses this set of query rows."""
    for _ in range(1_000):
        if service.wait_for("/v1/models").json()["models"][0]["query_set"] == set_id:
            return
    pytest.fail(f"expected query set {set_id}")


def test_rows_of_another_precision_are_not_used(
    own_store: str, start_service: StartService, tmp_path: Path, ids: list[str]
) -> None:
    index_queries(own_store, tmp_path, STORED, precision="float32")
    service = start_service(own_store, {"models": MODEL, "precision": "int8"})
    service.wait_for("/readyz")
    service.score(STORED[0], ids[:3])
    assert sources(service) == {"encoded": 1}


def test_a_corrupt_record_is_encoded(
    redis_server: RedisServer, start_service: StartService, tmp_path: Path, ids: list[str]
) -> None:
    index_shop(redis_server.url, (MODEL,), tmp_path)
    index_queries(redis_server.url, tmp_path, STORED)
    with redis.Redis.from_url(redis_server.url) as client:
        keys = [next(client.scan_iter(match=f"*:{query_id(q)}", count=100_000)) for q in STORED]
        client.set(keys[0], b"short")
        client.setrange(keys[1], 4, np.array([np.nan], "<f4").tobytes())
        client.delete(keys[2])
    service = start_service(redis_server.url, {"models": MODEL})
    service.wait_for("/readyz")
    for query in STORED:
        assert service.score(query, ids[:5]).json()["coverage"]["full"]
    assert sources(service) == {"encoded": 3, "corrupt_row": 2}


class FailingStore(MemoryStore):
    """Answers no `get`, and counts how often it was asked."""

    asked = 0

    def get(self, header: object, ids: object) -> list[bytes | None]:
        self.asked += 1
        raise StoreUnavailable("it stalls")


@pytest.fixture
def student(students: dict[str, OnnxStudent]) -> OnnxStudent:
    return students[MODEL]


@pytest.fixture
def header(student: OnnxStudent) -> SetHeader:
    rows = query_rows(student)
    return SetHeader(
        format_version=1,
        set_id=f"{rows.fingerprint[:8]}.1",
        fingerprint=rows.fingerprint,
        model=rows.model,
        width=rows.width,
        dtype="float32",
        segments={},
        count=0,
        created="2025-01-01T00:00:00+00:00",
        sealed=None,
    )


def test_a_store_that_fails_is_left_alone_until_the_next_refresh(
    student: OnnxStudent, header: SetHeader
) -> None:
    store = FailingStore()
    queries = QueryRows(student, store, 10)
    queries.use_stored(header)
    for query in ("a", "b", "c"):
        row, source = queries.get(query)
        assert source == "encoded"
        np.testing.assert_array_equal(row, student.encode_query(query))
    assert (store.asked, queries.stored) == (1, None)
    queries.use_stored(header)
    assert queries.get("c")[1] == "cache"
    assert queries.get("d")[1] == "encoded"
    assert store.asked == 2


def test_the_least_recently_used_row_goes_first(student: OnnxStudent) -> None:
    queries = QueryRows(student, MemoryStore(), 2)
    assert [queries.get(query)[1] for query in ("a", "b", "a", "c", "a", "b")] == [
        *("encoded", "encoded", "cache", "encoded", "cache", "encoded")
    ]
    row, _ = queries.get("a")
    with pytest.raises(ValueError, match="read-only"):
        row[0, 0] = 1.0
