"""Rerank wrappers of rerankers, LangChain and LlamaIndex, as published: `make test-clients`."""

import pytest

from tests.clients.conftest import MODEL, NO_CLIENTS, QUERY
from tests.service.conftest import Service

Ranked = list[tuple[str, float]]
pytestmark = pytest.mark.filterwarnings("default")  # those of other projects are theirs


@pytest.mark.parametrize(
    ("provider", "path"),
    [
        ("cohere", "/v2/rerank"),
        ("cohere", "/v1/rerank"),
        ("jina", "/v1/rerank"),
        ("text-embeddings-inference", "/rerank"),
    ],
)
def test_rerankers(
    service: Service, few: dict[str, str], best_first: Ranked, provider: str, path: str
) -> None:
    api_rankers = pytest.importorskip("rerankers.models.api_rankers", reason=NO_CLIENTS)
    ranker = api_rankers.APIRanker(MODEL, "any key", provider, url=service.url + path)
    ranked = ranker.rank(QUERY, list(few.values()), doc_ids=list(few))
    assert [(each.document.text, each.score) for each in ranked.results] == best_first
    assert few[ranked.top_k(1)[0].document.doc_id] == best_first[0][0]


def test_langchain_cohere(service: Service, few: dict[str, str], best_first: Ranked) -> None:
    langchain_cohere = pytest.importorskip("langchain_cohere", reason=NO_CLIENTS)
    wrapper = langchain_cohere.CohereRerank(
        base_url=service.url, cohere_api_key="any key", model=MODEL, top_n=4
    )
    assert _compressed(wrapper, few) == best_first[:4]
    with pytest.raises(Exception, match=MODEL):  # it names the models that are served
        wrapper.rerank(["a"], QUERY, model="rerank-v3.5")


def test_langchain_infinity(service: Service, few: dict[str, str], best_first: Ranked) -> None:
    compressors = pytest.importorskip(
        "langchain_community.document_compressors.infinity_rerank", reason=NO_CLIENTS
    )
    infinity = pytest.importorskip("infinity_client", reason=NO_CLIENTS)
    client = infinity.Client(base_url=service.url)
    wrapper = compressors.InfinityRerank(client=client, model=MODEL, top_n=4)
    assert _compressed(wrapper, few) == best_first[:4]


def test_llama_index_cohere(service: Service, few: dict[str, str], best_first: Ranked) -> None:
    cohere_rerank = pytest.importorskip(
        "llama_index.postprocessor.cohere_rerank", reason=NO_CLIENTS
    )
    wrapper = cohere_rerank.CohereRerank(
        top_n=4, model=MODEL, api_key="any key", base_url=service.url
    )
    assert _postprocessed(wrapper, few) == best_first[:4]


def test_llama_index_tei(service: Service, few: dict[str, str], best_first: Ranked) -> None:
    tei_rerank = pytest.importorskip("llama_index.postprocessor.tei_rerank", reason=NO_CLIENTS)
    wrapper = tei_rerank.TextEmbeddingInference(top_n=4, base_url=service.url, auth_token="any")
    assert _postprocessed(wrapper, few) == best_first[:4]


def test_llama_index_jina(service: Service, few: dict[str, str], best_first: Ranked) -> None:
    jina_rerank = pytest.importorskip("llama_index.postprocessor.jinaai_rerank", reason=NO_CLIENTS)
    wrapper = jina_rerank.JinaRerank(
        top_n=4, model=MODEL, base_url=f"{service.url}/v1", api_key="any key"
    )
    assert _postprocessed(wrapper, few) == best_first[:4]


def _compressed(wrapper, few: dict[str, str]) -> Ranked:  # type: ignore[no-untyped-def]
    from langchain_core.documents import Document

    documents = [Document(title, metadata={"sku": product}) for product, title in few.items()]
    return [
        (few[each.metadata["sku"]], each.metadata["relevance_score"])
        for each in wrapper.compress_documents(documents, QUERY)
    ]


def _postprocessed(wrapper, few: dict[str, str]) -> Ranked:  # type: ignore[no-untyped-def]
    from llama_index.core.schema import NodeWithScore, TextNode

    nodes = [NodeWithScore(node=TextNode(text=title)) for title in few.values()]
    return [
        (each.node.get_content(), each.score)
        for each in wrapper.postprocess_nodes(nodes, query_str=QUERY)
    ]
