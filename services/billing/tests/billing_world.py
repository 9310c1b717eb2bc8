"""Billing running on real servers, with neighbours that speak on the log. One law: nothing in here is a mock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from gpuaas.billing.app import build
from gpuaas.billing.settings import BillingSettings
from gpuaas.common.embedded.process import free_port
from gpuaas.common.service import Service
from gpuaas.common.testing.neighbours import Identities, tell
from gpuaas.common.testing.running import eventually, running
from gpuaas.contracts.allocations import AllocationReleased, AllocationStarted, Member
from gpuaas.contracts.iam import TenantCreated

AUGUST = datetime(2026, 8, 1, tzinfo=UTC)
SEPTEMBER = datetime(2026, 9, 1, tzinfo=UTC)
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MODEL = "nvidia-h100-sxm-80gb"


def spelled(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def started(
    tenant: str,
    allocation: str,
    at: datetime,
    gpus: int = 8,
    project: str = "vision",
    model: str = MODEL,
    share_milli: int | None = None,
) -> AllocationStarted:
    return AllocationStarted(
        allocation_id=allocation,
        tenant_id=tenant,
        project_id=project,
        pool_id="h100-fra",
        gpu_model=model,
        gpu_count=gpus,
        share_milli=share_milli,
        started_at=at,
        members=(Member(member=0, node_id="n-1", device_ids=tuple(f"gpu-{slot}" for slot in range(min(gpus, 64)))),),
    )


def released(begun: AllocationStarted, at: datetime) -> AllocationReleased:
    return AllocationReleased(
        allocation_id=begun.allocation_id,
        tenant_id=begun.tenant_id,
        project_id=begun.project_id,
        pool_id=begun.pool_id,
        gpu_model=begun.gpu_model,
        gpu_count=begun.gpu_count,
        share_milli=begun.share_milli,
        started_at=begun.started_at,
        ended_at=at,
        end_reason="completed",
        exit_code=0,
    )


@dataclass
class World:
    """One billing process with its client, and its neighbours' voices."""

    service: Service
    client: httpx.AsyncClient
    identities: Identities
    operator: dict[str, str]
    position: int = 0

    async def tenant(self, tenant: str, currency: str = "EUR") -> None:
        event = TenantCreated(tenant_id=tenant, display_name=tenant, billing_currency=currency)
        self.position = await tell(self.service.log, event, tenant_id=tenant, entity_id=tenant)
        self.identities._tenants.add(tenant)

    async def used(
        self, tenant: str, allocation: str, start: datetime, end: datetime, gpus: int = 8, **more: Any
    ) -> None:
        """An allocation runs from `start` to `end`."""
        begun = started(tenant, allocation, start, gpus, **more)
        self.position = await tell(
            self.service.log, begun, released(begun, end), tenant_id=tenant, entity_id=allocation
        )

    async def post(self, path: str, body: dict[str, Any], status: int, **headers: str) -> Any:
        answer = await self.client.post(path, json=body, headers=self.operator | self._fresh() | headers)
        assert answer.status_code == status, answer.text
        self.position = max(self.position, int(answer.headers.get("GPUaaS-Position", 0)))
        return answer.json()

    def _fresh(self) -> dict[str, str]:
        return {"GPUaaS-At-Least": str(self.position)}

    async def get(self, path: str, headers: dict[str, str] | None = None, status: int = 200, **query: Any) -> Any:
        answer = await self.client.get(path, params=query, headers=(headers or self.operator) | self._fresh())
        assert answer.status_code == status, answer.text
        return answer.json()

    async def publish(self, amount: str, start: datetime = AUGUST, currency: str = "EUR", **more: Any) -> Any:
        prices = [{"gpu_model": MODEL, "amount": amount}]
        body = {"currency": currency, "effective_from": spelled(start), "prices": prices, **more}
        return await self.post("/v1/price-books", body, 201)

    async def start_run(
        self, start: datetime = AUGUST, end: datetime = SEPTEMBER, status: int = 202, **more: Any
    ) -> Any:
        body = {"period_start": spelled(start), "period_end": spelled(end), **more}
        return await self.post("/v1/billing-runs", body, status)

    async def bill(self, start: datetime = AUGUST, end: datetime = SEPTEMBER, **more: Any) -> Any:
        """A run from start to end; what it says of itself when it is done."""
        run = await self.start_run(start, end, **more)
        return await self.done(run["id"])

    async def done(self, run_id: str) -> Any:
        async def completed() -> bool:
            return bool((await self.get(f"/v1/billing-runs/{run_id}"))["completed_at"])

        await eventually(completed)
        self.position = max(self.position, await self.service.log.last_position())
        return await self.get(f"/v1/billing-runs/{run_id}")

    async def invoices(self, tenant: str) -> list[Any]:
        """A tenant's invoices with their lines, oldest first."""
        page = await self.get(f"/v1/tenants/{tenant}/invoices")
        return [
            await self.get(f"/v1/tenants/{tenant}/invoices/{invoice['invoice_id']}")
            for invoice in reversed(page["items"])
        ]


@asynccontextmanager
async def world_on(
    settings: BillingSettings, made: Callable[[BillingSettings], Service] = build
) -> AsyncIterator[World]:
    """Billing on the servers that `settings` name; may be entered again, or twice, on the same ones."""
    service = made(settings.model_copy(update={"http_port": free_port()}))
    async with running(service) as client:
        identities = await Identities.on(service.log)
        yield World(service, client, identities, await identities.operator())


def settings_on(nats_url: str, dsn: str, directory: Path) -> BillingSettings:
    return BillingSettings(nats_url=nats_url, postgres_dsn=dsn, state_dir=directory, ready_timeout_s=15.0)
