"""What is asked: the body that goes out, how its answer is read, and what stands in for one."""

import json
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from winnow_client.answers import Coverage, Filtered, Ranked, Reranked, Scores
from winnow_client.errors import BadAnswer, Unavailable

Answer = TypeVar("Answer")
SortMode = Literal["default", "price", "sale"]
Order = Literal["asc", "desc"]
Missing = Literal["keep", "drop", "last"]

JSON = "application/json"
FLOATS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer 200 as it came; the names of its headers are in small letters."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Question(Generic[Answer]):
    """One call.

    head: the JSON body without its deadline, which each attempt adds, and its closing brace
    read: the answer of a reply; KeyError, TypeError and ValueError mean that it is none
    instead: what stands in for an answer where the service is unavailable
    """

    path: str
    head: bytes
    accept: str
    read: Callable[[Reply], Answer]
    instead: Callable[[Unavailable], Answer]

    def answer(self, reply: Reply) -> Answer:
        """What the reply says.

        Raises:
            BadAnswer: it says nothing that this client can read.
        """
        try:
            return self.read(reply)
        except (KeyError, TypeError, ValueError) as error:
            raise BadAnswer(
                f"{self.path}: expected an answer of Winnow as {self.accept}: {error!r}", status=200
            ) from error


def score_question(query: str, product_ids: Sequence[str], model: str | None) -> Question[Scores]:
    """POST /score, answered in the binary form: four bytes per candidate and no JSON."""
    ids = _texts("product_ids", product_ids)
    n = len(ids)

    def read(reply: Reply) -> Scores:
        coverage = _coverage(json.loads(reply.headers["x-winnow-coverage"]))
        scores = array("f", reply.body)
        if sys.byteorder == "big":
            scores.byteswap()
        if len(scores) != n:
            raise ValueError(f"expected {n} scores, got {len(scores)}")
        return Scores(
            scores, coverage, reply.headers["x-winnow-model"], reply.headers["x-winnow-version"]
        )

    def instead(error: Unavailable) -> Scores:
        return Scores(array("f", [float("nan")]) * n, _unavailable(n), reason=_reason(error))

    head = _head({"query": query, "product_ids": ids, "model": model})
    return Question("/score", head, FLOATS, read, instead)


def filter_question(
    query: str,
    product_ids: Sequence[str],
    sort: SortMode,
    threshold: float | None,
    min_keep: int | None,
    missing: Missing | None,
    sort_values: Sequence[float | None] | None,
    order: Order,
    model: str | None,
) -> Question[Filtered]:
    """POST /filter."""
    ids = _texts("product_ids", product_ids)
    values = None if sort_values is None else list(sort_values)
    if values is not None and len(values) != len(ids):
        raise ValueError(
            f"sort_values: expected one per product id ({len(ids)}), got {len(values)}"
        )

    def read(reply: Reply) -> Filtered:
        document = json.loads(reply.body)
        return Filtered(
            kept=list(document["kept"]),
            removed=list(document["removed"]),
            coverage=_coverage(document["coverage"]),
            threshold=float(document["threshold"]),
            model=str(document["model"]),
            version=str(document["version"]),
            passed_through=bool(document["passed_through"]),
        )

    def instead(error: Unavailable) -> Filtered:
        return Filtered(
            _in_order(ids, values, order), [], _unavailable(len(ids)), reason=_reason(error)
        )

    head = _head(
        {
            "query": query,
            "product_ids": ids,
            "sort": sort,
            "threshold": threshold,
            "min_keep": min_keep,
            "missing": missing,
            "sort_values": values,
            "order": order,
            "model": model,
        }
    )
    return Question("/filter", head, JSON, read, instead)


def rerank_question(
    query: str, documents: Sequence[str], top_n: int | None, model: str | None, *, ids: bool
) -> Question[Reranked]:
    """POST /v2/rerank, in Cohere's form."""
    texts = _texts("documents", documents)
    n = len(texts)
    if top_n is not None and top_n < 1:
        raise ValueError(f"top_n: expected 1 or more, got {top_n}")

    def read(reply: Reply) -> Reranked:
        document = json.loads(reply.body)
        results = [
            Ranked(int(result["index"]), float(result["relevance_score"]))
            for result in document["results"]
        ]
        if not all(0 <= result.index < n for result in results):
            raise ValueError(f"expected indices below {n}")
        meta = document["meta"]
        return Reranked(
            results, _coverage(meta["coverage"]), str(document["model"]), str(meta["version"])
        )

    def instead(error: Unavailable) -> Reranked:
        results = [Ranked(index, None) for index in range(n)][:top_n]
        return Reranked(results, _unavailable(n), reason=_reason(error))

    path = "/v2/rerank?documents=ids" if ids else "/v2/rerank"
    head = _head({"query": query, "documents": texts, "top_n": top_n, "model": model})
    return Question(path, head, JSON, read, instead)


def _texts(name: str, given: Sequence[str]) -> list[str]:
    if isinstance(given, str | bytes):
        raise TypeError(f"{name}: expected a sequence of str, got {type(given).__name__}")
    return list(given)


def _head(fields: Mapping[str, object]) -> bytes:
    """A JSON object of the fields that are given, open at its end.

    Nothing is escaped that need not be: the service reads plain ids faster.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    text = json.dumps(given, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text[:-1].encode()


def _coverage(document: Mapping[str, Any]) -> Coverage:
    return Coverage(int(document["requested"]), int(document["scored"]), dict(document["degraded"]))


def _unavailable(n: int) -> Coverage:
    return Coverage(n, 0, {"unavailable": n} if n else {})


def _reason(error: Unavailable) -> str:
    return f"{type(error).__name__}: {error.detail}"


def _in_order(ids: list[str], values: list[float | None] | None, order: Order) -> list[str]:
    """As the service orders what it passes through: None last, equal values as they came."""
    if values is None:
        return ids
    sign = 1 if order == "asc" else -1

    def place(i: int) -> tuple[bool, float]:
        value = values[i]
        return value is None, 0.0 if value is None else sign * value

    return [ids[i] for i in sorted(range(len(ids)), key=place)]
