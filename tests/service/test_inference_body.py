"""Bodies of the binary extension: read as they were written, and any other bytes refused."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ServiceError
from service.inference_body import decode
from service.inference_tensors import candidates_of
from vector_store.ids import ProductIds

MODEL = "shop"
IDS = st.lists(st.text("abc-1é牛👟", min_size=1, max_size=60), max_size=30)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def bytes_tensor(elements: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in elements)


def request(query: str, ids: list[str]) -> tuple[dict[str, object], list[bytes]]:
    """The JSON of a request and its two tensors, all of them in bytes."""
    raw = [bytes_tensor([query.encode()]), bytes_tensor([each.encode() for each in ids])]
    shapes = {"query": [1], "product_ids": [len(ids)]}
    inputs = [
        {
            **{"name": name, "datatype": "BYTES", "shape": shape},
            "parameters": {"binary_data_size": len(each)},
        }
        for (name, shape), each in zip(shapes.items(), raw, strict=True)
    ]
    return {"inputs": inputs}, raw


def read(body: bytes, header: str | None) -> tuple[str, ProductIds]:
    asked, _ = decode(body, header, MODEL)
    return candidates_of(asked.tensors, 10_000, 1_000)


@settings(deadline=None)
@given(st.text(max_size=40), IDS)
def test_what_was_written_is_read(query: str, ids: list[str]) -> None:
    content, raw = request(query, ids)
    text = json.dumps(content).encode()
    found, product_ids = read(b"".join([text, *raw]), str(len(text)))
    assert (found, product_ids.strings()) == (query, ids)


@settings(deadline=None)
@given(st.text(max_size=40), IDS)
def test_json_alone_is_the_same_request(query: str, ids: list[str]) -> None:
    inputs = [
        {"name": "query", "datatype": "BYTES", "shape": [1, 1], "data": [[query]]},
        {"name": "product_ids", "datatype": "BYTES", "shape": [len(ids)], "data": ids},
    ]
    body = json.dumps({"inputs": inputs, "model_name": MODEL}).encode()
    found, product_ids = read(body, None)
    assert (found, product_ids.strings()) == (query, ids)


@settings(deadline=None)
@given(st.data())
def test_whatever_is_changed_is_read_or_refused(data: st.DataObject) -> None:
    """Sizes, header and bytes that don't fit: a ServiceError, never another one."""
    content, raw = request("lamp", ["p1", "p2", "牛"])
    inputs = content["inputs"]
    assert isinstance(inputs, list)
    place = data.draw(st.sampled_from([0, 1]))
    field = data.draw(st.sampled_from(["name", "datatype", "shape", "parameters", "data", "size"]))
    if field == "size":
        inputs[place]["parameters"] = {"binary_data_size": data.draw(ANY_JSON)}
    else:
        inputs[place][field] = data.draw(ANY_JSON)
    for other in ("outputs", "parameters", "id", "other"):
        if data.draw(st.integers(0, 9)) == 0:
            content[other] = data.draw(ANY_JSON)
    text = json.dumps(content).encode()
    header = data.draw(st.sampled_from([str(len(text)), None]) | st.text(max_size=12))
    rest = data.draw(st.sampled_from([b"".join(raw), b"".join(raw)[:-1]]) | st.binary(max_size=60))
    try:
        query, ids = read(text + rest, header)
    except ServiceError:
        return
    assert isinstance(query, str)
    assert len(ids) <= 10_000


@settings(deadline=None)
@given(st.binary(max_size=200), st.none() | st.text(max_size=30))
def test_any_bytes_are_refused(body: bytes, header: str | None) -> None:
    with pytest.raises(ServiceError):
        read(body, header)


@pytest.mark.parametrize(
    "header",
    [
        *("", " ", "-1", "+5", "0", "0x10", "1e2", "5.0", "٣", "999999999", "9" * 30, "9" * 5000),
        *("18446744073709551616", "9223372036854775808", "-9223372036854775809", "12 ", "nan"),
    ],
)
def test_a_length_of_json_that_is_none_is_refused(header: str) -> None:
    with pytest.raises(ServiceError, match="Inference-Header-Content-Length"):
        read(b'{"inputs": []}', header)


@pytest.mark.parametrize(
    ("sizes", "what"),
    [
        ((-1, 9), "expected bytes, got -1"),
        ((8.0, 9), "expected bytes, got 8.0"),
        (("8", 9), "expected bytes, got '8'"),
        ((True, 9), "expected bytes, got True"),
        ((8, 10**30), "expected at most the 10 bytes that are left"),
        ((2**63, 9), "expected at most the 18 bytes that are left"),
        ((8, 11), "expected at most the 10 bytes that are left"),
        ((8, 9), "expected the end of the body, got 1 bytes more"),
        ((9, 9), "expected one string"),
        ((0, 18), "expected one string"),
    ],
)
def test_sizes_that_are_not_those_of_the_body_are_refused(
    sizes: tuple[object, object], what: str
) -> None:
    content, raw = request("lamp", ["p1", "p"])
    assert [len(each) for each in raw] == [8, 11]
    inputs = content["inputs"]
    assert isinstance(inputs, list)
    for tensor, size in zip(inputs, sizes, strict=True):
        tensor["parameters"] = {"binary_data_size": size}
    text = json.dumps(content).encode()
    body = text + b"".join(raw)[:-1]
    with pytest.raises(ServiceError, match=what):
        read(body, str(len(text)))


def test_integers_are_ids_in_decimal() -> None:
    numbers = [0, 7, -3, 2**63 - 1, -(2**63)]
    query = {"name": "query", "datatype": "BYTES", "shape": [1], "data": ["lamp"]}
    ids = {"name": "product_ids", "datatype": "INT64", "shape": [len(numbers)]}
    raw = np.array(numbers, "<i8").tobytes()
    in_json = json.dumps({"inputs": [query, {**ids, "data": numbers}]}).encode()
    sized = {**ids, "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [query, sized]}).encode()
    expected = [str(number) for number in numbers]
    assert read(in_json, None)[1].strings() == expected
    assert read(text + raw, str(len(text)))[1].strings() == expected
