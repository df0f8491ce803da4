"""Prometheus metrics: base units, no ids or queries in labels. exposition.py shows them."""

import os
from collections.abc import Iterable
from importlib.metadata import version as installed
from itertools import product
from math import nan
from typing import Literal, get_args

from prometheus_client import Counter, Gauge, Histogram, multiprocess

from service.coverage import REASONS
from service.plan import Role

ModelState = Literal[
    "loading", "ready", "refused", "no_vector_set", "fingerprint_mismatch", "store_down"
]

Refused = Literal["missing", "unknown", "expired"]
Cut = Literal["slow_request", "answer_not_taken", "headers_too_large", "malformed", "crowded"]

_SECONDS = (
    *(0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0),
)
_CANDIDATES = (1, 10, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
_RATIOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
_DIFFERENCES = (0.0, 0.0001, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

REQUESTS = Histogram(
    "winnow_request_duration_seconds",
    "From the first byte of a request to the last of its answer",
    ["endpoint", "code"],
    buckets=_SECONDS,
)
STAGES = Histogram(
    "winnow_stage_duration_seconds", "One stage of the request path", ["stage"], buckets=_SECONDS
)
CANDIDATES = Histogram(
    "winnow_request_candidates", "Candidates of a request", ["endpoint"], buckets=_CANDIDATES
)
INFLIGHT = Gauge(
    "winnow_inflight_candidates",
    "Candidates admitted and not yet answered",
    multiprocess_mode="livesum",
)
INFLIGHT_LIMIT = Gauge(
    "winnow_inflight_candidates_limit",
    "Candidates that all workers together admit at the same time",
    multiprocess_mode="livesum",
)
SHED = Counter("winnow_shed_requests_total", "Requests refused at admission", ["endpoint"])
DEGRADED = Counter(
    "winnow_degraded_responses_total", "Answers with an unscored candidate", ["endpoint", "reason"]
)
UNSCORED = Counter("winnow_unscored_candidates_total", "Candidates without a score", ["reason"])
SCORED = Counter("winnow_scored_candidates_total", "Candidates with a score", ["model", "version"])
QUERY_ROWS = Counter("winnow_query_rows_total", "Query rows by where they came from", ["source"])
QUERY_ROW_FAILURES = Counter(
    "winnow_query_row_failures_total", "Stored query rows that could not be used", ["reason"]
)
ROW_CACHE = Counter("winnow_row_cache_rows_total", "Rows looked up in the row cache", ["result"])
ROW_CACHE_EVICTIONS = Counter("winnow_row_cache_evictions_total", "Rows that gave way to others")
ROW_CACHE_INVALIDATIONS = Counter(
    "winnow_row_cache_invalidations_total", "Rows forgotten because they changed in the store"
)
ROW_CACHE_HELD = Gauge(
    "winnow_row_cache_held_rows", "Rows held by all workers", multiprocess_mode="livesum"
)
KEPT_RATIO = Histogram(
    "winnow_filter_kept_ratio",
    "Share of a page that /filter kept",
    ["sort"],
    buckets=_RATIOS,
)
READY = Gauge(
    "winnow_model_ready",
    "1 where every worker can score with this version: verified student, sealed vector set",
    ["model", "version"],
    multiprocess_mode="livemin",
)
MODEL_WORKERS = Gauge(
    "winnow_model_workers",
    "Workers by what they say of a model: ready, or why it can't score",
    ["model", "state"],
    multiprocess_mode="livesum",
)
SET_PRODUCTS = Gauge(
    "winnow_vector_set_products",
    "Products in the vector set a model scores with",
    ["model", "version"],
    multiprocess_mode="livemax",
)
ACTIVATIONS = Counter(
    "winnow_model_activations_total",
    "Versions that all workers of this service took on in a role, or that were refused",
    ["model", "role", "result"],
)
CANARY_SECONDS = Histogram(
    "winnow_canary_scoring_duration_seconds",
    "From arrival to the scores, of models that have a canary: of both versions",
    ["model", "version"],
    buckets=_SECONDS,
)
CANARY_KEPT_RATIO = Histogram(
    "winnow_canary_kept_ratio",
    "Share of a page that /filter kept, of models that have a canary: of both versions",
    ["model", "version"],
    buckets=_RATIOS,
)
CANARY_UNSCORED = Counter(
    "winnow_canary_unscored_candidates_total",
    "Candidates without a score, of models that have a canary: of both versions",
    ["model", "version"],
)
SHADOW_REQUESTS = Counter(
    "winnow_shadow_requests_total",
    "Answers for the shadow version: compared, shed (queue full, too old) or failed",
    ["model", "version", "result"],
)
SHADOW_CANDIDATES = Counter(
    "winnow_shadow_candidates_total",
    "Compared candidates: same decision, kept or removed by the shadow alone, scored by one alone",
    ["model", "version", "result"],
)
SHADOW_DIFFERENCE = Histogram(
    "winnow_shadow_score_difference",
    "Mean absolute difference between the scores of an answer and those of the shadow",
    ["model", "version"],
    buckets=_DIFFERENCES,
)
SHADOW_GREATEST = Histogram(
    "winnow_shadow_greatest_score_difference",
    "Greatest absolute difference of one candidate between an answer and the shadow",
    ["model", "version"],
    buckets=_DIFFERENCES,
)
SET_SEALED = Gauge(
    "winnow_vector_set_sealed_timestamp_seconds",
    "When the vector set a model scores with was sealed, in seconds since 1970; oldest worker",
    ["model", "version"],
    multiprocess_mode="livemin",
)
STORE_UP = Gauge(
    "winnow_store_up",
    "1 where every worker's last look at the vector store was answered",
    multiprocess_mode="livemin",
)
STORE_FAILURES = Counter(
    "winnow_store_failures_total", "Calls that the vector store did not answer", ["operation"]
)
UNAUTHORIZED = Counter(
    "winnow_unauthorized_requests_total", "Requests without a good API key", ["reason"]
)
KEY_FILE_READABLE = Gauge(
    "winnow_api_key_file_readable",
    "1 where every worker follows the file of API keys, 0 where one keeps its last good ones",
    multiprocess_mode="livemin",
)
KEY_EXPIRY = Gauge(
    "winnow_api_key_expiry_timestamp_seconds",
    "When the next API key expires, in seconds since 1970",
    multiprocess_mode="livemin",
)
CUT_CONNECTIONS = Counter(
    "winnow_cut_connections_total", "Connections that the service ended, by why", ["reason"]
)
BUILD = Gauge("winnow_build_info", "Always 1", ["version"], multiprocess_mode="livemax")

RERANK_PATHS = ("/rerank", "/v1/rerank", "/v2/rerank")
SCORING = (
    "/score",
    *RERANK_PATHS,
    "/v2/models/{model}/infer",
    "/v2/models/{model}/versions/{version}/infer",
    "/inference.GRPCInferenceService/ModelInfer",
)
"""Endpoints that answer with scores."""

_ENDPOINT_CODES = {
    **dict.fromkeys(SCORING, ("200", "429", "500", "503", "504")),
    "/filter": ("200", "500", "503"),
}


def start(models: Iterable[str], max_inflight_candidates: int) -> None:
    """Says what is known before the first request, and starts every counter at 0.

    A series that appears with its first failure has no increase that `rate` could see.
    """
    BUILD.labels(installed("winnow-relevance")).set(1)
    INFLIGHT_LIMIT.set(max_inflight_candidates)
    for gauge in (KEY_FILE_READABLE, KEY_EXPIRY):  # until there are keys
        gauge.set(nan)
    for model in models:
        model_state(model, "loading")
        for role, result in product(get_args(Role), ("done", "refused")):
            ACTIVATIONS.labels(model, role, result)
    for endpoint, codes in _ENDPOINT_CODES.items():
        CANDIDATES.labels(endpoint)
        SHED.labels(endpoint)
        for code in codes:
            REQUESTS.labels(endpoint, code)
        for reason in REASONS[1:]:
            DEGRADED.labels(endpoint, reason)
    labels: dict[Counter | Histogram, Iterable[str]] = {
        SHED: ("/explain",),
        UNSCORED: REASONS[1:],
        STAGES: ("decode", "wait", "query", "rows", "texts", "head"),
        KEPT_RATIO: ("default", "price", "sale"),
        QUERY_ROWS: ("cache", "store", "encoded"),
        QUERY_ROW_FAILURES: ("store_error", "corrupt_row"),
        ROW_CACHE: ("hit", "miss"),
        STORE_FAILURES: ("live_set", "rows"),
        UNAUTHORIZED: get_args(Refused),
        CUT_CONNECTIONS: get_args(Cut),
    }
    for metric, values in labels.items():
        for value in values:
            metric.labels(value)


def model_state(model: str, state: ModelState) -> None:
    """This worker's state of a model: 1 for it and 0 for all others."""
    for other in get_args(ModelState):
        MODEL_WORKERS.labels(model, other).set(other == state)


def start_answers(model: str, version: str, *, has_canary: bool) -> None:
    """As `start`, for a version that answers requests."""
    SCORED.labels(model, version)
    if has_canary:
        CANARY_SECONDS.labels(model, version)
        CANARY_KEPT_RATIO.labels(model, version)
        CANARY_UNSCORED.labels(model, version)


def start_comparisons(model: str, version: str) -> None:
    """As `start`, for a shadow version."""
    for result in ("compared", "shed", "failed"):
        SHADOW_REQUESTS.labels(model, version, result)
    for result in (
        *("same", "only_shadow_keeps", "only_shadow_removes"),
        *("only_shadow_scored", "only_answer_scored", "nan"),
    ):
        SHADOW_CANDIDATES.labels(model, version, result)
    SHADOW_DIFFERENCE.labels(model, version)
    SHADOW_GREATEST.labels(model, version)


def show_version(model: str, version: str, *, ready: bool, products: int, sealed_s: float) -> None:
    """This worker's gauges of a loaded version; `sealed_s` since 1970, nan without a vector set."""
    READY.labels(model, version).set(ready)
    SET_PRODUCTS.labels(model, version).set(products)
    SET_SEALED.labels(model, version).set(sealed_s)


def hide_version(model: str, version: str) -> None:
    """Ends the gauges of a version that is no longer loaded: no alert may stand on them."""
    for gauge in (READY, SET_PRODUCTS, SET_SEALED):
        gauge.labels(model, version).set(nan)


def show_no_gauges() -> None:
    """Ends the gauges of this process: it serves nothing, and its 0 would be the least of all."""
    multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]
