"""Who holds which role where. One law: a binding that ended stays listed with its end and its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gpuaas.common.decisions import Reach
from gpuaas.common.envelope import Fact
from gpuaas.common.errors import Unreadable
from gpuaas.common.projections import Database, Projection, Record, insert
from gpuaas.common.reaching import scopes_where
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import RoleBound, RoleBoundToGroup, RoleBoundUnderCondition, RoleUnbound
from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, select, true
from sqlalchemy.dialects.postgresql import JSONB

BINDINGS_V3 = Table(
    "bindings_v3",
    MetaData(),
    Column("binding_id", Text, primary_key=True),
    Column("tenant_id", Text),
    Column("project_id", Text),
    Column("principal_kind", Text, nullable=False),
    Column("principal_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("role_tenant_id", Text),
    Column("reason", Text, nullable=False),
    Column("bound_at", DateTime(timezone=True), nullable=False),
    Column("bound_by", Text, nullable=False),
    Column("valid_until", DateTime(timezone=True)),
    Column("condition", JSONB),
    Column("ended_at", DateTime(timezone=True)),
    Column("end_reason", Text),
)
Index("bindings_v3_scope", BINDINGS_V3.c.tenant_id, BINDINGS_V3.c.binding_id)

Bound = RoleBound | RoleBoundToGroup | RoleBoundUnderCondition
_END: Final = """
UPDATE bindings_v3 AS b SET ended_at = e.at, end_reason = e.reason
FROM unnest($1::text[], $2::timestamptz[], $3::text[]) AS e (binding_id, at, reason)
WHERE b.binding_id = e.binding_id"""


class Bindings(Projection):
    """One row per binding that was ever made."""

    answer = "bindings"
    version = 3
    reads = (RoleBound, RoleBoundToGroup, RoleBoundUnderCondition, RoleUnbound)
    tables = (BINDINGS_V3,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        """Beginnings before ends: within one batch a binding's end always comes after its beginning."""
        bound = [(fact, fact.event) for fact in facts if isinstance(fact.event, Bound)]
        ended = [(fact, fact.event) for fact in facts if isinstance(fact.event, RoleUnbound)]
        await insert(
            rows,
            BINDINGS_V3,
            [
                {
                    "binding_id": event.binding_id,
                    "tenant_id": event.tenant_id,
                    "project_id": event.project_id,
                    **_holder(event),
                    "role": event.role,
                    "role_tenant_id": event.role_tenant_id,
                    "reason": event.reason,
                    "bound_at": fact.time,
                    "bound_by": fact.envelope.actor,
                    "valid_until": event.valid_until,
                    "condition": _condition(event),
                }
                for fact, event in bound
            ],
        )
        if ended:
            columns = zip(*((event.binding_id, fact.time, event.reason) for fact, event in ended), strict=True)
            done = await rows.execute(_END, *map(list, columns))
            if done != f"UPDATE {len(ended)}":
                raise Unreadable(f"{len(ended)} bindings ended but {done}: one was never made")

    async def standing(
        self, database: Database, tenant_id: str | None, reach: Reach, after: str | None, count: int
    ) -> list[Record]:
        """At most `count` bindings not ended, by id, after `after`: of the platform (no tenant), or as far as `reach`
        goes of the tenant's."""
        at = BINDINGS_V3.c
        query = (
            select(BINDINGS_V3)
            .where(
                at.tenant_id.is_(None) if tenant_id is None else at.tenant_id == tenant_id,
                true() if tenant_id is None else scopes_where(reach, at.tenant_id, at.project_id),
                at.ended_at.is_(None),
                true() if after is None else at.binding_id > after,
            )
            .order_by(at.binding_id)
            .limit(count)
        )
        return await database.fetch(query)


def _condition(event: Bound) -> dict[str, Any] | None:
    if not isinstance(event, RoleBoundUnderCondition):
        return None
    return event.condition.model_dump(mode="json", exclude_none=True)


def _holder(event: Bound) -> dict[str, str]:
    if isinstance(event, RoleBoundUnderCondition):
        return {"principal_kind": event.holder_kind, "principal_id": event.holder_id}
    if isinstance(event, RoleBoundToGroup):
        return {"principal_kind": "group", "principal_id": event.group_id}
    return {"principal_kind": event.principal_kind, "principal_id": event.principal_id}
