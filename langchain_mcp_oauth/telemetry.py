"""Spans and metrics of OpenTelemetry. Without an SDK its API does nothing, and neither does this, in about a microsecond.

An MCP operation has a span that is current while it is done, so what is traced meanwhile stands below it: the HTTP requests, a refresh, and
at the server whatever it does, as the trace goes along (SEP-414). Everything else is over when it is told, and gets a span of its length.
"""

from __future__ import annotations

import time
from contextvars import Token
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from langchain_mcp_oauth.events import Event

__all__ = ["Live", "Telemetry", "trace_context"]

_DIMENSIONS = ("mcp_oauth.server", "mcp_oauth.issuer", "mcp_oauth.reason", "mcp.method.name", "gen_ai.tool.name", "error.type")
"""What metrics are told apart by: few values each, and no people."""

_w3c = TraceContextTextMapPropagator()


def trace_context() -> dict[str, str]:
    """`traceparent` and `tracestate` of the current span, for a request's `_meta` (SEP-414); nothing where nothing is traced.

    Baggage is left out: it is the application's own words, and the server is somebody else's.
    """
    carrier: dict[str, str] = {}
    if trace.get_current_span() is not INVALID_SPAN:
        _w3c.inject(carrier)
    return carrier


@dataclass(frozen=True, slots=True)
class Live:
    """A span that is current, until it is handed to `Telemetry.end`."""

    span: Span
    token: Token[Context]


class Telemetry:
    """Asks for the providers each time: an application may set them after it has made its toolkits."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("langchain_mcp_oauth")
        meter = metrics.get_meter("langchain_mcp_oauth")
        self._measures = {
            "mcp.client.operation.duration": meter.create_histogram(
                "mcp.client.operation.duration", "s", "How long MCP operations take."
            ).record,
            "mcp_oauth.refresh.duration": meter.create_histogram(
                "mcp_oauth.refresh.duration", "s", "How long refreshing a token takes."
            ).record,
            "mcp_oauth.authorization.wait": meter.create_histogram(
                "mcp_oauth.authorization.wait", "s", "How long people take to answer."
            ).record,
            "mcp_oauth.events": meter.create_counter("mcp_oauth.events", "{event}", "What happened to logins.").add,
        }

    def begin(self, event: type[Event], facts: dict[str, Any]) -> Live | None:
        """A span for what begins now, and is current from now on; None where nothing is traced."""
        if not _works(trace.get_tracer_provider()):
            return None
        begun = event(**facts)
        span = self._tracer.start_span(begun.span(), kind=SpanKind.CLIENT, attributes=begun.attributes())
        return Live(span, attach(set_span_in_context(span)))

    def end(self, event: Event, live: Live | None) -> None:
        """It is over: its span ends, and its metrics are taken."""
        self._measure(event)
        if live is not None:
            detach(live.token)
            _end(live.span, event)

    def record(self, event: Event) -> None:
        """It is over, and had not been begun here: a span of its length that ends now, below the caller's; and its metrics."""
        self._measure(event)
        if _works(trace.get_tracer_provider()):
            end = time.time_ns()
            span = self._tracer.start_span(event.span(), kind=SpanKind.CLIENT, start_time=end - int(event.seconds * 1e9))
            _end(span, event, end)

    def _measure(self, event: Event) -> None:
        if not _works(metrics.get_meter_provider()):
            return
        attributes = event.attributes()
        dimensions = {name: attributes[name] for name in _DIMENSIONS if name in attributes}
        for name, value in event.measures().items():
            own = {"mcp_oauth.event": event.name} if name == "mcp_oauth.events" else {}
            self._measures[name](value, {**dimensions, **own})


def _end(span: Span, event: Event, when: int | None = None) -> None:
    attributes = event.attributes()
    span.set_attributes(attributes)
    if "error.type" in attributes:
        span.set_status(StatusCode.ERROR)
    span.end(when)


def _works(provider: object) -> bool:
    """Whether there is an SDK behind it: the API's own providers do nothing."""
    return not type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))
