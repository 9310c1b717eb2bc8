"""What the suite tells of itself. One law: one trace from the door to the row, and never a secret or a person in it.

Real processes, with their spans sent to a small collector here; what must not be told is planted and searched for in
every log, every span and every metric.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from gpuaas.cli.client import Suite
from gpuaas.cli.demo import trace as demo_trace
from gpuaas.cli.supervisor import Backoff
from gpuaas.cli.up import Stack
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.drills.stage import state_folder

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]
SERVICES: Final = ("iam", "nodes", "inventory")
PERSON: Final = {"email": "ada.planted@persons.example", "display_name": "Ada Planted-Lovelace"}
WITHIN_S: Final = 20.0


@dataclass(slots=True)
class Collector:
    """Takes spans over OTLP/HTTP.

    Attributes:
        raw: every request's body.
        spans: (trace id, service, span name).
    """

    raw: list[bytes] = field(default_factory=list)
    spans: set[tuple[str, str, str]] = field(default_factory=set)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length:")[1].split("\r\n")[0])
                self._read(await reader.readexactly(length))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _read(self, body: bytes) -> None:
        self.raw.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans |= {(span.trace_id.hex(), names["service.name"], span.name) for span in scope.spans}


@dataclass(slots=True)
class Told:
    """A running part of the suite, its collector, and what was planted."""

    stack: Stack
    operator: Suite
    collector: Collector
    folder: Path
    planted: set[str]

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in (self.folder / "logs").glob("*.log"))

    async def metrics(self) -> str:
        async with httpx.AsyncClient() as client:
            return "\n".join([(await client.get(f"{url}/metrics")).text for url in self.stack.urls.values()])


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def told() -> AsyncIterator[Told]:
    collector = Collector()
    server = await asyncio.start_server(collector.take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "GPUAAS_LOG_LEVEL": "DEBUG",
    }
    with state_folder() as folder:
        stack = Stack(folder, profile="demo", services=SERVICES, environment=environment, restart=Backoff())
        endpoints = await stack.start()
        async with Suite(endpoints.services, stack.operator_key) as operator:
            planted = {path.read_text().strip() for path in (folder / "secrets").iterdir()}
            yield Told(stack, operator, collector, folder, planted | set(PERSON.values()))
        await stack.stop()
    server.close()


async def test_one_trace_leads_from_the_door_over_the_bus_to_the_row(told: Told) -> None:
    trace_id = secrets.token_hex(16)
    host = demo_trace.fleet(1)[0]
    body = {
        "node_id": host.name,
        "topology": {"region": "r", "site": "s", "pod": "p", "rack": "k"},
        "expected_gpu_model": "nvidia-h100-80gb",
        "expected_gpu_count": 8,
        "pool_id": "main",
    }
    headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
    answer = await told.operator._send("POST", "nodes", "/v1/nodes", json=body, headers=headers)
    assert answer.status_code < 300
    wanted = {
        ("gpuaas-nodes", "POST /v1/nodes"),
        ("gpuaas-nodes", "project nodes"),
        ("gpuaas-inventory", "react keep-books"),
        ("gpuaas-inventory", "project machines"),
    }

    def seen() -> set[tuple[str, str]]:
        found = {(service, name) for each, service, name in told.collector.spans if each == trace_id}
        return {(service, name.rpartition("_v")[0] or name) for service, name in found}

    deadline = monotonic() + WITHIN_S
    while not wanted <= seen():
        assert monotonic() < deadline, f"the trace has only {sorted(seen())}"
        await asyncio.sleep(0.05)


async def test_planted_secrets_and_persons_are_in_no_log_no_span_and_no_metric(told: Told) -> None:
    await told.operator.post("iam", "/v1/users", PERSON)
    await told.operator.post(
        "iam", "/v1/tenants", {"tenant_id": "acme", "display_name": "Acme", "billing_currency": "USD"}
    )
    account = await told.operator.post("iam", "/v1/tenants/acme/service-accounts", {"display_name": "robot"})
    issued = await told.operator.post(
        "iam",
        f"/v1/tenants/acme/service-accounts/{account['id']}/keys",
        {"label": "planted", "expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()},
    )
    wrong = f"gpk_demo_planted_{secrets.token_urlsafe(24)}"
    async with httpx.AsyncClient(base_url=told.stack.urls["iam"]) as stranger:
        await stranger.post("/v1/tokens", headers={"Authorization": f"Bearer {wrong}"})
        await stranger.post("/v1/users", content=json.dumps(PERSON).encode() + b"}", headers=_json(told))
        await stranger.post("/v1/users", json=PERSON | {"surplus": PERSON["email"]}, headers=_json(told))
        await stranger.get("/v1/tenants/acme/users", params={"email": PERSON["email"]}, headers=_json(told))
    await told.stack.kill("nats")
    await asyncio.sleep(1.0)
    await told.stack.ready()
    told.planted |= {issued["api_key"], wrong, told.operator._token}
    everything = [told.logs(), await told.metrics(), b"".join(told.collector.raw).decode("utf-8", "replace")]
    assert all(everything)
    leaks = [planted for planted in told.planted for where in everything if planted and planted in where]
    assert leaks == []


def _json(told: Told) -> dict[str, str]:
    return {"Authorization": f"Bearer {told.operator._token}", "Content-Type": "application/json"}


async def test_every_service_tells_rate_errors_duration_and_where_each_reader_stands(told: Told) -> None:
    text = await told.metrics()
    for name in (
        "gpuaas_http_request_seconds_bucket",
        "gpuaas_reader_position",
        "gpuaas_reader_lag_events",
        "gpuaas_reader_stopped",
        "gpuaas_log_position",
        "gpuaas_log_reachable 1.0",
        "gpuaas_ready 1.0",
    ):
        assert text.count(f"\n{name}") >= len(SERVICES), name
    assert "/v1/tenants/acme" not in text, "a tenant's id is a label"


async def test_a_log_line_says_which_service_which_trace_and_which_tenant(told: Told) -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in told.logs().splitlines() if line.startswith("{")]
    assert lines
    assert all({"time", "level", "service", "logger", "message"} <= set(line) for line in lines)


async def test_health_and_metrics_name_no_tenant_no_subject_and_no_reason(told: Told) -> None:
    await told.operator.post(
        "iam", "/v1/tenants", {"tenant_id": "hidden-tenant", "display_name": "Hidden", "billing_currency": "USD"}
    )
    async with httpx.AsyncClient() as stranger:
        for url in told.stack.urls.values():
            pages = [(await stranger.get(f"{url}/{page}")).text for page in ("healthz", "readyz", "metrics")]
            for text in pages:
                assert "hidden-tenant" not in text
                assert "events." not in text
            assert set(json.loads(pages[1])["readers"][0]) >= {"name", "position", "caught_up"}
