"""Cohere's own client, v1 and v2, sync and async: only its base URL is another."""

import asyncio

import cohere
import httpx
import pytest

from tests.clients.conftest import MODEL, QUERY
from tests.service.conftest import Service

Ranked = list[tuple[str, float]]


def test_v2(service: Service, few: dict[str, str], best_first: Ranked) -> None:
    texts = list(few.values())
    with cohere.ClientV2("any key", base_url=service.url) as client:
        answer = client.rerank(model=MODEL, query=QUERY, documents=texts, top_n=5)
    assert [(texts[each.index], each.relevance_score) for each in answer.results] == best_first[:5]
    assert answer.id
    assert answer.meta is not None
    assert answer.meta.api_version is not None
    assert answer.meta.api_version.version == "2"
    assert answer.meta.billed_units is not None
    assert answer.meta.billed_units.search_units == 0


def test_v2_without_waiting(service: Service, few: dict[str, str], best_first: Ranked) -> None:
    async def ask() -> Ranked:
        texts = list(few.values())
        async with cohere.AsyncClientV2("any key", base_url=service.url) as client:
            answer = await client.rerank(
                model=MODEL, query=QUERY, documents=texts, max_tokens_per_doc=100
            )
        assert answer.meta is not None
        assert answer.meta.warnings is not None
        assert "max_tokens_per_doc" in answer.meta.warnings[0]
        return [(texts[each.index], each.relevance_score) for each in answer.results]

    assert asyncio.run(ask()) == best_first


def test_v1_with_document_objects(
    service: Service, few: dict[str, str], best_first: Ranked
) -> None:
    documents = [{"title": title, "sku": product} for product, title in few.items()]
    with cohere.Client("any key", base_url=service.url) as client:
        answer = client.rerank(
            query=QUERY,
            documents=documents,
            model=MODEL,
            rank_fields=["title"],
            return_documents=True,
        )
    found = []
    for each in answer.results:
        assert each.document is not None
        assert each.document.model_dump(exclude_unset=True) == documents[each.index]
        found.append((documents[each.index]["title"], each.relevance_score))
    assert found == best_first
    assert answer.meta is not None
    assert answer.meta.api_version is not None
    assert answer.meta.api_version.version == "1"


def test_product_ids_by_the_query_string(
    service: Service, few: dict[str, str], best_first: Ranked
) -> None:
    """Any client that lets its caller have a say in the HTTP client below it."""
    ids = list(few)
    with httpx.Client(params={"documents": "ids"}) as http:
        client = cohere.ClientV2("any key", base_url=service.url, httpx_client=http)
        answer = client.rerank(model=MODEL, query=QUERY, documents=[*ids, "nobody"])
    assert [(few[ids[each.index]], each.relevance_score) for each in answer.results] == best_first


def test_errors_are_the_clients_own(service: Service) -> None:
    with cohere.ClientV2("any key", base_url=service.url) as client:
        with pytest.raises(cohere.NotFoundError) as unknown:
            client.rerank(model="rerank-v3.5", query=QUERY, documents=["a"])
        assert MODEL in str(unknown.value.body)
        with pytest.raises(cohere.UnprocessableEntityError):
            client.rerank(model=MODEL, query="a" * 1_001, documents=["a"])
