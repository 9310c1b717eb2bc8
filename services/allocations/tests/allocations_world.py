"""Allocations running on real servers, with neighbours that speak on the log. One law: nothing in here is a mock."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from gpuaas.allocations.app import build
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.reactions import ALLOCATION, POOL
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.clock import Pace, PacedClock
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.projections import Projection, decoded
from gpuaas.common.service import Service
from gpuaas.common.testing.neighbours import Identities, tell
from gpuaas.common.testing.running import eventually, running
from gpuaas.contracts.inventory import Device, MachineAccepted, Topology

MODEL = "h100"


def accepted(number: int, gpus: int = 8, pool_id: str = "main", per_rack: int = 4) -> MachineAccepted:
    """Inventory's word for machine `n<number>`."""
    return MachineAccepted(
        machine_id=f"n{number}",
        machine_serial=f"serial-{number}",
        pool_id=pool_id,
        gpu_model=MODEL,
        devices=tuple(
            Device(device_id=f"n{number}-g{slot}", serial=f"{number}-{slot}", slot=slot, memory_mib=81_559)
            for slot in range(gpus)
        ),
        topology=Topology(region="eu", site="s0", pod="p0", rack=f"r{number // per_rack}"),
    )


@dataclass
class World:
    """One allocations process, its client, and those around it."""

    service: Service
    client: httpx.AsyncClient
    identities: Identities
    operator: dict[str, str]
    members: dict[str, dict[str, str]] = field(default_factory=dict)
    position: int = 0

    async def machines(self, count: int, gpus: int = 8, first: int = 0) -> None:
        """Inventory accepts machines; waits until the pool has them."""
        for number in range(first, first + count):
            self.position = await tell(self.service.log, accepted(number, gpus), entity_id=f"n{number}")

        async def offered() -> bool:
            pool, _ = await self.service.commands.state(POOL, PLATFORM, "main")
            return all(f"n{number}" in pool.book.number for number in range(first, first + count))

        await eventually(offered)
        self.position = await self.service.log.last_position()

    async def as_member(self, tenant_id: str, project_id: str = "research") -> dict[str, str]:
        """Headers of someone of that tenant's project."""
        if tenant_id not in self.members:
            self.members[tenant_id] = await self.identities.member(tenant_id, project_id)
        return self.members[tenant_id]

    async def ask(self, tenant_id: str = "acme", status: int = 202, key: str | None = None, **more: Any) -> str:
        """Request GPUs; the new allocation's id, or the problem's type."""
        headers = await self.as_member(tenant_id)
        if key is not None:
            headers = headers | {"Idempotency-Key": key}
        body = {"pool_id": "main", "gpus_per_replica": 8, "image": "sim", "command": ["sleep", "60"], **more}
        answer = await self.client.post(
            f"/v1/tenants/{tenant_id}/projects/research/allocations", json=body, headers=headers
        )
        assert answer.status_code == status, answer.text
        self.position = max(self.position, int(answer.headers.get("GPUaaS-Position", 0)))
        told = answer.json()
        return str(told["id"] if status == 202 else told["type"])

    async def release(self, allocation_id: str, tenant_id: str = "acme", status: int = 202) -> None:
        headers = await self.as_member(tenant_id)
        path = f"/v1/tenants/{tenant_id}/projects/research/allocations/{allocation_id}/release"
        answer = await self.client.post(path, headers=headers)
        assert answer.status_code == status, answer.text

    async def get(self, path: str, headers: dict[str, str] | None = None, status: int = 200, **query: Any) -> Any:
        fresh = {"GPUaaS-At-Least": str(self.position)}
        answer = await self.client.get(path, params=query, headers=(headers or self.operator) | fresh)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def one(self, allocation_id: str, tenant_id: str = "acme") -> dict[str, Any]:
        path = f"/v1/tenants/{tenant_id}/projects/research/allocations/{allocation_id}"
        found: dict[str, Any] = await self.get(path, await self.as_member(tenant_id))
        return found

    async def until(self, state: str, *allocation_ids: str, tenant_id: str = "acme", within_s: float = 60) -> Any:
        """Wait until all of them are in that state; the last one."""

        async def there() -> bool:
            self.position = await self.service.log.last_position()
            return all([(await self.one(name, tenant_id))["state"] == state for name in allocation_ids])

        await eventually(there, within_s)
        return await self.one(allocation_ids[-1], tenant_id)

    def pace(self, rate: float) -> None:
        """From now on the world runs `rate` times as fast as real time."""
        clock = self.service.clock
        assert isinstance(clock, PacedClock)
        clock.change(Pace(time.time(), clock.now(), rate))

    async def pool(self) -> Pool:
        pool, _ = await self.service.commands.state(POOL, PLATFORM, "main")
        return pool

    async def said_of(self, allocation_id: str, tenant_id: str = "acme") -> list[str]:
        """What happened to an allocation, in order, by short names."""
        history = await self.service.log.history(ALLOCATION.subject(tenant_id, allocation_id))
        facts = decoded(ALLOCATION.vocabulary, history)
        return [fact.envelope.type.split(".")[2].removeprefix("allocation-") for fact in facts]

    def projections(self) -> Sequence[Projection]:
        return [projector.projection for projector in self.service._projectors.values()]


@asynccontextmanager
async def world(settings: AllocationsSettings) -> AsyncIterator[World]:
    """A running allocations service."""
    service = build(settings)
    async with running(service) as client:
        identities = await Identities.on(service.log, settings.profile)
        yield World(service, client, identities, await identities.operator())
