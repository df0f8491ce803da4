"""Around every request: its id, and when it is answered its duration, log line and trace."""

from time import perf_counter
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import metrics
from service.drain import Drain
from service.logs import REQUEST_ID
from service.request_facts import SCOPE_KEY, RequestFacts
from service.request_ids import request_ids
from service.request_log import NOT_ANSWERED, RequestLog
from service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from service.traces import Traces

_LEAVE = (b"connection", b"close")


def open_traces(settings: Settings) -> "Traces | None":
    """Where traces are sent; None where nobody asked for them, and nothing is imported then.

    Raises:
        SettingsError: an endpoint is set, but the extra `tracing` is not installed.
    """
    if settings.trace_endpoint is None:
        return None
    try:
        from service.traces import Traces  # noqa: PLC0415 - OpenTelemetry is optional
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"WINNOW_TRACE_ENDPOINT needs {error.name}, which is not installed: "
            "pip install 'winnow-relevance[tracing]', or unset it"
        ) from error
    return Traces(settings.trace_endpoint, settings.trace_share)


def route_of(scope: Scope) -> str:
    """What metrics, log and traces call where a request went: a path with names for its parts.

    An unknown path, or a model's name, is no label: anybody could make as many as they like.
    """
    route = scope.get("route")
    if route is None:
        return "other"
    return str(getattr(route, "path", scope["path"]))


class Observed:
    """Answers with `X-Request-Id`, and observes every request by known path and status code."""

    def __init__(
        self, app: ASGIApp, log: RequestLog, drain: Drain, traces: "Traces | None" = None
    ) -> None:
        """Wraps the application; answers of a worker that is to end close their connection."""
        self._app = app
        self._log = log
        self._drain = drain
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything through, watching for the status."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        facts = RequestFacts(*request_ids(scope["headers"]))
        scope[SCOPE_KEY] = facts
        REQUEST_ID.set(facts.request_id)  # the task, and so the context, is this request's own
        id_header = (b"x-request-id", facts.request_id.encode())
        status = NOT_ANSWERED

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], id_header]
                if self._drain.begun:
                    message["headers"].append(_LEAVE)
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            ended = perf_counter()
            seconds = ended - started
            route = route_of(scope)
            metrics.REQUESTS.labels(route, str(status or 500)).observe(seconds)
            if self._traces is not None:
                self._traces.record(route, status, scope["headers"], started, ended, facts)
            self._log.write(scope["method"], route, status, seconds, facts)
