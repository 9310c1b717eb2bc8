"""Traces, metrics and structured logs. One law: the trace context rides in the envelope, so one trace spans the bus.

OTLP export is switched on by `OTEL_EXPORTER_OTLP_ENDPOINT` (OpenTelemetry's own variable); without it spans cost
almost nothing and go nowhere. Metrics are Prometheus text at `/metrics`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
READER_EVENTS = Counter("gpuaas_reader_events_total", "Events a reader has applied.", ("reader",))
READER_STOPPED = Gauge("gpuaas_reader_stopped", "1 while a reader has stopped at an event.", ("reader",))
LOG_FILL = Gauge("gpuaas_log_fill_ratio", "Share of the log's room that is used.")
REQUEST_SECONDS = Histogram(
    "gpuaas_http_request_seconds", "HTTP requests.", ("method", "route", "status"), buckets=_BUCKETS_S
)


class _JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, trace id; nothing from request bodies."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = format(context.trace_id, "032x")
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
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


def current_traceparent() -> str | None:
    """The W3C trace context of the current span, or None outside a recorded trace."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")
