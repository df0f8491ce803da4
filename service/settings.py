"""Settings of the service: read once, from WINNOW_* variables, frozen and handed in.

`winnow serve` writes its options into the same variables for its workers, so each setting has one
name and one default.
"""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, FilePath, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from model_store.manifest import TILE
from model_store.registry import DEFAULT_ROOT
from service.cpus import available_cpus, default_workers
from service.logs import LogFormat

PREFIX = "WINNOW_"


class SettingsError(Exception):
    """A WINNOW_* variable is missing, unknown or malformed; the text names it."""


class Settings(BaseSettings):
    """What an operator may choose; every limit is shown by `GET /info`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    store: str = Field(
        description="vector store: lmdb:PATH, redis://HOST:PORT/DB, redis+cluster://HOST:PORT/"
    )
    bundles: Path = Field(DEFAULT_ROOT, description="folder of published bundles")
    models: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="students to serve, comma separated, the first one by default"
    )
    precision: Literal["float32", "int8", "native"] | None = Field(
        None, description="of the query and head graphs; what the bundle says where absent"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(8000, description="port to listen on")
    grpc_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="port of the Open Inference Protocol over gRPC; extra grpc"
    )
    workers: Annotated[int, Field(ge=1, le=256)] = Field(
        default_factory=lambda: default_workers(available_cpus()), description="worker processes"
    )
    ort_threads: Annotated[int, Field(ge=1, le=256)] = Field(
        1, description="ONNX Runtime threads per worker; a second one slows short queries down"
    )
    request_threads: Annotated[int, Field(ge=0, le=64)] = Field(
        2, description="requests that one worker scores at the same time; 0 = in its event loop"
    )
    head_tile: Annotated[int, Field(ge=16, le=65536)] = Field(
        TILE, description="rows per run of the head: winnow bench --tune"
    )
    max_candidates: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        10_000, description="candidates of one request"
    )
    max_inflight_candidates: Annotated[int, Field(ge=1)] = Field(
        40_000, description="candidates admitted at the same time, per worker"
    )
    max_body_bytes: Annotated[int, Field(ge=1024)] = Field(4 * 2**20, description="request body")
    max_query_chars: Annotated[int, Field(ge=1)] = Field(1_000, description="characters of a query")
    max_texts: Annotated[int, Field(ge=1, le=100_000)] = Field(
        256, description="texts of one rerank request: each is encoded, about a millisecond of CPU"
    )
    max_text_chars: Annotated[int, Field(ge=1)] = Field(
        4_000, description="characters of one such text; a student reads the first words"
    )
    deadline_ms: Annotated[int, Field(ge=1, le=60_000)] = Field(
        500, description="deadline of a request that names none"
    )
    store_timeout_ms: Annotated[int, Field(ge=1, le=60_000)] = Field(
        250, description="wait for one answer of the store"
    )
    store_refresh_ms: Annotated[int, Field(ge=10, le=600_000)] = Field(
        1_000, description="how often the live vector set is looked up"
    )
    row_cache_mb: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        256, description="memory for product rows kept per worker and model; 0 = none"
    )
    query_cache_entries: Annotated[int, Field(ge=0)] = Field(
        10_000, description="query rows kept per worker and model"
    )
    max_header_bytes: Annotated[int, Field(ge=1024, le=2**20)] = Field(
        16 * 2**10, description="request line and headers"
    )
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        800, description="open connections per worker; below the 1,024 files it may usually open"
    )
    client_timeout_s: Annotated[int, Field(ge=1, le=3600)] = Field(
        10, description="for a request to arrive whole, and for its answer to be taken"
    )
    idle_timeout_s: Annotated[int, Field(ge=1, le=3600)] = Field(
        5, description="a connection without a request is kept so long"
    )
    api_keys_file: Path | None = Field(
        None, description="hashes of the API keys (winnow keys new); without one there are none"
    )
    drain_ms: Annotated[int, Field(ge=0, le=600_000)] = Field(
        5_000, description="time at SIGTERM to send callers elsewhere; a quiet second ends it"
    )
    admin_host: str = Field("127.0.0.1", description="address that the admin calls listen on")
    admin_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="port of the admin calls (docs/rollout.md); without one there are none"
    )
    admin_token_file: Path | None = Field(
        None, description="file with the bearer token of the admin calls, 16 characters or more"
    )
    activation_timeout_s: Annotated[int, Field(ge=1, le=3600)] = Field(
        120, description="time that all workers have to load and verify a version"
    )
    shadow_queue: Annotated[int, Field(ge=1, le=100_000)] = Field(
        64, description="answers waiting to be scored by a shadow version, per worker"
    )
    log_format: LogFormat | None = Field(
        None, description="json or text; json unless standard output is a terminal"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level of a log line"
    )
    log_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.01, description="of the requests that went well, logged; of all others, every one is"
    )
    log_queries: bool = Field(
        default=False, description="show the query of logged requests: it may be personal data"
    )
    trace_endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^/]+/.*")] | None = Field(
        None, description="URL of an OTLP/HTTP collector, http://HOST:4318/v1/traces; extra tracing"
    )
    trace_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.01, description="of the requests whose caller has not decided, traced"
    )
    playground_catalogue: FilePath | None = Field(
        None, description="file that was indexed: the playground at / shows its titles"
    )
    playground_judgments: FilePath | None = Field(
        None, description="graded pairs, for precision and recall in the playground"
    )
    playground_queries: FilePath | None = Field(
        None, description="example queries of the playground; the judged ones where absent"
    )
    board: Path | None = Field(
        None, description="folder in which the workers agree on versions; winnow serve sets it"
    )

    @model_validator(mode="before")
    @classmethod
    def _split_models(cls, values: dict[str, object]) -> dict[str, object]:
        models = values.get("models")
        if isinstance(models, str):
            values["models"] = tuple(name.strip() for name in models.split(",") if name.strip())
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_inflight_candidates < self.max_candidates:
            raise ValueError(
                f"max_inflight_candidates ({self.max_inflight_candidates}) must be at least "
                f"max_candidates ({self.max_candidates}), or the largest request is never admitted"
            )
        if self.grpc_port == self.port:
            raise ValueError(f"grpc_port must be another one than port ({self.port})")
        if self.admin_port is not None and self.admin_token_file is None:
            raise ValueError(
                "admin_port needs admin_token_file: without a token anybody could change models"
            )
        if self.playground_catalogue is None and (
            self.playground_judgments or self.playground_queries
        ):
            raise ValueError(
                "playground_judgments and playground_queries need playground_catalogue: without "
                "titles there is no playground"
            )
        return self


def read_settings() -> Settings:
    """Settings from the environment.

    Raises:
        SettingsError: a variable is missing, malformed, or none of ours (a typo would otherwise
            silently leave a default in force).
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(
            f"unknown setting {unknown[0]}; the settings are {', '.join(sorted(known))}"
        )
    try:
        return Settings()
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise SettingsError("; ".join(map(_told, problems))) from error


def _told(problem: ErrorDetails) -> str:
    """What is wrong with a variable, and what it is for where there is none."""
    if not problem["loc"]:
        return problem["msg"]
    name = str(problem["loc"][0])
    told = problem["msg"]
    if problem["type"] == "missing":
        told = f"not set; expected {Settings.model_fields[name].description}"
    return f"{PREFIX}{name.upper()}: {told}"
