"""What runs across the end of a billed period is metered up to there. One law: only time that has passed is cut."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from gpuaas.billing.desk import Desk
from gpuaas.billing.domain.metering import instant_ms
from gpuaas.billing.domain.usage import CutUsage
from gpuaas.billing.reactions import USAGES
from gpuaas.common.commands import Cause, Order
from gpuaas.common.errors import Unreadable
from gpuaas.common.events import Vocabulary
from gpuaas.common.projections import Record, decoded
from gpuaas.contracts.allocations import AllocationRequested, AllocationStarted

CUT_AT_ONCE: Final = 200
"""Allocations that are cut in one atomic batch."""
_STARTED: Final = Vocabulary(AllocationRequested, AllocationStarted)


async def cut_at(desk: Desk, moment: datetime, cause: Cause) -> None:
    """Meter everything that runs up to `moment`, if it has come: each record names the start it goes on from.

    Repeating it changes nothing: what is cut there already says no more.
    """
    if moment > desk.clock.now():
        return
    after = 0
    while True:
        rows = await desk.views.held.running_at(desk.database, instant_ms(moment), after, CUT_AT_ONCE)
        orders = [await _order(desk, row, moment) for row in rows]
        if orders:
            await desk.commands.execute_together(orders, cause.at(f"cut-{instant_ms(moment)}-{after}"))
        if len(rows) < CUT_AT_ONCE:
            return
        after = rows[-1]["position"]


async def _order(desk: Desk, row: Record, moment: datetime) -> Order[Any, Any]:
    subject = f"events.allocations.allocation.{row['tenant_id']}.{row['allocation_id']}"
    labels: Mapping[str, str] = {}
    for fact in decoded(_STARTED, await desk.log.history(subject, reaching=row["position"])):
        if isinstance(fact.event, AllocationRequested):
            labels = fact.event.labels
        elif fact.position == row["position"] and isinstance(fact.event, AllocationStarted):
            cut = CutUsage(fact.event, fact.envelope.id, moment, labels)
            return Order(USAGES, row["tenant_id"], row["allocation_id"], cut)
    raise Unreadable(f"the start of {row['allocation_id']} is not at position {row['position']} of the log")
