"""Traces of requests, sent to an OpenTelemetry collector (OTLP over HTTP). Extra: `tracing`.

A trace is made once the answer is sent, from when its stages ran: the request path knows nothing
of it. A thread of the SDK sends batches; what its queue (2,048 spans) can't hold is dropped.
"""

import os
import time
from collections.abc import Iterable
from importlib.metadata import version
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.metrics import SCORING
from service.request_facts import RequestFacts

# Of one batch, repeated tries included: a collector that is down keeps no worker from ending.
EXPORT_TIMEOUT_S: Final = 2.0
TRACED: Final = frozenset((*SCORING, "/filter"))
_PARENT: Final = (b"traceparent", b"tracestate")

Headers = Iterable[tuple[bytes, bytes]]


class Traces:
    """Makes the spans of one worker, from its start until it is closed."""

    def __init__(self, endpoint: str, share: float) -> None:
        """Connects to nothing yet.

        Args:
            endpoint: URL that takes OTLP, such as http://collector:4318/v1/traces.
            share: of the requests whose caller has not decided, 0 to 1.
        """
        own = {
            "service.name": "winnow",
            "service.version": version("winnow-relevance"),
            "process.pid": os.getpid(),  # workers of a container are told apart by it
        }
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
        resource = Resource.create(own).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)), resource=resource, shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("winnow")
        self._propagator = TraceContextTextMapPropagator()

    def record(
        self,
        route: str,
        status: int,
        headers: Headers,
        began: float,
        ended: float,
        facts: RequestFacts,
    ) -> None:
        """The trace of an answered request, if it is sampled; its id goes into `facts`.

        began, ended: `time.perf_counter()`; status: 0 where the client left before an answer
        """
        if route not in TRACED:
            return
        zero_ns = time.time_ns() - time.perf_counter_ns()
        parent = {n.decode(): v.decode("latin-1") for n, v in headers if n in _PARENT}
        span = self._tracer.start_span(
            f"POST {route}",
            self._propagator.extract(parent, Context()),
            kind=SpanKind.SERVER,
            start_time=_at(zero_ns, began),
        )
        if not span.is_recording():
            return
        _describe(span, route, status, facts)
        inside = set_span_in_context(span, Context())
        periods = dict(facts.periods_s)
        if periods:
            periods["answer"] = (max(end for _, end in periods.values()), ended)
        for stage, (begin, end) in periods.items():
            part = self._tracer.start_span(stage, inside, start_time=_at(zero_ns, begin))
            part.end(_at(zero_ns, end))
        span.end(_at(zero_ns, ended))
        facts.trace_id = format_trace_id(span.get_span_context().trace_id)

    def close(self) -> None:
        """Sends what is left, for as long as EXPORT_TIMEOUT_S per batch allows."""
        self._provider.shutdown()


def _describe(span: Span, route: str, status: int, facts: RequestFacts) -> None:
    """Attributes without a query, a product or a customer."""
    span.set_attributes({"http.request.method": "POST", "http.route": route})
    if status:
        span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(StatusCode.ERROR)
    if facts.candidates is not None:
        span.set_attribute("winnow.candidates", facts.candidates)
    if facts.model is not None and facts.version is not None:
        span.set_attributes({"winnow.model": facts.model, "winnow.version": facts.version})
    if facts.degraded:
        span.set_attribute("winnow.degraded", list(facts.degraded))


def _at(zero_ns: int, seconds: float) -> int:
    """Nanoseconds since 1970 of a `time.perf_counter()`."""
    return zero_ns + int(seconds * 1e9)
