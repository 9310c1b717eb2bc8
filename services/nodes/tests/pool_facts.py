"""What pools say, as the neighbour that owns them would. One law: plain events, in the pool's own history."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from gpuaas.common.log import EventLog
from gpuaas.common.testing.neighbours import tell
from gpuaas.contracts.allocations import (
    BookedWindow,
    ClaimGranted,
    ClaimReturned,
    Member,
    PoolCapacityAdded,
    PoolCapacityWithdrawn,
    PoolTimeBooked,
    PoolTimeFreed,
    Receipt,
    Topology,
)
from node_facts import MODEL

POOL = "h100-fra"
RECEIPT = Receipt(
    pool_version=1, policy="test", nodes_considered=1, exclusions=(), score=Decimal("1"), runner_up_node_id=None
)


async def offered(log: EventLog, node_id: str) -> int:
    place = Topology(region="eu-central", site="fra1", pod="p2", rack="r07")
    event = PoolCapacityAdded(
        pool_id=POOL, node_id=node_id, gpu_model=MODEL, device_ids=(f"{node_id}-gpu",), topology=place
    )
    return await tell(log, event, tenant_id="platform", entity_id=POOL)


async def booked(
    log: EventLog, reservation_id: str, starts_at: datetime, *node_ids: str, hours: float = 4, tenant_id: str = "acme"
) -> int:
    """One GPU of each machine is kept for the first window of a reservation."""
    members = tuple(
        Member(member=number, node_id=node_id, device_ids=(f"{node_id}-gpu",))
        for number, node_id in enumerate(node_ids)
    )
    window = BookedWindow(window=0, starts_at=starts_at, ends_at=starts_at + timedelta(hours=hours), members=members)
    event = PoolTimeBooked(
        pool_id=POOL,
        reservation_id=reservation_id,
        tenant_id=tenant_id,
        project_id="vision",
        gpu_model=MODEL,
        replicas=max(1, len(node_ids)),
        gpus_per_replica=1,
        windows=(window,),
        detail="reservation made",
    )
    return await tell(log, event, tenant_id="platform", entity_id=POOL)


async def freed(log: EventLog, reservation_id: str) -> int:
    event = PoolTimeFreed(pool_id=POOL, reservation_id=reservation_id, reason="called off")
    return await tell(log, event, tenant_id="platform", entity_id=POOL)


async def withdrawn(log: EventLog, node_id: str) -> int:
    event = PoolCapacityWithdrawn(pool_id=POOL, node_id=node_id, reason="held")
    return await tell(log, event, tenant_id="platform", entity_id=POOL)


async def granted(log: EventLog, node_id: str, allocation_id: str, tenant_id: str = "acme") -> int:
    event = ClaimGranted(
        pool_id=POOL,
        allocation_id=allocation_id,
        tenant_id=tenant_id,
        project_id="vision",
        gpu_model=MODEL,
        members=(Member(member=0, node_id=node_id, device_ids=(f"{node_id}-gpu",)),),
        receipt=RECEIPT,
    )
    return await tell(log, event, tenant_id="platform", entity_id=POOL)


async def returned(log: EventLog, allocation_id: str) -> int:
    event = ClaimReturned(pool_id=POOL, allocation_id=allocation_id, reason="completed")
    return await tell(log, event, tenant_id="platform", entity_id=POOL)
