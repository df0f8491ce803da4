"""Scores of judged pairs: through a bundle in this process, or through a running service."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class ServedScores:
    """What a service says of judged pairs."""

    version: str  # that gave all scores
    threshold: float  # its default sort's
    scores: NDArray[np.float32]  # [n], calibrated; NaN = not scored


def service_scores(
    url: str,
    model: str,
    version: str | None,
    judgments: Judgments,
    on_progress: OnProgress,
    api_key: str | None = None,
) -> ServedScores:
    """Scores of n judged pairs from `POST /score`, by the active version of a model.

    Args:
        url: of the service.
        model: name of a served model.
        version: which one has to be active; None: whichever is.
        judgments: with product ids.
        on_progress: called after every query.
        api_key: where the service wants one.

    Raises:
        EvaluationError: the judgements have no product ids; the service does not answer 200, wants
            a key or does not serve that model or version; another version answers meanwhile.
    """
    if not all(judgments.product_ids):
        raise EvaluationError("a service scores product ids, but the judgements have none")
    scores = np.empty(len(judgments), dtype=np.float32)
    by_query = _by_query(judgments.queries)
    with _client(url, api_key) as client:
        active, threshold = _active(client, model, version)
        for done, (query, pairs) in enumerate(by_query.items(), start=1):
            for start in range(0, len(pairs), _CANDIDATES):
                part = pairs[start : start + _CANDIDATES]
                body = {
                    "model": model,
                    "query": query,
                    "product_ids": [judgments.product_ids[pair] for pair in part],
                    "deadline_ms": 60_000,  # an evaluation wants every score, not a quick page
                }
                answer = _answer(client, "POST", "/score", body)
                if answer["version"] != active:
                    raise EvaluationError(
                        f"{client.base_url}: expected all scores from {model} {active}, which was "
                        f"active at first, got some from version {answer['version']}: evaluate "
                        "when no canary and no roll-out is under way, or the bundle without --url"
                    )
                scores[part] = [np.nan if score is None else score for score in answer["scores"]]
            on_progress("score", done, len(by_query))
    return ServedScores(active, threshold, scores)


def _client(url: str, api_key: str | None) -> httpx.Client:
    login = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    try:
        return httpx.Client(base_url=url, timeout=60, headers=login)
    except httpx.InvalidURL as error:
        raise EvaluationError(
            f"{url}: expected the URL of a service, such as http://127.0.0.1:8000: {error}"
        ) from error


def _active(client: httpx.Client, model: str, version: str | None) -> tuple[str, float]:
    """The model's active version, and the threshold of its default sort."""
    statuses = _answer(client, "GET", "/v1/models")["models"]
    status = next((each for each in statuses if each["name"] == model and each["thresholds"]), None)
    if status is None:
        served = ", ".join(each["name"] for each in statuses) or "none"
        raise EvaluationError(
            f"{client.base_url}: expected a loaded model {model!r}, it serves {served}"
        )
    if version not in (None, status["version"]):
        raise EvaluationError(
            f"{client.base_url}: expected {model} {version}, its active version is "
            f"{status['version']}, and a service scores with that: activate the other, or evaluate "
            "the bundle without --url"
        )
    return status["version"], float(status["thresholds"]["default"])


def _answer(
    client: httpx.Client, method: str, path: str, body: dict[str, object] | None = None
) -> dict[str, Any]:
    try:
        response = client.request(method, path, json=body)
    except httpx.TransportError as error:
        raise EvaluationError(f"{client.base_url}: no answer: {error}") from error
    if response.status_code == 401:
        raise EvaluationError(f"{client.base_url}: expected a good API key: --api-key-file FILE")
    if response.status_code != 200:
        raise EvaluationError(
            f"{client.base_url}: expected 200 of {path}, got {response.status_code}: "
            f"{response.text[:300]}"
        )
    try:
        answer: dict[str, Any] = response.json()
    except ValueError as error:
        raise EvaluationError(
            f"{client.base_url}: expected JSON of {path}, got {response.text[:60]!r}: is it a "
            "Winnow service that listens there?"
        ) from error
    return answer


def _by_query(queries: Sequence[str]) -> dict[str, NDArray[np.intp]]:
    positions: dict[str, list[int]] = {}
    for position, query in enumerate(queries):
        positions.setdefault(query, []).append(position)
    return {query: np.array(found) for query, found in positions.items()}
