"""Traces, metrics and structured logs. One law: the trace context rides in the envelope, so one trace spans the bus.

OTLP export is switched on by `OTEL_EXPORTER_OTLP_ENDPOINT` (OpenTelemetry's own variable); without it spans cost
almost nothing and go nowhere. Metrics are Prometheus text at `/metrics`. What looks like a secret or a person's address
is struck out of every log line, wherever it came from.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import Counter, Gauge, Histogram

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_TRACER: Final = trace.get_tracer("gpuaas")
_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

COMMANDS = Counter("gpuaas_commands_total", "Commands by entity and outcome.", ("entity", "outcome"))
COMMAND_SECONDS = Histogram("gpuaas_command_seconds", "Time to decide and append.", ("entity",), buckets=_BUCKETS_S)
READER_POSITION = Gauge("gpuaas_reader_position", "Log position a reader has applied.", ("reader",))
READER_LAG = Gauge("gpuaas_reader_lag_events", "Log positions a reader is behind; 0 when nothing waits.", ("reader",))
LOG_POSITION = Gauge("gpuaas_log_position", "Newest position of the log, as this service sees it.")
LOG_REACHABLE = Gauge("gpuaas_log_reachable", "1 while the broker answers this service.")
READY = Gauge("gpuaas_ready", "1 while the service can do its work.")
READER_EVENTS = Counter("gpuaas_reader_events_total", "Events a reader has applied.", ("reader",))
READER_STOPPED = Gauge("gpuaas_reader_stopped", "1 while a reader has stopped at an event.", ("reader",))
LOG_FILL = Gauge("gpuaas_log_fill_ratio", "Share of the log's room that is used.")
REQUEST_SECONDS = Histogram(
    "gpuaas_http_request_seconds", "HTTP requests.", ("method", "route", "status"), buckets=_BUCKETS_S
)


SPANS_MAX: Final = 16
"""Events of one batch that are traced into a read model; a longer batch is a rebuild or a catch-up."""
_TENANT: Final[ContextVar[str | None]] = ContextVar("tenant", default=None)
_TENANT_IN_PATH: Final = re.compile(r"/v1/tenants/([a-z0-9-]{1,63})(?:/|$)")
_STRUCK_OUT: Final = (
    (re.compile(r"(://[^:/@\s]*:)[^@\s]+@"), r"\1***@"),
    (re.compile(r"\bgpk_[A-Za-z0-9_.-]+"), "gpk_***"),
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+", re.IGNORECASE), r"\1 ***"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), "eyJ***"),
    (re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"), "***@***"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), "***"),
)
"""Passwords in addresses, API keys, tokens, mail addresses, private keys."""


def struck_out(text: str) -> str:
    """`text` without what looks like a secret or a mail address."""
    for pattern, instead in _STRUCK_OUT:
        text = pattern.sub(instead, text)
    return text


@contextmanager
def about(tenant_id: str | None) -> Iterator[None]:
    """Log lines inside are about this tenant."""
    token = _TENANT.set(tenant_id)
    try:
        yield
    finally:
        _TENANT.reset(token)


def tenant_in(path: str) -> str | None:
    """The tenant a request path names."""
    found = _TENANT_IN_PATH.match(path)
    return found[1] if found else None


class _JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, trace and tenant; nothing from request bodies."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": struck_out(record.getMessage()),
        }
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = format(context.trace_id, "032x")
        if (tenant_id := _TENANT.get()) is not None:
            line["tenant_id"] = tenant_id
        if record.exc_info:
            line["exception"] = struck_out(self.formatException(record.exc_info))
        return json.dumps(line)


def start_telemetry(service: str, level: str = "INFO") -> None:
    """Set up logs for this process and, where an OTLP endpoint is named, the export of spans."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider = TracerProvider(resource=Resource.create({"service.name": f"gpuaas-{service}"}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)


@contextmanager
def span(name: str, traceparent: str | None = None) -> Iterator[None]:
    """A span named `name`, a child of `traceparent` where one is given, else of the current span."""
    context = _PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None
    with _TRACER.start_as_current_span(name, context=context):
        yield


@contextmanager
def spans(name: str, traceparents: Iterable[str | None]) -> Iterator[None]:
    """One span per event of a short batch, each in its event's own trace; nothing where spans go nowhere."""
    given = [each for each in traceparents if each] if _exports() else []
    with ExitStack() as open_spans:
        for traceparent in dict.fromkeys(given):
            context = _PROPAGATOR.extract({"traceparent": traceparent})
            open_spans.callback(_TRACER.start_span(name, context=context).end)
        yield


def _exports() -> bool:
    return isinstance(trace.get_tracer_provider(), TracerProvider)


def current_traceparent() -> str | None:
    """The W3C trace context of the current span, or None outside a recorded trace."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")
