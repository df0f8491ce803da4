"""`winnow serve`: checks that it can serve, then starts the workers."""

import logging
import logging.config
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.completion import student_lists

if TYPE_CHECKING:
    from service.settings import Settings

log = logging.getLogger("winnow.serve")


def serve(
    store: Annotated[
        str | None, typer.Option(help="lmdb:PATH, redis://HOST:PORT/DB, redis+cluster://HOST:PORT/")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="students to serve, comma separated, the default one first",
            autocompletion=student_lists,
        ),
    ] = None,
    bundles: Annotated[Path | None, typer.Option(help="folder of published bundles")] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on")] = None,
    workers: Annotated[
        int | None, typer.Option(help="worker processes; one per CPU of the quota by default")
    ] = None,
) -> None:
    """Serve POST /score and POST /filter.

    Every setting is a WINNOW_* variable too (WINNOW_STORE, WINNOW_MODELS, WINNOW_DEADLINE_MS ...);
    an option given here wins. GET /info shows what is in force.
    """
    given = {
        "STORE": store,
        "MODELS": models,
        "BUNDLES": bundles,
        "HOST": host,
        "PORT": port,
        "WORKERS": workers,
    }
    # Workers are separate processes that read the environment, as they do in a container.
    os.environ.update({f"WINNOW_{name}": str(value) for name, value in given.items() if value})
    shared = Path(tempfile.mkdtemp(prefix="winnow-workers-"))
    # Before anything imports prometheus_client: it looks at the variable once.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_made(shared / "metrics"))
    os.environ["WINNOW_BOARD"] = str(_made(shared / "board"))
    # The server ends by the signal it was told with, once it has put this handler back.
    signal.signal(signal.SIGTERM, _exit)
    try:
        _run()
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _exit(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal's handler
    sys.exit(0)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _run() -> None:
    from model_store.registry import bundle_folder
    from model_store.student import OnnxStudent
    from service import metrics
    from service.admin import AdminServer
    from service.coordinator import Coordinator
    from service.grpc_port import held_port
    from service.logs import log_config
    from service.observed import open_traces
    from service.serving import active_plan
    from service.settings import read_settings
    from vector_store.open import open_store

    settings = read_settings()
    logs = log_config(settings.log_format, settings.log_level)
    logging.config.dictConfig(logs)
    if (traces := open_traces(settings)) is not None:
        traces.close()  # it is there: the workers have their own
    _say_who_may_ask(settings)
    plan = active_plan(settings, 1)
    # A bundle that can't be served stops here, once, and not in each restarted worker.
    for name, rollout in plan.models.items():
        folder = bundle_folder(settings.bundles, name, rollout.version)
        student = OnnxStudent.load(folder, precision=settings.precision)
        log.info("%s %s: verified", name, student.manifest.version)
    if settings.playground_catalogue is not None:
        _say_what_the_playground_shows(settings)
    open_store(settings.store, read_only=True, timeout_ms=settings.store_timeout_ms).close()
    assert settings.board is not None  # noqa: S101 - set above
    coordinator = Coordinator(settings, settings.board, plan)
    if settings.workers > 1:  # else this process is the worker
        metrics.show_no_gauges()
    admin = None if settings.admin_port is None else AdminServer(settings, coordinator)
    coordinator.start()
    try:
        with held_port(settings):
            _serve(settings, logs)
    finally:
        if admin is not None:
            admin.close()
        coordinator.close()


def _say_who_may_ask(settings: "Settings") -> None:
    from service.key_file import read_keys

    path = settings.api_keys_file
    if path is None:
        log.info("no API keys (WINNOW_API_KEYS_FILE): whoever reaches the port is answered")
    else:
        log.info("API keys: %s", ", ".join(key.name for key in read_keys(path)))


def _say_what_the_playground_shows(settings: "Settings") -> None:
    from playground.shelf import read_shelf

    count = len(read_shelf(settings).products)  # a file that can't be read stops here, once
    log.info("playground at /: %s products of %s", count, settings.playground_catalogue)


def _serve(settings: "Settings", logs: dict[str, Any]) -> None:
    import uvicorn

    log.info(
        "%s workers x %s ONNX Runtime threads; http://%s:%s/docs",
        *(settings.workers, settings.ort_threads, settings.host, settings.port),
    )
    if settings.grpc_port is not None:
        log.info("Open Inference Protocol over gRPC: %s:%s", settings.host, settings.grpc_port)
    uvicorn.run(
        "service.app:create_app"
        if settings.playground_catalogue is None
        else "playground.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        access_log=False,
        http="service.connection:Connection",
        ws="none",
        timeout_keep_alive=settings.idle_timeout_s,
        server_header=False,
        proxy_headers=False,  # nothing here asks who the client is
        log_config=logs,  # each worker is a process of its own
        # A worker that does not answer its parent for so long is replaced. On CPUs that are short a
        # new one takes longer than uvicorn's 5 s to answer at all, and would never come up.
        timeout_worker_healthcheck=30,
        # One worker has nobody to share with; and uvloop is not for Windows.
        loop="service.accept:Loop" if settings.workers > 1 and sys.platform != "win32" else "auto",
    )
