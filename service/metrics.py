"""Prometheus metrics: base units, no ids or queries in labels, summed over worker processes.

With several workers, `winnow serve` points PROMETHEUS_MULTIPROC_DIR at a fresh folder before any of
them starts; each scrape then adds up all workers' files.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import REGISTRY as PROCESS_REGISTRY
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from service.coverage import REASONS

ModelState = Literal[
    "loading", "ready", "refused", "no_vector_set", "fingerprint_mismatch", "store_down"
]

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_SECONDS = (
    *(0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0),
)
_CANDIDATES = (1, 10, 50, 100, 200, 500, 1000, 2000, 5000, 10000)

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
SCORED = Counter("winnow_scored_candidates_total", "Candidates with a score", ["model"])
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
    buckets=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0),
)
READY = Gauge(
    "winnow_model_ready",
    "1 where every worker can score with this model: verified student, sealed vector set",
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
BUILD = Gauge("winnow_build_info", "Always 1", ["version"], multiprocess_mode="livemax")

_ENDPOINT_CODES = {
    "/score": ("200", "429", "500", "503", "504"),
    "/filter": ("200", "500", "503"),
}


def start(models: Iterable[str], max_inflight_candidates: int) -> None:
    """Says what is known before the first request, and starts every counter at 0.

    A series that appears with its first failure has no increase that `rate` could see.
    """
    BUILD.labels(version("winnow-relevance")).set(1)
    INFLIGHT_LIMIT.set(max_inflight_candidates)
    for model in models:
        SCORED.labels(model)
        model_state(model, "loading")
    for endpoint, codes in _ENDPOINT_CODES.items():
        CANDIDATES.labels(endpoint)
        SHED.labels(endpoint)
        for code in codes:
            REQUESTS.labels(endpoint, code)
        for reason in REASONS[1:]:
            DEGRADED.labels(endpoint, reason)
    for reason in REASONS[1:]:
        UNSCORED.labels(reason)
    for stage in ("decode", "wait", "query", "rows", "head"):
        STAGES.labels(stage)
    for sort in ("default", "price", "sale"):
        KEPT_RATIO.labels(sort)
    for source in ("cache", "store", "encoded"):
        QUERY_ROWS.labels(source)
    for reason in ("store_error", "corrupt_row"):
        QUERY_ROW_FAILURES.labels(reason)
    for result in ("hit", "miss"):
        ROW_CACHE.labels(result)
    for operation in ("live_set", "rows"):
        STORE_FAILURES.labels(operation)


def model_state(model: str, state: ModelState) -> None:
    """This worker's state of a model: 1 for it and 0 for all others."""
    for other in get_args(ModelState):
        MODEL_WORKERS.labels(model, other).set(other == state)


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
        if _is_gone(pid):
            with suppress(FileNotFoundError):  # another worker, at the same scrape, was faster
                multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _is_gone(pid: int) -> bool:
    """Whether a process has ended, be it that its parent hasn't heard of it yet (a zombie)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False  # no such files on this system, which knows the process
    return stat.rpartition(b")")[2].split()[0] in (b"Z", b"X")
