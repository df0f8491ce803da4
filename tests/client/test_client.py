"""What the client says of a service that is well, and of requests that are at fault."""

import ast
import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import requires
from math import isnan
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import winnow_client
from winnow_client import (
    AsyncClient,
    BoundedTransport,
    Client,
    InvalidRequest,
    NotFound,
    Reranked,
    TooLarge,
    Unauthorized,
)

from tests.client.conftest import MODEL, Open, Shop, StartPeer, answers, scores

IDS = ["p0044", "nobody", "p0023", "p0001"]
PATIENT_MS = 30_000


def test_scores_are_those_of_the_service(client: Open, shop: Shop) -> None:
    got = client(shop.service.url, api_key=shop.key, deadline_ms=PATIENT_MS).score("shoes", IDS)
    told = shop.service.score("shoes", IDS).json()
    assert got.or_none() == [None if s is None else np.float32(s) for s in told["scores"]]
    assert isnan(got.scores[1])
    assert (got.model, got.version) == (told["model"], told["version"])
    assert got.coverage.degraded == told["coverage"]["degraded"] == {"missing_product": 1}
    assert (got.coverage.requested, got.coverage.scored, got.coverage.full) == (4, 3, False)
    assert not got.fell_back
    assert np.shares_memory(np.asarray(got.scores), np.asarray(got.scores))
    assert np.asarray(got.scores).dtype == np.float32


def test_no_candidates_are_no_error(client: Open, shop: Shop) -> None:
    got = client(shop.service.url, api_key=shop.key, deadline_ms=PATIENT_MS).score("shoes", [])
    assert (list(got.scores), got.coverage.full) == ([], True)


def test_filter_says_what_the_service_says(client: Open, shop: Shop) -> None:
    fields: dict[str, Any] = {
        "sort": "price",
        "threshold": 0.5,
        "missing": "last",
        "sort_values": [3.0, 1.0, None, 2.0],
        "order": "desc",
        "min_keep": 2,
    }
    opened = client(shop.service.url, api_key=shop.key, deadline_ms=PATIENT_MS)
    got = opened.filter("red running shoes", IDS, **fields)
    told = shop.service.filter("red running shoes", IDS, fields).json()
    assert (got.kept, got.removed) == (told["kept"], told["removed"])
    assert (got.threshold, got.model, got.passed_through) == (0.5, MODEL, False)
    assert got.removed
    assert not got.fell_back


def test_requests_at_fault_raise_what_the_service_says(client: Open, shop: Shop) -> None:
    opened = client(shop.service.url, api_key=shop.key, deadline_ms=PATIENT_MS)
    with pytest.raises(NotFound, match=MODEL) as unknown:
        opened.filter("shoes", IDS, "price", model="nobody")
    assert (unknown.value.status, len(unknown.value.request_id or "")) == (404, 32)
    with pytest.raises(InvalidRequest, match="sort"):
        opened.filter("shoes", IDS, "sideways")  # type: ignore[arg-type]
    with pytest.raises(TooLarge, match="at most 10000 product_ids, got 10001"):
        opened.score("shoes", ["p0001"] * 10_001, fallback=True)
    with pytest.raises(Unauthorized, match="Authorization"):
        client(shop.service.url).score("shoes", IDS)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"product_ids": "p0044"}, "product_ids: expected a sequence of str, got str"),
        ({"deadline_ms": 0}, "deadline_ms: expected above 0"),
        ({"deadline_ms": 60_001}, "at most 60000, got 60001"),
        ({"key": "one\nheader: more"}, "key: expected printable ASCII"),
    ],
)
def test_what_cannot_be_sent_is_refused_here(
    client: Open, asked: dict[str, Any], expected: str
) -> None:
    opened = client("http://127.0.0.1:9")
    with pytest.raises((TypeError, ValueError), match=expected):
        opened.score(**{"query": "shoes", "product_ids": IDS, **asked})
    with pytest.raises(ValueError, match="sort_values: expected one per product id"):
        opened.filter("shoes", IDS, "price", sort_values=[1.0])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"url": "127.0.0.1:8000"}, "url: expected one such as"),
        ({"url": "ftp://host"}, "url: expected one such as"),
        ({"deadline_ms": -1}, "deadline_ms"),
        ({"retries": -1}, "retries"),
        ({"retry_ratio": 2}, "retry_ratio"),
        ({"retry_burst": -1}, "retry_burst"),
        ({"api_key": "secret\n"}, "^api_key: expected printable ASCII, one character or more$"),
    ],
)
def test_options_are_checked_at_once(client: Open, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        client(**{"url": "http://127.0.0.1:9", **options})


def test_rerank_orders_texts_and_products(client: Open, shop: Shop) -> None:
    opened = client(shop.service.url, api_key=shop.key, deadline_ms=PATIENT_MS)
    texts = ["desk lamp", "Red Running Shoes Size 42", "tent"]
    got = opened.rerank("red running shoes", texts)
    assert got.results[0].index == 1
    assert [each.index for each in got.results] == sorted(range(3), key=lambda i: -_of(got, i))
    assert (got.model, got.coverage.full, got.fell_back) == (MODEL, True, False)
    # The scores of products are those that /score has; one without a row is no result.
    scored = opened.score("shoes", IDS)
    by_id = opened.rerank("shoes", IDS, ids=True)
    assert {each.index: each.score for each in by_id.results} == {
        i: pytest.approx(scored.scores[i]) for i in (0, 2, 3)
    }
    assert by_id.coverage.degraded == {"missing_product": 1}
    assert opened.rerank("shoes", IDS, ids=True, top_n=2).results == by_id.results[:2]
    with pytest.raises(NotFound, match=MODEL):
        opened.rerank("shoes", texts, model="nobody")


def _of(got: Reranked, index: int) -> float:
    (score,) = (each.score for each in got.results if each.index == index)
    assert score is not None
    return score


def test_rerank_speaks_cohere(client: Open, peer: StartPeer) -> None:
    results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.0}]
    coverage = {"requested": 3, "scored": 2, "degraded": {"missing_product": 1}}
    meta = {"api_version": {"version": "2"}, "version": "7", "coverage": coverage}
    there = peer(answers(200, {"id": "x", "model": "m", "results": results, "meta": meta}))
    opened = client(there.url, api_key="k", deadline_ms=PATIENT_MS)
    got = opened.rerank("tent", ["a", "b", "c"], top_n=2)
    assert [(each.index, each.score) for each in got.results] == [(1, 0.9), (0, 0.0)]
    assert (got.model, got.version, got.fell_back) == ("m", "7", False)
    assert got.coverage.degraded == {"missing_product": 1}
    (asked,) = there.sent
    asked.pop("deadline_ms")
    assert asked == {"query": "tent", "documents": ["a", "b", "c"], "top_n": 2}
    assert there.heads[0].startswith("post /v2/rerank http/1.1")
    assert "authorization: bearer k" in there.heads[0]
    opened.rerank("tent", ["p0001", "p0002"], ids=True)
    assert there.heads[1].startswith("post /v2/rerank?documents=ids http/1.1")
    # A result for a document that was not sent is none.
    assert opened.rerank("tent", ["a"]).fell_back


def test_connections_are_used_again_and_texts_sent_as_they_are(
    client: Open, peer: StartPeer
) -> None:
    there = peer(scores(0.5))
    opened = client(there.url, deadline_ms=PATIENT_MS)
    for _ in range(10):
        assert opened.score("größe 杯子", ["p"], key="shopper-1").or_none() == [0.5]
    assert there.connections == 1
    assert there.sent[0]["query"] == "größe 杯子"
    assert "x-winnow-key: shopper-1" in there.heads[0]
    assert "accept: application/octet-stream" in there.heads[0]


def test_many_threads_share_a_client(shop: Shop) -> None:
    ids = [f"p{i:04}" for i in range(1, 400)]
    lists = [ids[i : i + 40] for i in range(0, 360, 3)]
    expected = [shop.service.score("tent", each).json()["scores"] for each in lists]
    with (
        Client(shop.service.url, api_key=shop.key, deadline_ms=PATIENT_MS) as winnow,
        ThreadPoolExecutor(8) as threads,
    ):
        got = list(threads.map(lambda each: winnow.score("tent", each), lists))
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.or_none() == [np.float32(score) for score in theirs]


async def _many(shop: Shop) -> list[list[float | None]]:
    async with AsyncClient(shop.service.url, api_key=shop.key, deadline_ms=PATIENT_MS) as winnow:
        calls = [winnow.score("tent", [f"p{i:04}"]) for i in range(1, 61)]
        return [answer.or_none() for answer in await asyncio.gather(*calls)]


def test_many_tasks_share_a_client(shop: Shop) -> None:
    whole = shop.service.score("tent", [f"p{i:04}" for i in range(1, 61)]).json()["scores"]
    assert asyncio.run(_many(shop)) == [[np.float32(score)] for score in whole]


def test_a_name_with_several_addresses_and_a_transport_of_ones_own(shop: Shop) -> None:
    url = f"http://localhost:{shop.service.port}"
    for transport in (BoundedTransport(max_connections=1), httpx.HTTPTransport()):
        with Client(url, api_key=shop.key, deadline_ms=PATIENT_MS, transport=transport) as winnow:
            assert winnow.score("tent", ["p0001"]).coverage.full


def test_it_needs_httpx_and_nothing_else() -> None:
    assert requires("winnow-client") == ["httpcore>=1", "httpx>=0.27"]
    imported: set[str] = set()
    for module in Path(winnow_client.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
    assert imported - sys.stdlib_module_names == {"httpcore", "httpx", "winnow_client"}
    assert not imported & {"pickle", "marshal", "shelve"}
