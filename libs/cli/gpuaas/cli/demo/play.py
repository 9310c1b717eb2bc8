"""The main job, act by act, through the doors. One law: what the demo knows, it was told by a service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gpuaas.cli.client import Suite
from gpuaas.cli.demo.trace import GPUS_PER_HOST, WORLD_EPOCH, Host, Job
from gpuaas.cli.demo.world import World

POOL: Final = "main"
GPU_MODEL: Final = "nvidia-h100-sxm5-80gb"
CURRENCY: Final = "USD"
GPU_HOUR_PRICE: Final = "2.49"
PROJECTS: Final = ("research", "training")
IN_FLIGHT: Final = 32
ENROL_BATCH: Final = 200
LEASE_BEYOND_S: Final = 7 * 86_400
"""How much longer than its run a job's lease is: the trace's jobs end by themselves, however long they waited."""
POLL_S: Final = 0.25
DRAIN_S: Final = 12.0
"""Real seconds in which the last jobs' remaining hours pass."""

Count = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant of the demo and a client that speaks for it alone."""

    name: str
    client: Suite


async def enrol(world: World, hosts: Sequence[Host], done: Count) -> None:
    """Register the fleet and wait until every GPU of it can be placed on."""
    for chunk in _chunks(hosts, ENROL_BATCH):
        nodes = [
            {
                "node_id": host.name,
                "topology": {"region": host.region, "site": host.site, "pod": host.pod, "rack": host.rack},
                "expected_gpu_model": GPU_MODEL,
                "expected_gpu_count": GPUS_PER_HOST,
                "pool_id": POOL,
            }
            for host in chunk
        ]
        answer = await world.operator.post("nodes", "/v1/nodes/batch", {"nodes": nodes})
        refused = [item for item in answer["items"] if item["status"] != "accepted"]
        if refused:
            raise RuntimeError(f"{len(refused)} machines were refused, the first: {refused[0]}")
    wanted = len(hosts) * GPUS_PER_HOST
    while True:
        pools = await world.operator.get("allocations", "/v1/pools", at_least=0)
        free = sum(pool["free"] for pool in pools["items"] if pool["pool_id"] == POOL)
        done(free // GPUS_PER_HOST)
        if free >= wanted:
            return
        await asyncio.sleep(POLL_S)


async def open_tenants(world: World, names: Iterable[str], done: Count) -> dict[str, Tenant]:
    """Open tenants with two projects each and a key that may ask for GPUs there and nowhere else."""
    opened: dict[str, Tenant] = {}
    free = asyncio.Semaphore(4)

    async def one(name: str) -> None:
        async with free:
            opened[name] = await _open_tenant(world, name)
            done(len(opened))

    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(one(name))
    for tenant in opened.values():
        tenant.client.position = world.operator.position
    return opened


async def _open_tenant(world: World, name: str) -> Tenant:
    iam = world.operator
    body = {"tenant_id": name, "display_name": f"Virtual cluster {name[3:]}", "billing_currency": CURRENCY}
    await iam.post("iam", "/v1/tenants", body, key=f"demo-{name}")
    for project in PROJECTS:
        body = {"project_id": project, "display_name": project.capitalize()}
        await iam.post("iam", f"/v1/tenants/{name}/projects", body, key=f"demo-{name}")
    account = await iam.post(
        "iam", f"/v1/tenants/{name}/service-accounts", {"display_name": "Job submitter"}, key=f"demo-{name}"
    )
    binding = {
        "principal_id": account["id"],
        "principal_kind": "service-account",
        "role": "member",
        "reason": "submits the jobs of the trace",
    }
    await iam.post("iam", f"/v1/tenants/{name}/bindings", binding, key=f"demo-{name}")
    expires = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    path = f"/v1/tenants/{name}/service-accounts/{account['id']}/keys"
    issued = await iam.post("iam", path, {"label": "demo", "expires_at": expires})
    return Tenant(name, world.member(issued["api_key"]))


async def publish_prices(world: World) -> None:
    """One list price for the fleet's model."""
    body = {
        "currency": CURRENCY,
        "effective_from": (WORLD_EPOCH - timedelta(days=30)).isoformat(),
        "prices": [{"gpu_model": GPU_MODEL, "amount": GPU_HOUR_PRICE}],
    }
    await world.operator.post("billing", "/v1/price-books", body, key="demo-prices")


async def replay(
    world: World, jobs: Sequence[Job], tenants: dict[str, Tenant], jobs_per_s: float, done: Count
) -> dict[str, str]:
    """Submit every job when the world's clock shows its arrival; job name → allocation id."""
    span_s = max(1.0, (jobs[-1].arrival - jobs[0].arrival).total_seconds())
    await world.set_pace(max(1.0, span_s * jobs_per_s / len(jobs)), jobs[0].arrival - timedelta(seconds=1))
    submitted: dict[str, str] = {}
    free = asyncio.Semaphore(IN_FLIGHT)

    async def submit(job: Job) -> None:
        try:
            client = tenants[job.tenant].client
            path = f"/v1/tenants/{job.tenant}/projects/{job.project}/allocations"
            submitted[job.name] = (await client.post("allocations", path, _ask(job), key=job.name))["id"]
            done(len(submitted))
        finally:
            free.release()

    async with asyncio.TaskGroup() as group:
        for job in jobs:
            await world.until(job.arrival)
            await free.acquire()
            group.create_task(submit(job))
    return submitted


def _ask(job: Job) -> dict[str, Any]:
    replicas, each = job.shape
    return {
        "pool_id": POOL,
        "gpu_model": GPU_MODEL,
        "replicas": replicas,
        "gpus_per_replica": each,
        "lease_s": job.run_s + LEASE_BEYOND_S,
        "image": "philly",
        "command": ["sleep", str(job.run_s)],
        "labels": {"job": job.name},
    }


async def drain(world: World, jobs: Sequence[Job], done: Count) -> dict[str, int]:
    """Let the world run faster until the last job has ended; allocations by state at the end."""
    left_s = (max(job.arrival + timedelta(seconds=job.run_s) for job in jobs) - world.clock.now()).total_seconds()
    await world.set_pace(max(world.rate, left_s / DRAIN_S))
    while True:
        counts: dict[str, int] = await world.operator.get("allocations", "/v1/allocation-counts", at_least=0)
        ended = sum(count for state, count in counts.items() if state in ("released", "rejected"))
        done(ended)
        if ended >= len(jobs):
            return counts
        await asyncio.sleep(POLL_S)


async def bill(world: World, done: Callable[[int, int], None]) -> dict[str, Any]:
    """Bill everything from the world's first month to now; the finished run."""
    start = WORLD_EPOCH.replace(day=1)
    now = world.clock.now()
    end = (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    await world.set_pace(1.0, end)
    body = {"period_start": start.isoformat(), "period_end": end.isoformat()}
    accepted = await world.operator.post("billing", "/v1/billing-runs", body, key=f"demo-run-{end:%Y-%m}")
    while True:
        run: dict[str, Any] = await world.operator.get("billing", f"/v1/billing-runs/{accepted['id']}")
        done(run["invoices"], run["tenants"])
        if run["status"] != "running":
            return run
        await asyncio.sleep(POLL_S)


async def invoices(world: World, tenants: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Tenant → its newest invoice with lines."""
    found: dict[str, dict[str, Any]] = {}
    for tenant in tenants:
        page = await world.operator.get("billing", f"/v1/tenants/{tenant}/invoices", limit=1)
        if page["items"]:
            path = f"/v1/tenants/{tenant}/invoices/{page['items'][0]['invoice_id']}"
            found[tenant] = await world.operator.get("billing", path)
    return found


def _chunks(items: Sequence[Host], size: int) -> Iterable[Sequence[Host]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
