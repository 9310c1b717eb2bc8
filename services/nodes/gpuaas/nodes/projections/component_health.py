"""How every component is and what it went through. One law: a row follows a component, not the machine it sits in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.nodes import NodeFaultReported, NodeHealthChanged
from gpuaas.nodes.domain.axes import SERVING, Lifecycle
from gpuaas.nodes.domain.component import VOCABULARY
from gpuaas.nodes.domain.faults import CLOSING
from gpuaas.nodes.domain.proofs import POLICY, RemedyAction
from gpuaas.nodes.projections.nodes import NODES
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    case,
    cast,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONPATH

REPLAY_MAX: Final = 200_000
REMEDIES_MAX: Final = 2_000
LEFT_OPEN_MAX: Final = 100
"""Withheld withdrawals that are asked for again at a time."""
_META: Final = MetaData()
COMPONENTS: Final = Table(
    "components_v2",
    _META,
    Column("component_id", Text, primary_key=True),
    Column("serial", Text, nullable=False),
    Column("node_id", Text, nullable=False),
    Column("condition", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("fault_count", Integer, nullable=False),
    Column("rule_version", Text),
    Column("reason", Text),
    Column("last_fault_class", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("components_v2_by_node", "node_id", "component_id"),
)
TURNS: Final = Table(
    "component_turns_v2",
    _META,
    Column("position", BigInteger, primary_key=True),
    Column("component_id", Text, nullable=False),
    Column("fault_class", Text),
    Column("code", Text),
    Index("component_turns_v2_by_component", "component_id", "position"),
)
"""Every fault, and every recovery (fault_class is null), in the order of the log: what rules are replayed over."""
FILTERS: Final = ("node_id", "condition", "action")


class ComponentHealth(Projection):
    """Answers how components are, which offend again and again, and what happened to them in order."""

    answer = "component_health"
    version = 2
    reads = VOCABULARY.types
    tables = (COMPONENTS, TURNS)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        ids = sorted({fact.subject.rpartition(".")[2] for fact in facts})
        known = await rows.fetch("SELECT * FROM components_v2 WHERE component_id = ANY($1)", ids)
        standing: dict[str, dict[str, Any]] = {row["component_id"]: dict(row) for row in known}
        turns: list[dict[str, Any]] = []
        for fact in facts:
            component_id = fact.subject.rpartition(".")[2]
            before = standing.get(component_id, {"component_id": component_id, **_UNKNOWN})
            standing[component_id] = {**before, **_changes(fact), "changed_at": fact.time, "position": fact.position}
            if (turn := _turn(fact)) is not None:
                turns.append(turn)
        await upsert(rows, COMPONENTS, list(standing.values()))
        await upsert(rows, TURNS, turns)

    async def component(self, db: Database, component_id: str) -> Record | None:
        return await db.fetch_one(select(COMPONENTS).where(COMPONENTS.c.component_id == component_id))

    async def matching(
        self, db: Database, wanted: Mapping[str, str], faults_min: int, after: str | None, limit: int
    ) -> list[Record]:
        """Up to `limit` components in order of id after `after`; with `faults_min`, the repeat offenders."""
        conditions = [COMPONENTS.c[name] == value for name, value in wanted.items()]
        conditions.append(COMPONENTS.c.fault_count >= faults_min)
        if after is not None:
            conditions.append(COMPONENTS.c.component_id > after)
        query = select(COMPONENTS).where(and_(True, *conditions))
        return await db.fetch(query.order_by(COMPONENTS.c.component_id).limit(limit))

    async def to_remedy(self, db: Database) -> list[Record]:
        """Components whose next step the platform can take itself; of one machine the worst first.

        Only those whose machine is closed or in repair, so that what retired with its faults is not asked for again.
        """
        closed = and_(NODES.c.lifecycle == Lifecycle.AVAILABLE, NODES.c.placeable.is_(False))
        query = (
            select(COMPONENTS)
            .join(NODES, NODES.c.node_id == COMPONENTS.c.node_id)
            .where(
                COMPONENTS.c.action.in_([each.value for each in RemedyAction]),
                COMPONENTS.c.condition.in_(sorted(CLOSING)),
                or_(closed, NODES.c.lifecycle == Lifecycle.REPAIR),
            )
        )
        worst = case((COMPONENTS.c.action == RemedyAction.REBOOT.value, 0), else_=1)
        ordered = query.order_by(COMPONENTS.c.node_id, worst, COMPONENTS.c.component_id)
        return await db.fetch(ordered.limit(REMEDIES_MAX))

    async def left_open(self, db: Database, after: int) -> list[Record]:
        """Components whose machine they should close and which is in service and open, in order of their last change.

        Args:
            after: position of the last change from which on they are wanted.
        """
        closed = func.jsonb_path_exists(NODES.c.holds, cast(f'$.*.owner ? (@ == "{POLICY}")', JSONPATH))
        query = (
            select(COMPONENTS)
            .join(NODES, NODES.c.node_id == COMPONENTS.c.node_id)
            .where(COMPONENTS.c.condition.in_(sorted(CLOSING)), COMPONENTS.c.position > after)
            .where(NODES.c.lifecycle.in_(sorted(SERVING)), ~closed)
        )
        return await db.fetch(query.order_by(COMPONENTS.c.position).limit(LEFT_OPEN_MAX))

    async def closing(self, db: Database, component_ids: Sequence[str]) -> list[str]:
        """Those of these components whose condition closes a machine."""
        of_these = COMPONENTS.c.component_id.in_(list(component_ids)[:REMEDIES_MAX])
        query = select(COMPONENTS.c.component_id).where(of_these, COMPONENTS.c.condition.in_(sorted(CLOSING)))
        return [row["component_id"] for row in await db.fetch(query.order_by(COMPONENTS.c.component_id))]

    async def turns(self, db: Database) -> list[Record]:
        """The newest `REPLAY_MAX` faults and recoveries, oldest first."""
        newest = await db.fetch(select(TURNS).order_by(TURNS.c.position.desc()).limit(REPLAY_MAX))
        return newest[::-1]


_UNKNOWN: Final[dict[str, Any]] = {
    "condition": "healthy",
    "action": "none",
    "fault_count": 0,
    "rule_version": None,
    "reason": None,
    "last_fault_class": None,
}


def _changes(fact: Fact) -> dict[str, Any]:
    match fact.event:
        case NodeFaultReported() as event:
            return {"serial": event.serial, "node_id": event.node_id, "last_fault_class": event.fault_class}
        case NodeHealthChanged() as event:
            return {
                "serial": event.serial,
                "node_id": event.node_id,
                "condition": event.condition,
                "action": event.action,
                "fault_count": event.fault_count,
                "rule_version": event.rule_version,
                "reason": event.reason,
            }
        case other:
            raise AssertionError(f"{type(other).__name__} is read but not folded")


def _turn(fact: Fact) -> dict[str, Any] | None:
    match fact.event:
        case NodeFaultReported() as event:
            turn = {"position": fact.position, "component_id": event.component_id}
            return turn | {"fault_class": event.fault_class, "code": event.code}
        case NodeHealthChanged(fault_class=None) as event:
            return {"position": fact.position, "component_id": event.component_id, "fault_class": None, "code": None}
        case _:
            return None
