"""The Open Inference Protocol over HTTP, asked by tritonclient and by hand."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.service.conftest import MODELS, Service
from tests.service.rollouts import MODEL, index_rotated, operate, three_versions
from tests.service.test_operation import counter
from tests.service.triton import Triton, triton

QUERY = "red running shoes"
INFER = f"/v2/models/{MODELS[0]}/infer"


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Triton]:
    """tritonclient[http]."""
    with triton("http", service.port) as asking:
        yield asking


def scored(service: Service, model: str, query: str, ids: list[str], raw: bool = False) -> str:
    """What `/score` answers in binary, as hexadecimal; `raw`: the scores that are in JSON only."""
    body = {"query": query, "product_ids": ids, "model": model, "raw": raw}
    headers = {"Accept": "application/json" if raw else "application/octet-stream"}
    response = service.client.post("/score", json=body, headers=headers)
    assert response.status_code == 200, response.text
    if not raw:
        return response.content.hex()
    return np.array(response.json()["raw_scores"], np.float32).tobytes().hex()


def body(
    ids: list[str] | None = None, fields: dict[str, object] | None = None
) -> dict[str, object]:
    """A good request in JSON, with other fields added."""
    chosen = ["p0001", "p0002"] if ids is None else ids
    inputs = [
        {"name": "query", "datatype": "BYTES", "shape": [1], "data": ["lamp"]},
        {"name": "product_ids", "datatype": "BYTES", "shape": [len(chosen)], "data": chosen},
    ]
    return {"inputs": inputs, **(fields or {})}


def error(response: httpx.Response, status: int) -> str:
    """The text of an error, which is all that the protocol's errors have."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert document.keys() == {"error"}
    return str(document["error"])


@pytest.mark.parametrize("model", MODELS)
def test_scores_are_those_of_score_bit_by_bit(
    service: Service, client: Triton, ids: list[str], model: str
) -> None:
    chosen = [*random.Random(3).sample(ids, 600), "no such product", "牛"]
    answer = client.infer(model, QUERY, chosen, {"request_id": "a-1"})
    assert answer["scores"] == scored(service, model, QUERY, chosen)
    assert answer["raw_scores"][: 600 * 8] == scored(service, model, QUERY, chosen[:600], True)
    assert answer["found"] == "01" * 600 + "0000"
    response = answer["response"]
    assert (response["model_name"], response["id"]) == (model, "a-1")
    expected = {"requested": 602, "scored": 600, "full": False, "missing_product": 2}
    assert response["parameters"] == expected


def test_json_has_the_same_scores_and_null_where_there_is_none(
    service: Service, client: Triton, ids: list[str]
) -> None:
    chosen = [*ids[:40], "no such product"]
    options = {"binary": False, "outputs": ["found", "scores"], "query_shape": [1, 1]}
    answer = client.infer(MODELS[0], QUERY, chosen, options)
    first, second = answer["response"]["outputs"]
    assert (first["name"], second["name"]) == ("found", "scores")
    assert first["data"] == [True] * 40 + [False]
    assert second["data"][40] is None
    scores = np.frombuffer(bytes.fromhex(answer["scores"]), np.float32)
    expected = np.frombuffer(bytes.fromhex(scored(service, MODELS[0], QUERY, chosen)), np.float32)
    np.testing.assert_array_equal(scores, expected)  # NaN equals NaN
    assert answer["raw_scores"] is None


def test_tritonclient_learns_what_there_is(service: Service, client: Triton) -> None:
    served = service.client.get("/v1/models").json()["models"][1]
    version = served["version"]
    facts = client.ask("facts", {"model": MODELS[1], "version": version})
    assert (facts["live"], facts["ready"], facts["model_ready"]) == (True, True, True)
    assert facts["server"]["extensions"] == ["binary_tensor_data"]
    assert facts["model"] == {
        "name": MODELS[1],
        "versions": [version],
        "platform": "onnx_onnxv1",
        "inputs": [
            {"name": "query", "datatype": "BYTES", "shape": [1]},
            {"name": "product_ids", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": "scores", "datatype": "FP32", "shape": [-1]},
            {"name": "found", "datatype": "BOOL", "shape": [-1]},
            {"name": "raw_scores", "datatype": "FP32", "shape": [-1]},
        ],
    }
    assert client.ask("ready", {"model": "nobody"}) == {"model_ready": False}
    assert client.ask("ready", {"model": MODELS[0], "version": "9"}) == {"model_ready": False}


def test_integer_ids_are_looked_up_in_decimal(client: Triton) -> None:
    answer = client.infer(MODELS[0], QUERY, [17, -4])
    assert answer["found"] == "0000"  # the shop's ids are p0001 and so on
    assert answer["response"]["parameters"]["missing_product"] == 2


def test_a_time_that_is_over_gives_no_score_or_with_strict_no_answer(client: Triton) -> None:
    answer = client.infer(MODELS[0], QUERY, ["p0001"], {"timeout": 1})
    assert (answer["scores"], answer["found"]) == ("0000c07f", "00")
    assert answer["response"]["parameters"]["deadline"] == 1
    strict = {"parameters": {"deadline_us": 1, "strict": True}}
    answer = client.infer(MODELS[0], QUERY, ["p0001"], strict)
    assert answer["status"] == "504"
    assert "deadline" in answer["error"]


def test_tritonclient_shows_what_is_wrong(client: Triton) -> None:
    answer = client.infer("nobody", QUERY, ["p0001"])
    assert answer["status"] == "404"
    assert answer["error"].endswith(f"served: {', '.join(MODELS)}")
    answer = client.infer(MODELS[0], QUERY, ["p0001"] * 10_001)
    assert (answer["status"], "10000" in answer["error"]) == ("413", True)
    zipped = {"request_compression_algorithm": "gzip"}
    answer = client.infer(MODELS[0], QUERY, ["p0001"], zipped)
    assert (answer["status"], "uncompressed" in answer["error"]) == ("415", True)


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        ({"inputs": []}, 422, "query and product_ids"),
        ({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1]}]}, 422, "inputs.0.name"),
        ({"inputs": body()["inputs"] * 2}, 422, "each once"),  # type: ignore[operator]
        ({"outputs": [{"name": "probability"}]}, 422, "outputs.0.name"),
        ({"outputs": [{"name": "found"}, {"name": "found"}]}, 422, "found twice"),
        ({"parameters": {"timeout": 0}}, 422, "parameters.timeout"),
        ({"parameters": {"timeout": "5"}}, 422, "parameters.timeout"),
        ({"parameters": {"deadline_us": True}}, 422, "parameters.deadline_us"),
        ({"parameters": {"deadline_us": 5, "timeout": 5}}, 422, "timeout or deadline_us"),
        ({"parameters": {"priority": 3}}, 422, "parameters.priority"),
        ({"parameters": {"strict": "yes"}}, 422, "strict"),
        ({"parameters": {"binary_data_output": 1}}, 422, "binary_data"),
        ({"model_name": "another"}, 422, "model_name"),
        ({"treshold": 1}, 422, "treshold"),
        ({"id": 7}, 422, "id"),
    ],
)
def test_a_request_that_is_no_good_is_refused_and_says_why(
    service: Service, change: dict[str, object], status: int, named: str
) -> None:
    assert named in error(service.client.post(INFER, json=body(fields=change)), status)


@pytest.mark.parametrize(
    ("tensor", "change", "what"),
    [
        (0, {"datatype": "INT64"}, "query: expected BYTES of shape [1]"),
        (0, {"shape": [2]}, "query: expected BYTES of shape [1]"),
        (0, {"data": ["a", "b"]}, "query: expected one string"),
        (0, {"data": [7]}, "query: expected one string"),
        (0, {"data": ["x" * 1001]}, "query: expected at most 1000 characters"),
        (0, {"data": None}, "query: expected one string"),
        (1, {"shape": [1, 2]}, "product_ids: expected BYTES or INT64 of shape [N]"),
        (1, {"shape": [3]}, "product_ids: expected 3 elements"),
        (1, {"shape": [-1]}, "inputs.1.shape.0"),
        (1, {"shape": [10**19]}, "inputs.1.shape.0"),
        (1, {"shape": [2**62]}, "expected at most 10000"),
        (1, {"data": ["p1", 2]}, "product_ids.1: expected a string"),
        (1, {"data": ["p1", ""]}, "product_ids.1: expected 1 to 256 bytes"),
        (1, {"data": ["p1", "牛" * 86]}, "product_ids.1: expected 1 to 256 bytes"),
        (1, {"datatype": "INT64"}, "expected integers"),
        (1, {"datatype": "INT64", "data": [1, True]}, "expected integers"),
        (1, {"parameters": {"shared_memory_region": "a"}}, "shared_memory_region"),
        (1, {"parameters": {"binary_data_size": 4}}, "expected data or binary_data_size"),
    ],
)
def test_a_tensor_that_is_no_good_is_refused_and_says_why(
    service: Service, tensor: int, change: dict[str, object], what: str
) -> None:
    request = body()
    inputs = request["inputs"]
    assert isinstance(inputs, list)
    inputs[tensor].update(change)
    response = service.client.post(INFER, json=request)
    assert what in error(response, 413 if "at most 10000" in what else 422)


def test_what_is_no_json_or_no_call_is_an_error_of_the_protocol(service: Service) -> None:
    assert "JSON" in error(service.client.post(INFER, content=b"{"), 400)
    assert "limit" not in error(service.client.post(INFER, content=b" " * (4 * 2**20 + 1)), 413)
    error(service.client.get(f"/v2/models/{MODELS[0]}/config"), 404)
    response = service.client.get(INFER)
    error(response, 405)
    assert response.headers["allow"] == "POST"


def test_no_candidates_are_no_scores(service: Service) -> None:
    answer = service.client.post(INFER, json=body([])).json()
    assert answer["outputs"][0] == {"name": "scores", "datatype": "FP32", "shape": [0], "data": []}
    assert answer["parameters"] == {"requested": 0, "scored": 0, "full": True}


def test_models_are_no_labels_and_requests_are_counted(service: Service) -> None:
    for name in ("one", "two"):
        error(service.client.post(f"/v2/models/{name}/infer", json=body()), 404)
    assert service.client.post(INFER, json=body()).status_code == 200
    page = service.client.get("/metrics").text
    label = 'endpoint="/v2/models/{model}/infer"'
    assert counter(page, f'winnow_request_duration_seconds_count{{code="404",{label}}}') >= 2
    assert counter(page, f"winnow_request_candidates_count{{{label}}}") >= 1
    assert "/models/one" not in page


def test_a_version_answers_that_is_active_or_the_canary(ids: list[str], tmp_path: Path) -> None:
    bundles = three_versions(tmp_path)
    store = f"lmdb:{tmp_path / 'rows'}"
    index_rotated(store, bundles, "1", 0, tmp_path)
    with ExitStack() as stack:
        operated = operate(stack, store, bundles, tmp_path, {"workers": "2"})
        asked = operated.service.client
        url = f"/v2/models/{MODEL}"
        assert asked.get(url).json()["versions"] == ["1"]
        canary = {"version": "2", "share": 0.0001}
        assert operated.admin.put(f"/v1/models/{MODEL}/canary", json=canary).status_code == 200
        assert asked.get(url).json()["versions"] == ["1", "2"]
        answers = {}
        for version in ("1", "2"):
            response = asked.post(f"{url}/versions/{version}/infer", json=body(ids[:30]))
            answers[version] = response.json()
            assert answers[version]["model_version"] == version
            assert asked.get(f"{url}/versions/{version}/ready").json()["ready"]
        assert answers["1"]["outputs"][0] != answers["2"]["outputs"][0]
        assert asked.post(f"{url}/infer", json=body(ids[:30])).json() == answers["1"]
        for call in (
            asked.post(f"{url}/versions/3/infer", json=body()),
            asked.get(f"{url}/versions/3"),
            asked.get(f"{url}/versions/3/ready"),
        ):
            assert error(call, 404).endswith("served: 1, 2")
