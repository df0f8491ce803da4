"""Requests in the words of each protocol, and the scores out of its answers. Knows no server.

plain   {"query": ..., "product_ids": [...]}    -> {"scores": [...]}
items   the same                                -> {"items": [{"product_id": ..., "score": ...}]}
v2      Open Inference Protocol, inputs `query` and `product_ids` (BYTES) -> output `scores`
"""

from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

Protocol = Literal["plain", "items", "v2"]


class BadAnswer(Exception):
    """An answer that isn't a full list of scores; the text says what came."""


def encoded(protocol: Protocol, plain: bytes) -> bytes:
    """A plain request in the words of another protocol."""
    if protocol != "v2":
        return plain
    request = orjson.loads(plain)
    ids = request["product_ids"]
    inputs = [_strings("query", [request["query"]]), _strings("product_ids", ids)]
    return orjson.dumps({"inputs": inputs})


def scores(protocol: Protocol, status: int, body: bytes, candidates: int) -> NDArray[np.float64]:
    """The scores of an answer, float64 [candidates].

    Raises:
        BadAnswer: not 200, not JSON of this protocol, or a candidate without a score.
    """
    if status != 200:
        raise BadAnswer(f"expected 200, got {status}: {body[:200]!r}")
    try:
        found = np.array(_listed(protocol, orjson.loads(body)), dtype=np.float64)
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise BadAnswer(f"expected {protocol} scores, got {body[:200]!r} ({error!r})") from error
    if found.shape != (candidates,) or not np.isfinite(found).all():
        raise BadAnswer(f"expected {candidates} scores, got {np.isfinite(found).sum()}")
    return found


def _listed(protocol: Protocol, answer: dict[str, Any]) -> list[float]:
    if protocol == "v2":
        (output,) = (output for output in answer["outputs"] if output["name"] == "scores")
        data: list[float] = output["data"]
        return data
    if protocol == "items":
        return [item["score"] for item in answer["items"]]
    values: list[float] = answer["scores"]
    return values


def _strings(name: str, values: list[str]) -> dict[str, object]:
    return {"name": name, "shape": [len(values)], "datatype": "BYTES", "data": values}
