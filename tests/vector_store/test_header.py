"""Set headers: what they accept, and what an unreadable one says."""

import json

import pytest
from pydantic import ValidationError

from vector_store.errors import SetCorrupt
from vector_store.header import SetHeader, parse_header

FINGERPRINT = "0123abcd" * 8


def header_fields() -> dict[str, object]:
    return {
        "format_version": 1,
        "set_id": "0123abcd.1",
        "fingerprint": FINGERPRINT,
        "model": "reprbert 3",
        "width": 256,
        "dtype": "float16",
        "segments": {"p1": [0, 128], "p2": [128, 128]},
        "count": 0,
        "created": "2024-05-01T10:00:00Z",
        "sealed": None,
    }


def test_a_header_survives_json() -> None:
    header = SetHeader.model_validate(header_fields())
    assert header.bucket_count == 256
    assert header.record_bytes == 2 * 256 + 12
    assert parse_header("0123abcd.1", header.model_dump_json().encode()) == header


def test_the_dtype_says_whose_rows_they_are() -> None:
    assert SetHeader.model_validate(header_fields()).holds == "products"
    header = SetHeader.model_validate(header_fields() | {"dtype": "float32"})
    assert header.holds == "queries"
    assert header.record_bytes == 4 * 256 + 12


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format_version", 2, "format_version"),
        ("set_id", "0123abcd", "expected set_id 0123abcd.<generation>"),
        ("set_id", "0123abcd.0", "expected set_id 0123abcd.<generation>"),
        ("set_id", "ffffffff.1", "expected set_id 0123abcd.<generation>"),
        ("set_id", "0123abcd.1\n", "expected set_id 0123abcd.<generation>"),
        ("fingerprint", "0123abcd", "fingerprint"),
        ("fingerprint", FINGERPRINT.upper(), "fingerprint"),
        ("width", 0, "width"),
        ("dtype", "float64", "dtype"),
        ("segments", {"p1": [0, 257]}, "segment 'p1' .* lies outside the row of 256 floats"),
        ("segments", {"p1": [-1, 2]}, "segment 'p1'"),
        ("segments", {"p1": [0, 0]}, "segment 'p1'"),
        ("bucket_count", 0, "bucket_count"),
        ("bucket_count", 1001, "bucket_count"),
        ("count", -1, "count"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(field: str, value: object, message: str) -> None:
    fields = header_fields() | {field: value}
    with pytest.raises(ValidationError, match=message):
        SetHeader.model_validate(fields)
    with pytest.raises(SetCorrupt, match=message):
        parse_header("0123abcd.1", json.dumps(fields).encode())


@pytest.mark.parametrize("stored", [b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"set_id": "x"}'])
def test_bytes_that_are_no_header_say_which_set_and_what_to_do(stored: bytes) -> None:
    with pytest.raises(SetCorrupt, match=r"set 0123abcd\.1 is unreadable .*index the catalogue"):
        parse_header("0123abcd.1", stored)


def test_the_header_of_another_set_is_refused() -> None:
    stored = SetHeader.model_validate(header_fields()).model_dump_json().encode()
    with pytest.raises(SetCorrupt, match=r"expected the header of vector set 0123abcd\.2"):
        parse_header("0123abcd.2", stored)


def test_a_header_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SetHeader.model_validate(header_fields()).count = 3  # type: ignore[misc]
