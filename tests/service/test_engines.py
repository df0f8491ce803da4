"""The requests of docs/engines.md: each is JSON, and those that reach Winnow get what is read."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.conftest import Service

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"
WINNOW_URL = "http://winnow:8000"
QUERY = 'red "running" shoes \\ 24"\n鞋'


@dataclass(frozen=True)
class Block:
    """A block of JSON of the page: its body and, but for parts of others, how it is sent."""

    request: str
    body: dict[str, Any]

    @property
    def path(self) -> str:
        return self.request.partition(" ")[2]


def blocks() -> list[Block]:
    found = []
    for text in re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        request, _, body = text.partition("\n")
        if request == "{":
            request, body = "", text
        found.append(Block(request, json.loads(body)))
    return found


def the(path: str) -> dict[str, Any]:
    """The body that is sent to a path of an engine."""
    (body,) = (each.body for each in blocks() if each.path == path)
    return body


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template with every ${name} replaced; one without a value is a mistake in the page."""
    return re.sub(r"\$\{([^}]+)\}", lambda name: values[name[1]], template)


def opensearch_actions() -> Iterator[dict[str, Any]]:
    yield from the("/_plugins/_ml/connectors/_create")["actions"]
    yield from (each.body for each in blocks() if "action_type" in each.body)


def check_scores(read: object, documents: list[str], ids: list[str]) -> None:
    """Every index once, each with a float; a double there, and an array to be filled by index."""
    assert isinstance(read, list)
    assert sorted(each["index"] for each in read) == list(range(len(documents)))
    for each in read:
        assert set(each) == {"index", "relevance_score"}
        assert type(each["index"]) is int
        assert type(each["relevance_score"]) is float
        assert (documents[each["index"]] in ids) == (each["relevance_score"] > 0.0)


@pytest.fixture
def documents(ids: list[str]) -> list[str]:
    """Ids as an engine has them: one has no row, one hit had no id."""
    return [*ids[:30], "not indexed yet", *ids[30:60], ""]


@pytest.mark.parametrize("action", list(opensearch_actions()), ids=lambda each: each["url"])
def test_opensearch_reads_its_connectors(
    service: Service, ids: list[str], documents: list[str], action: dict[str, Any]
) -> None:
    assert action["pre_process_function"] == "connector.pre_process.cohere.rerank"
    values = {
        "parameters.query": json.dumps(QUERY)[1:-1],  # escaped; the template has the quotes
        "parameters.documents": json.dumps(documents),
        "parameters.top_n": str(len(documents)),
        "credential.api_key": "a key",
    }
    response = service.client.post(
        action["url"].replace(WINNOW_URL, service.url),
        content=filled(action["request_body"], values).encode(),
        headers={name: filled(value, values) for name, value in action["headers"].items()},
    )
    assert response.status_code == 200, response.text
    read = {
        "connector.post_process.cohere.rerank": lambda answer: answer["results"],
        "connector.post_process.default.rerank": lambda answer: answer,
    }[action["post_process_function"]](response.json())
    check_scores(read, documents, ids)
    (trusted,) = the("/_cluster/settings")["persistent"][
        "plugins.ml_commons.trusted_connector_endpoints_regex"
    ]
    assert re.fullmatch(trusted, action["url"])


def test_opensearch_goes_on_without_winnow() -> None:
    (processor,) = the("/_search/pipeline/winnow")["response_processors"]
    assert processor["rerank"]["ignore_failure"] is True
    assert len(processor["rerank"]["context"]["document_fields"]) == 1
    (search,) = (each for each in blocks() if each.path.startswith("/products/_search?"))
    assert search.path.endswith("search_pipeline=winnow")


def test_elasticsearch_reads_its_endpoint(
    service: Service, ids: list[str], documents: list[str]
) -> None:
    endpoint = next(
        each.body for each in blocks() if each.request == "PUT /_inference/rerank/winnow"
    )
    settings = endpoint["service_settings"]
    values = {"query": json.dumps(QUERY), "input": json.dumps(documents)}
    response = httpx.post(
        settings["url"].replace(WINNOW_URL, service.url),
        params=httpx.QueryParams([tuple(pair) for pair in settings["query_parameters"]]),
        content=filled(settings["request"], values).encode(),
        headers={
            name: filled(value, settings["secret_parameters"])
            for name, value in settings["headers"].items()
        },
    )
    assert response.status_code == 200, response.text
    columns = {
        re.fullmatch(r"\$\.results\[\*\]\.(\w+)", path)[1]: name  # type: ignore[index]
        for name, path in settings["response"]["json_parser"].items()
    }
    assert columns == {"index": "reranked_index", "relevance_score": "relevance_score"}
    check_scores(response.json()["results"], documents, ids)
    retriever = the("/products/_search")["retriever"]["text_similarity_reranker"]
    assert retriever["allow_rerank_failures"] is True
    assert retriever["inference_id"] == "winnow"


def test_what_an_application_sends_is_answered(service: Service) -> None:
    asked = [each for each in blocks() if each.path.startswith(WINNOW_URL)]
    assert len(asked) == 2
    for each in asked:
        body = {**each.body, "deadline_ms": 20_000}  # a test machine may be slow
        response = service.client.post(each.path.replace(WINNOW_URL, service.url), json=body)
        assert response.status_code == 200, response.text
        assert len(response.json().get("results") or response.json()["kept"]) > 0
