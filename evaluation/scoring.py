"""Scores of judged pairs: through a bundle in this process, or through a running service."""

from collections.abc import Callable, Sequence

import httpx
import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.judgments import Judgments
from model_store.student import OnnxStudent

_TITLES = 256  # titles per run of the product graph
_CANDIDATES = 1_000  # product ids per request

OnProgress = Callable[[str, int, int | None], None]
"""Called with the phase, the steps done and the steps there are."""


def bundle_scores(
    student: OnnxStudent, judgments: Judgments, on_progress: OnProgress
) -> NDArray[np.float32]:
    """Calibrated scores float32 [n] of n judged pairs, as the service would compute them."""
    return text_scores(student, judgments.queries, judgments.titles, on_progress)


def text_scores(
    student: OnnxStudent,
    queries: Sequence[str],
    pair_titles: Sequence[str],
    on_progress: OnProgress,
) -> NDArray[np.float32]:
    """Calibrated scores float32 [n] of n aligned queries and titles."""
    return student.calibrate(raw_scores(student, queries, pair_titles, on_progress))


def raw_scores(
    student: OnnxStudent,
    queries: Sequence[str],
    pair_titles: Sequence[str],
    on_progress: OnProgress,
) -> NDArray[np.float32]:
    """The student's own probabilities float32 [n], before calibration."""
    titles = sorted(set(pair_titles), key=len)  # of like length: little padding
    rows = np.empty((len(titles), student.manifest.d_p), dtype=np.float16)
    for start in range(0, len(titles), _TITLES):
        batch = titles[start : start + _TITLES]
        rows[start : start + len(batch)] = student.encode_products(batch)
        on_progress("encode", start + len(batch), len(titles))
    row_of = {title: row for row, title in enumerate(titles)}
    position = np.array([row_of[title] for title in pair_titles])
    scores = np.empty(len(queries), dtype=np.float32)
    by_query = _by_query(queries)
    for done, (query, pairs) in enumerate(by_query.items(), start=1):
        scores[pairs] = student.score(student.encode_query(query), rows[position[pairs]])
        on_progress("score", done, len(by_query))
    return scores


def service_scores(
    url: str,
    model: str,
    judgments: Judgments,
    on_progress: OnProgress,
    api_key: str | None = None,
) -> NDArray[np.float32]:
    """Calibrated scores float32 [n] of n judged pairs from `POST /score`; NaN = not scored.

    Raises:
        EvaluationError: the judgements have no product ids, or the service did not answer 200.
    """
    if not all(judgments.product_ids):
        raise EvaluationError("a service scores product ids, but the judgements have none")
    scores = np.empty(len(judgments), dtype=np.float32)
    by_query = _by_query(judgments.queries)
    with httpx.Client(base_url=url, timeout=60, headers=_login(api_key)) as client:
        for done, (query, pairs) in enumerate(by_query.items(), start=1):
            for start in range(0, len(pairs), _CANDIDATES):
                part = pairs[start : start + _CANDIDATES]
                product_ids = [judgments.product_ids[pair] for pair in part]
                scores[part] = _request(client, model, query, product_ids)
            on_progress("score", done, len(by_query))
    return scores


def service_threshold(url: str, model: str, api_key: str | None = None) -> float:
    """The default sort's threshold of a model that the service has.

    Raises:
        EvaluationError: the service does not answer, wants a key, or does not serve that model.
    """
    try:
        answer = httpx.get(f"{url}/v1/models", timeout=60, headers=_login(api_key))
    except httpx.TransportError as error:
        raise EvaluationError(f"{url}: no answer: {error}") from error
    if answer.status_code == 401:
        raise EvaluationError(f"{url}: expected a good API key: --api-key-file FILE")
    statuses = answer.json().get("models", []) if answer.status_code == 200 else []
    for status in statuses:
        if status["name"] == model and status["thresholds"]:
            return float(status["thresholds"]["default"])
    served = ", ".join(status["name"] for status in statuses) or "none"
    raise EvaluationError(f"{url}: expected a loaded model {model!r}, it serves {served}")


def _login(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}


def _request(
    client: httpx.Client, model: str, query: str, product_ids: Sequence[str]
) -> NDArray[np.float32]:
    body = {
        "model": model,
        "query": query,
        "product_ids": list(product_ids),
        "deadline_ms": 60_000,  # an evaluation wants every score, not a quick page
    }
    try:
        response = client.post("/score", json=body)
    except httpx.TransportError as error:
        raise EvaluationError(f"{client.base_url}: no answer: {error}") from error
    if response.status_code != 200:
        raise EvaluationError(
            f"{client.base_url}: expected 200, got {response.status_code}: {response.text[:300]}"
        )
    scores = response.json()["scores"]
    return np.array([np.nan if score is None else score for score in scores], dtype=np.float32)


def _by_query(queries: Sequence[str]) -> dict[str, NDArray[np.intp]]:
    positions: dict[str, list[int]] = {}
    for position, query in enumerate(queries):
        positions.setdefault(query, []).append(position)
    return {query: np.array(found) for query, found in positions.items()}
