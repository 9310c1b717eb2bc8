"""Where every node stands. One law: the four axes are columns of their own and `placeable` follows from them.

The steps of the lifecycle come from the domain's own tables, so this view cannot know another life than the decider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.nodes import (
    NodeAllocated,
    NodeAllocationEnded,
    NodeBecameAvailable,
    NodeBurnInStarted,
    NodeBurnInStepEnded,
    NodeDrainCancelled,
    NodeDrained,
    NodeDrainOrdered,
    NodeFirmwareUpdated,
    NodeHardwareObserved,
    NodeHeartbeatLost,
    NodeHeartbeatRestored,
    NodeHoldLifted,
    NodeHoldPlaced,
    NodeMaintenanceEnded,
    NodeMaintenanceStarted,
    NodeOnboardingStarted,
    NodeRegistered,
    NodeRemedyEnded,
    NodeRemedyStarted,
    NodeRetired,
    NodeSanitizingStarted,
    NodeStateOverdue,
    NodeValidationFailed,
    NodeWiped,
)
from gpuaas.nodes.domain.axes import CUSTODY, SERVING, TRANSITIONS, Condition, Custody, Isolation, Lifecycle
from gpuaas.nodes.domain.node import VOCABULARY
from gpuaas.nodes.domain.proofs import Occasion
from gpuaas.nodes.projections.proofs import proof_after
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

WATCHED_MAX: Final = 100_000
EXPIRED_AT_ONCE_MAX: Final = 500
WANTING_MAX: Final = 5_000
STAYING_MAX: Final = 500

NODES: Final = Table(
    "nodes_v4",
    MetaData(),
    Column("node_id", Text, primary_key=True),
    Column("lifecycle", Text, nullable=False),
    Column("health_hardware", Text, nullable=False),
    Column("health_agent", Text, nullable=False),
    Column("custody", Text, nullable=False),
    Column("holds", JSONB, nullable=False),
    Column("placeable", Boolean, nullable=False),
    Column("region", Text, nullable=False),
    Column("site", Text, nullable=False),
    Column("pod", Text, nullable=False),
    Column("rack", Text, nullable=False),
    Column("pool_id", Text, nullable=False),
    Column("expected_gpu_model", Text, nullable=False),
    Column("expected_gpu_count", Integer, nullable=False),
    Column("hardware", JSONB, nullable=False),
    Column("mismatches", JSONB, nullable=False),
    Column("agent_seen_at", DateTime(timezone=True)),
    Column("drain", JSONB, nullable=False),
    Column("drained_for", Text),
    Column("isolation", Text, nullable=False),
    Column("occupants", JSONB, nullable=False),
    Column("unclean", Boolean, nullable=False),
    Column("look_due", Boolean, nullable=False),
    Column("window_id", Text),
    Column("firmware", JSONB, nullable=False),
    Column("lifecycle_since", DateTime(timezone=True), nullable=False),
    Column("overdue", Integer, nullable=False),
    Column("overdue_step", Text),
    Column("proof_due", Text),
    Column("burn_in", JSONB, nullable=False),
    Column("burned_in_at", DateTime(timezone=True)),
    Column("remedy", JSONB, nullable=False),
    Column("remedied", JSONB, nullable=False),
    Column("proving", Boolean, nullable=False),
    Column("wanting", Boolean, nullable=False),
    Column("hold_expires_at", DateTime(timezone=True)),
    Column("registered_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("version", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("nodes_v4_by_drained_for", "drained_for"),
    Index("nodes_v4_by_wanting", "wanting", "node_id"),
    Index("nodes_v4_by_proving", "proving", "node_id"),
    Index("nodes_v4_by_lifecycle", "lifecycle", "lifecycle_since"),
    Index("nodes_v4_by_pool", "pool_id", "node_id"),
    Index("nodes_v4_by_hold_expiry", "hold_expires_at"),
)
FILTERS: Final = ("lifecycle", "pool_id", "region", "site", "pod", "rack", "expected_gpu_model", "health_agent")


@dataclass(frozen=True, slots=True)
class ExpiredHold:
    node_id: str
    hold_id: str


class Nodes(Projection):
    """Answers where a node stands, which ones match, whom to listen to and which holds have run out."""

    answer = "nodes"
    version = 4
    reads = VOCABULARY.types
    tables = (NODES,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        ids = sorted({_node_id(fact) for fact in facts})
        known = await rows.fetch("SELECT * FROM nodes_v4 WHERE node_id = ANY($1)", ids)
        standing: dict[str, dict[str, Any]] = {row["node_id"]: dict(row) for row in known}
        for fact in facts:
            row = row_after(standing.get(_node_id(fact), {}), fact)
            standing[row["node_id"]] = row
        await upsert(rows, NODES, list(standing.values()))

    async def node(self, db: Database, node_id: str) -> Record | None:
        return await db.fetch_one(select(NODES).where(NODES.c.node_id == node_id))

    async def matching(
        self, db: Database, wanted: Mapping[str, str], placeable: bool | None, after: str | None, limit: int
    ) -> list[Record]:
        """Up to `limit` nodes in order of id, after `after`; `wanted` maps names of `FILTERS` to values."""
        conditions = [NODES.c[name] == value for name, value in wanted.items()]
        if placeable is not None:
            conditions.append(NODES.c.placeable == placeable)
        if after is not None:
            conditions.append(NODES.c.node_id > after)
        return await db.fetch(select(NODES).where(and_(True, *conditions)).order_by(NODES.c.node_id).limit(limit))

    async def counts(self, db: Database) -> list[Record]:
        """Nodes and GPUs per pool, lifecycle and agent's condition, placeable or not."""
        by = (NODES.c.pool_id, NODES.c.lifecycle, NODES.c.health_agent, NODES.c.placeable)
        query = select(*by, func.count().label("nodes"), func.sum(NODES.c.expected_gpu_count).label("gpus"))
        return await db.fetch(query.group_by(*by).order_by(*by))

    async def in_service(self, db: Database, pool_id: str) -> int:
        """Machines of the pool in service, held ones included."""
        serving = NODES.c.lifecycle.in_(sorted(SERVING))
        query = select(func.count()).where(NODES.c.pool_id == pool_id, serving)
        row = await db.fetch_one(query)
        return int(row[0]) if row is not None else 0

    async def wanting(self, db: Database) -> list[Record]:
        """Machines that something is to be done for: drained, left by a tenant, unclean, or not yet looked at."""
        return await db.fetch(select(NODES).where(NODES.c.wanting).order_by(NODES.c.node_id).limit(WANTING_MAX))

    async def proving(self, db: Database) -> list[Record]:
        """Machines that are burnt in, reset or rebooted, or were just now and are not looked at yet."""
        return await db.fetch(select(NODES).where(NODES.c.proving).order_by(NODES.c.node_id).limit(WANTING_MAX))

    async def staying(self, db: Database, lifecycle: str, since: datetime, steps: int) -> list[Record]:
        """Machines that are `lifecycle` since `since` or longer and have steps of their list left.

        One that is burnt in or reset has a time of its own for each step.
        """
        stay = and_(NODES.c.lifecycle == lifecycle, NODES.c.lifecycle_since <= since, NODES.c.overdue < steps)
        stay = and_(stay, NODES.c.proving.is_(False))
        return await db.fetch(select(NODES).where(stay).order_by(NODES.c.lifecycle_since).limit(STAYING_MAX))

    async def draining(self, db: Database) -> list[Record]:
        """Machines with a drain that stands, emptied or not."""
        standing = and_(NODES.c.drained_for.is_not(None), NODES.c.lifecycle != Lifecycle.RETIRED)
        return await db.fetch(select(NODES).where(standing).order_by(NODES.c.node_id).limit(WANTING_MAX))

    async def among(self, db: Database, node_ids: Sequence[str]) -> dict[str, Record]:
        """Those of these nodes that there are."""
        found = await db.fetch(select(NODES).where(NODES.c.node_id.in_(list(node_ids)[:WANTING_MAX])))
        return {row["node_id"]: row for row in found}

    async def watched(self, db: Database) -> dict[str, bool]:
        """Every node that has not retired → whether the log counts its agent as lost."""
        query = select(NODES.c.node_id, NODES.c.health_agent).where(NODES.c.lifecycle != Lifecycle.RETIRED)
        found = await db.fetch(query.order_by(NODES.c.node_id).limit(WATCHED_MAX))
        return {row["node_id"]: row["health_agent"] != Condition.HEALTHY for row in found}

    async def expired_holds(self, db: Database, now: datetime) -> list[ExpiredHold]:
        """Holds whose time is over at `now` (world time), of at most `EXPIRED_AT_ONCE_MAX` nodes."""
        query = (
            select(NODES.c.node_id, NODES.c.holds)
            .where(NODES.c.hold_expires_at <= now, NODES.c.lifecycle != Lifecycle.RETIRED)
            .order_by(NODES.c.hold_expires_at)
            .limit(EXPIRED_AT_ONCE_MAX)
        )
        return [
            ExpiredHold(row["node_id"], hold_id)
            for row in await db.fetch(query)
            for hold_id, hold in row["holds"].items()
            if hold["expires_at"] is not None and datetime.fromisoformat(hold["expires_at"]) <= now
        ]


def _node_id(fact: Fact) -> str:
    return fact.subject.rpartition(".")[2]


def row_after(row: dict[str, Any], fact: Fact) -> dict[str, Any]:
    """The row after one more event; never changes `row` itself."""
    if isinstance(event := fact.event, NodeRegistered):
        changed = _registered(event, fact.time)
    else:
        changed = row | _changes(row, fact)
        changed |= proof_after(changed, fact)
        step = TRANSITIONS.get((Lifecycle(row["lifecycle"]), type(event)))
        if step is not None:
            if step.value != row["lifecycle"]:
                changed |= {"lifecycle_since": fact.time, "overdue": 0, "overdue_step": None}
            changed["lifecycle"] = step.value
            changed["custody"] = CUSTODY.get(step, Custody(row["custody"])).value
    changed["placeable"] = (
        changed["lifecycle"] == Lifecycle.AVAILABLE
        and changed["health_hardware"] == Condition.HEALTHY
        and changed["health_agent"] == Condition.HEALTHY
        and not changed["holds"]
    )
    draining = bool(changed["drain"]) and changed["drain"]["drained_at"] is None
    between = changed["look_due"] and changed["lifecycle"] in (Lifecycle.SANITIZING, Lifecycle.VALIDATING)
    changed["drained_for"] = (changed["drain"]["window_id"] or "an operator") if changed["drain"] else None
    changed["wanting"] = changed["lifecycle"] != Lifecycle.RETIRED and (
        draining or bool(changed["occupants"]) or between
    )
    burning = changed["lifecycle"] == Lifecycle.VALIDATING and bool(changed["burn_in"])
    changed["proving"] = changed["lifecycle"] != Lifecycle.RETIRED and (burning or bool(changed["remedy"]))
    return changed | {
        "changed_at": fact.time,
        "version": fact.envelope.version,
        "position": fact.position,
    }


def _registered(event: NodeRegistered, at: datetime) -> dict[str, Any]:
    return {
        "node_id": event.node_id,
        "lifecycle": Lifecycle.REGISTERED.value,
        "health_hardware": Condition.SUSPECT.value,
        "health_agent": Condition.HEALTHY.value,
        "custody": Custody.PROVIDER.value,
        "holds": {},
        "region": event.topology.region,
        "site": event.topology.site,
        "pod": event.topology.pod,
        "rack": event.topology.rack,
        "pool_id": event.pool_id,
        "expected_gpu_model": event.expected_gpu_model,
        "expected_gpu_count": event.expected_gpu_count,
        "hardware": {},
        "mismatches": {},
        "agent_seen_at": None,
        "drain": {},
        "isolation": event.isolation or Isolation.DEVICE.value,
        "occupants": {},
        "unclean": False,
        "look_due": False,
        "window_id": None,
        "firmware": {},
        "lifecycle_since": at,
        "overdue": 0,
        "overdue_step": None,
        "proof_due": Occasion.NEW.value,
        "burn_in": {},
        "burned_in_at": None,
        "remedy": {},
        "remedied": {},
        "hold_expires_at": None,
        "registered_at": at,
    }


def _changes(row: Mapping[str, Any], fact: Fact) -> dict[str, Any]:
    match fact.event:
        case NodeHardwareObserved() as event:
            return {"hardware": event.model_dump(mode="json", exclude={"node_id"}), "look_due": False}
        case NodeBecameAvailable():
            return {"health_hardware": Condition.HEALTHY.value, "mismatches": {}}
        case NodeValidationFailed() as event:
            found = [mismatch.model_dump(mode="json") for mismatch in event.mismatches]
            return {"health_hardware": Condition.FAILED.value, "mismatches": {"items": found}}
        case NodeHeartbeatLost() as event:
            return {"health_agent": Condition.SUSPECT.value, "agent_seen_at": event.last_seen_at}
        case NodeHeartbeatRestored() as event:
            return {"health_agent": Condition.HEALTHY.value, "agent_seen_at": event.seen_at}
        case NodeHoldPlaced() as event:
            expires_at = event.expires_at.isoformat() if event.expires_at else None
            hold = {"owner": event.owner, "cause": event.cause, "expires_at": expires_at}
            return _with_holds({**row["holds"], event.hold_id: hold})
        case NodeHoldLifted() as event:
            return _with_holds(_without(row["holds"], event.hold_id))
        case NodeRetired() | NodeOnboardingStarted():
            return {}
        case NodeBurnInStarted() | NodeBurnInStepEnded() | NodeRemedyStarted() | NodeRemedyEnded():
            return {}  # `proof_after` folds them
        case _:
            return _changes_in_use(row, fact)


def _changes_in_use(row: Mapping[str, Any], fact: Fact) -> dict[str, Any]:
    """What tenants, drains and maintenance change."""
    match fact.event:
        case NodeDrainOrdered() as event:
            return {"drain": event.model_dump(mode="json", exclude={"node_id"}) | {"drained_at": None}}
        case NodeDrained() as event:
            return {"drain": {**row["drain"], **event.model_dump(mode="json", include={"drained_at", "pool_position"})}}
        case NodeDrainCancelled():
            return {"drain": {}}
        case NodeAllocated() as event:
            told = {"tenant_id": event.tenant_id, "pool_position": event.pool_position}
            return {"occupants": {**row["occupants"], event.allocation_id: told}, "unclean": True}
        case NodeAllocationEnded() as event:
            return {"occupants": _without(row["occupants"], event.allocation_id)}
        case NodeSanitizingStarted():
            return {"look_due": True}
        case NodeStateOverdue() as event:
            return {"overdue": event.attempt, "overdue_step": event.step}
        case NodeWiped():
            return {"unclean": False}
        case NodeMaintenanceStarted() as event:
            return {"window_id": event.window_id}
        case NodeFirmwareUpdated() as event:
            return {"firmware": {**row["firmware"], event.component: event.version}}
        case NodeMaintenanceEnded() as event:
            own = row["drain"].get("window_id") == event.window_id
            return {"window_id": None, "look_due": True, "drain": {} if own else row["drain"]}
        case other:
            raise AssertionError(f"{type(other).__name__} is read but not folded")


def _without(things: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: thing for key, thing in things.items() if key != name}


def _with_holds(holds: Mapping[str, Any]) -> dict[str, Any]:
    ends = [datetime.fromisoformat(hold["expires_at"]) for hold in holds.values() if hold["expires_at"]]
    return {"holds": dict(holds), "hold_expires_at": min(ends, default=None)}
