"""What the routes of audit work with. One law: an operator's look is on the log before anything is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from gpuaas.audit.adapters.heads import Heads, SealedHead
from gpuaas.audit.adapters.witnesses import Witnesses
from gpuaas.audit.domain.bundles import Evidence
from gpuaas.audit.domain.checkpoints import LogKey
from gpuaas.audit.domain.disclosures import RecordAccess
from gpuaas.audit.domain.entries import PLATFORM_TREE
from gpuaas.audit.domain.log_keys import LOG_KEYS_ID
from gpuaas.audit.entities import ACCESS, LOG_KEY
from gpuaas.audit.projections.audit_trail import AuditTrail
from gpuaas.audit.projections.trail_search import evidence_in, payloads_at
from gpuaas.audit.projections.tree_proofs import inclusion_proofs
from gpuaas.audit.watching import Watching
from gpuaas.common.access import Scope
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.http import Caller
from gpuaas.common.ids import derived_id
from gpuaas.common.log import EventLog
from gpuaas.common.tables import Database, Record

ACCESSES_KNOWN_MAX: Final = 10_000
LOOKS_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class Desk:
    """What the routes work with."""

    database: Database
    commands: Commands
    heads: Heads
    key: LogKey
    map_secret: bytes
    trail: AuditTrail
    witnesses: Witnesses
    clock: Clock
    log: EventLog
    watching: Watching
    looks: dict[str, None] = field(default_factory=dict)

    async def policy(self) -> str:
        """The trust policy that we hand out: every key the log had, its witnesses and their quorum."""
        announced, _ = await self.commands.state(LOG_KEY, PLATFORM, LOG_KEYS_ID)
        return self.key.policy(self.witnesses.policy(), announced[::-1])

    async def looked(self, tenant_id: str, caller: Caller) -> None:
        """Record the look, if it is an operator's."""
        await recorded_access(tenant_id, caller, self.commands, self.looks, self.clock.now())

    async def looked_everywhere(self, rows: Sequence[Record], caller: Caller) -> None:
        """Record a look at the whole trail: in the platform's tree, and in the tree of each tenant that is shown."""
        shown = sorted({row["tree"] for row in rows} | {PLATFORM_TREE})
        now, free = self.clock.now(), asyncio.Semaphore(LOOKS_AT_ONCE)

        async def one(tree: str) -> None:
            async with free:
                await recorded_access(tree, caller, self.commands, self.looks, now)

        await asyncio.gather(*map(one, shown))

    async def proved(
        self, evidence: Sequence[Evidence], under: SealedHead | None = None
    ) -> tuple[list[Evidence], dict[str, SealedHead]]:
        """The same events with their inclusion proofs, and the heads these are for.

        Events that are not under a signed checkpoint yet are left out.

        Args:
            under: the head to prove its tree's events under; None: the newest of each tree.
        """
        heads: dict[str, SealedHead] = {}
        paths: dict[tuple[str, int], list[bytes]] = {}
        for tree in sorted({each.tree for each in evidence}):
            head = under if under is not None and under.tree == tree else await self.heads.newest(tree)
            if head is None:
                continue
            heads[tree] = head
            sealed = [each.index for each in evidence if each.tree == tree and each.index < head.size]
            proofs = await inclusion_proofs(self.database, tree, sealed, head.size)
            paths |= {(tree, index): path for index, path in proofs.items()}
        found = ((each, paths.get((each.tree, each.index))) for each in evidence)
        return [replace(each, path=path) for each, path in found if path is not None], heads


async def recorded_access(
    tenant_id: str, caller: Caller, commands: Commands, said: dict[str, None], now: datetime
) -> None:
    """Have an operator's look recorded in the tenant's own tree, once an hour, before anything is shown."""
    everywhere = caller.access.check(caller.principal, caller.decision.permission, Scope(), datetime.now(UTC))
    if not everywhere.allowed:
        return
    hour = now.replace(minute=0, second=0, microsecond=0)
    who, permission = caller.principal, caller.decision.permission
    access_id = derived_id("operator-access", tenant_id, who.kind, who.id, permission, hour.isoformat())
    if access_id in said:
        return
    order = RecordAccess(access_id, tenant_id, who.id, who.kind, permission, hour)
    cause = Cause(id=access_id, actor=who.id, actor_kind=who.kind, step="look")
    await commands.execute(ACCESS, tenant_id, access_id, order, cause)
    said[access_id] = None
    while len(said) > ACCESSES_KNOWN_MAX:
        said.pop(next(iter(said)))


async def proofs_of(desk: Desk, rows: Sequence[Record], under: SealedHead | None = None) -> dict[int, dict[str, Any]]:
    """The provable part of each row by position; of rows that are not sealed yet, none. `under` as in `proved`."""
    bytes_of = await payloads_at(desk.database, [row["position"] for row in rows])
    events, heads = await desk.proved([evidence_in(row, bytes_of[row["position"]]) for row in rows], under)
    return {event.entry.position: event.row(heads[event.tree].cosigned) for event in events}


def row_shown(row: Record) -> dict[str, Any]:
    item = dict(row)
    item["payload_sha256"] = row["payload_sha256"].hex()
    item["tenant_id"] = None if row["tree"] == PLATFORM_TREE else row["tree"]
    return item
