"""Tensors of the Open Inference Protocol, whichever way they came: `query` and `product_ids` in,
`scores`, `found` and `raw_scores` out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.bodies import invalid, too_many
from service.coverage import SCORED
from service.scoring import Scored
from vector_store.ids import ProductIds
from vector_store.keys import MAX_ID_BYTES

INPUTS: Final = {"query": ("BYTES", [1]), "product_ids": ("BYTES", [-1])}
OUTPUTS: Final = {"scores": "FP32", "found": "BOOL", "raw_scores": "FP32"}

_ARRAYS: Final[dict[str, Callable[[Scored], NDArray[Any]]]] = {
    "scores": lambda scored: scored.scores,
    "found": lambda scored: scored.codes == SCORED,
    "raw_scores": lambda scored: scored.raw,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input: `raw` little-endian bytes, or else its elements, in lists as nested as its shape.

    Elements of a BYTES tensor are strings (JSON) or bytes (gRPC).
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes | None
    elements: Sequence[object] | None


def candidates_of(
    tensors: Sequence[Tensor], max_candidates: int, max_query_chars: int
) -> tuple[str, ProductIds]:
    """The query and the product ids of a request.

    Raises:
        InvalidField: an input is missing, twice there, unknown, or not what its name says.
        TooLarge: more candidates than `max_candidates`.
    """
    inputs = {tensor.name: tensor for tensor in tensors}
    if len(tensors) != len(INPUTS) or inputs.keys() != INPUTS.keys():
        named = ", ".join(tensor.name for tensor in tensors) or "none"
        raise invalid("inputs", f"expected query and product_ids, each once, got {named}")
    return _query(inputs["query"], max_query_chars), _ids(inputs["product_ids"], max_candidates)


def output_array(name: str, scored: Scored) -> NDArray[Any]:
    """One output [n]: float32, or bool; a score that is not there is NaN."""
    return _ARRAYS[name](scored)


def raw_bytes(array: NDArray[Any]) -> bytes:
    """An output as the protocol has it: little-endian, a byte per bool."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _query(tensor: Tensor, max_chars: int) -> str:
    if tensor.datatype != "BYTES" or tensor.shape not in {(1,), (1, 1)}:
        raise _unexpected(tensor, "BYTES of shape [1]")
    element: object = tensor.elements
    if tensor.raw is not None:
        ids = ProductIds.from_tensor(tensor.raw, 1)
        element = None if ids is None else ids.blob
    for _ in tensor.shape:
        if isinstance(element, Sequence) and not isinstance(element, str | bytes):
            element = element[0] if len(element) == 1 else None
    try:
        query = element.decode() if isinstance(element, bytes) else element
    except UnicodeDecodeError as error:
        raise invalid("query", f"expected UTF-8: {error}") from error
    if not isinstance(query, str):
        raise invalid("query", "expected one string, as its shape says")
    if len(query) > max_chars:
        raise invalid("query", f"expected at most {max_chars} characters, got {len(query)}")
    return query


def _ids(tensor: Tensor, max_candidates: int) -> ProductIds:
    if tensor.datatype not in {"BYTES", "INT64"} or len(tensor.shape) != 1:
        raise _unexpected(tensor, "BYTES or INT64 of shape [N]")
    (n,) = tensor.shape
    if n > max_candidates:
        raise too_many(n, max_candidates)
    if tensor.datatype == "INT64":
        ids = _integer_ids(tensor, n)
    elif tensor.raw is not None:
        found = ProductIds.from_tensor(tensor.raw, n)
        if found is None:
            raise invalid("product_ids", f"expected {n} lengths, each with so many bytes")
        ids = found
    else:
        ids = ProductIds.from_bytes(
            [_encoded(element, place) for place, element in enumerate(_listed(tensor, n))]
        )
    lengths = np.diff(ids.offsets)
    wrong = np.flatnonzero((lengths == 0) | (lengths > MAX_ID_BYTES))
    if len(wrong):
        place = int(wrong[0])
        raise invalid(
            f"product_ids.{place}",
            f"expected 1 to {MAX_ID_BYTES} bytes of UTF-8, got {int(lengths[place])}",
        )
    return ids


def _integer_ids(tensor: Tensor, n: int) -> ProductIds:
    """The ids that these numbers are in decimal."""
    if tensor.raw is None:
        listed = _listed(tensor, n)
        numbers = [each for each in listed if type(each) is int]
        if len(numbers) != n:
            raise invalid("product_ids", "expected integers, as INT64 says")
    elif len(tensor.raw) == 8 * n:
        numbers = np.frombuffer(tensor.raw, "<i8").tolist()
    else:
        raise invalid("product_ids", f"expected {8 * n} bytes, got {len(tensor.raw)}")
    return ProductIds.from_bytes([b"%d" % number for number in numbers])


def _listed(tensor: Tensor, n: int) -> Sequence[object]:
    elements = tensor.elements
    if elements is None or len(elements) != n:
        came = "none" if elements is None else len(elements)
        raise invalid(tensor.name, f"expected {n} elements, as its shape says, got {came}")
    return elements


def _encoded(element: object, place: int) -> bytes:
    if isinstance(element, bytes):
        return element
    if not isinstance(element, str):
        raise invalid(f"product_ids.{place}", "expected a string, as BYTES says")
    return element.encode()


def _unexpected(tensor: Tensor, expected: str) -> Exception:
    return invalid(
        tensor.name, f"expected {expected}, got {tensor.datatype} of shape {list(tensor.shape)}"
    )
