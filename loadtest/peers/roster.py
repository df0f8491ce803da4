"""The servers: how each is started, where it listens for a candidate list, in which protocol."""

import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.peers.bodies import Protocol

# Sent nowhere from here, and never during a measurement.
NO_TELEMETRY = {"BENTOML_DO_NOT_TRACK": "True", "RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True)
class Server:
    """One line of the report.

    folder: of the peer's `server.py` and `requirements.txt`, and the name of its environment;
        None: it runs in the project's own environment
    command: executable of that environment and arguments; {port} and {workers} are filled in
    environment: variables of its own; {port}, {workers}, {spare} (two more ports) are filled in
    """

    name: str
    folder: str | None
    command: tuple[str, ...]
    path: str = "/score"
    protocol: Protocol = "plain"
    environment: dict[str, str] = field(default_factory=dict)


_UVICORN = (
    *("python", "-m", "uvicorn", "loadtest.peers.fastapi.server:app", "--no-access-log"),
    *("--host", "127.0.0.1", "--port", "{port}", "--workers", "{workers}"),
)
_V2 = "/v2/models/relevance/infer"


def _mlserver(name: str, parallel_workers: str) -> Server:
    return Server(
        name,
        "mlserver",
        ("mlserver", "start", "loadtest/peers/mlserver"),
        _V2,
        "v2",
        {
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{spare[0]}",
            "MLSERVER_METRICS_PORT": "{spare[1]}",
            "MLSERVER_PARALLEL_WORKERS": parallel_workers,
            "MLSERVER_DEBUG": "false",
        },
    )


PEERS = (
    Server("fastapi", "fastapi", _UVICORN),
    Server("fastapi-items", "fastapi", _UVICORN, "/items", "items"),
    Server("litserve", "litserve", ("python", "-m", "loadtest.peers.litserve.server")),
    Server(
        "bentoml",
        "bentoml",
        (
            *("python", "-m", "bentoml", "serve", "loadtest.peers.bentoml.server:Relevance"),
            *("--host", "127.0.0.1", "--port", "{port}"),
        ),
    ),
    _mlserver("mlserver", "{workers}"),
    _mlserver("mlserver-inline", "0"),
    Server("kserve", "kserve", ("python", "-m", "loadtest.peers.kserve.server"), _V2, "v2"),
    Server(
        "ray-serve",
        "ray",
        ("python", "-m", "loadtest.peers.ray.server"),
        # https://docs.ray.io/en/master/kuberay/user-guides/serve-high-throughput.html
        environment={"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
    ),
    Server(
        "pytriton",
        "pytriton",
        ("python", "-m", "loadtest.peers.pytriton.server"),
        _V2,
        "v2",
        # Its stub takes the first libpython that the loader finds: it must be this interpreter's,
        # https://triton-inference-server.github.io/pytriton/latest/installation
        {"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))},
    ),
    Server(
        "mosec",
        "mosec",
        (
            *("python", "-m", "loadtest.peers.mosec.server"),
            *("--address", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
        ),
    ),
)
ONE_PROCESS = ("mlserver-inline",)  # measured with one worker only: it has no more


def winnow(
    command: tuple[str, ...] | None, bundle: Path, redis_url: str, arguments: tuple[str, ...]
) -> Server:
    """Winnow as a user starts it; `command` in place of this environment's `winnow serve`."""
    own = (str(Path(sys.executable).with_name("winnow")), "serve")
    return Server(
        "winnow",
        None,
        (
            *(command or own),
            *("--store", redis_url, "--models", bundle.parent.name),
            *("--bundles", str(bundle.parent.parent)),
            *("--host", "127.0.0.1", "--port", "{port}", "--workers", "{workers}"),
            *arguments,
        ),
    )
