"""Prometheus metrics: base units, no ids or queries in labels, summed over worker processes.

With several workers, `winnow serve` points PROMETHEUS_MULTIPROC_DIR at a fresh folder before any of
them starts; each scrape then adds up all workers' files.
"""

import os
from pathlib import Path

from prometheus_client import REGISTRY as PROCESS_REGISTRY
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

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
    "1 where every worker can score with this active version: verified student, sealed vector set",
    ["model", "version"],
    multiprocess_mode="livemin",
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


def exposition() -> bytes:
    """The Prometheus text format, over all live workers and the counters of dead ones."""
    folder = os.environ.get(MULTIPROCESS_VARIABLE)
    if folder is None:
        return generate_latest(PROCESS_REGISTRY)
    _forget_dead_workers(Path(folder))
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _forget_dead_workers(folder: Path) -> None:
    """Drops the live gauges of workers that are gone; counters stay, for they must not fall."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rsplit("_", 1)[1])
        if not Path(f"/proc/{pid}").exists():
            multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
