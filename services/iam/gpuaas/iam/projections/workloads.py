"""Trusts in workloads, and which workloads came. One law: a row is what was said; nothing here lets anybody in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, upsert
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import TokenExchanged, WorkloadEnded, WorkloadTrusted, WorkloadTrustEnded
from sqlalchemy import Boolean, Column, DateTime, Index, MetaData, Table, Text, select, true
from sqlalchemy.dialects.postgresql import JSONB

_META: Final = MetaData()
TRUSTS_V1 = Table(
    "workload_trusts_v1",
    _META,
    Column("trust_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("project_id", Text),
    Column("service_account_id", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("audience", Text, nullable=False),
    Column("subject_pattern", Text, nullable=False),
    Column("permissions", JSONB),
    Column("single_use", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("trusted_at", DateTime(timezone=True), nullable=False),
    Column("trusted_by", Text, nullable=False),
    Column("ended_at", DateTime(timezone=True)),
)
WORKLOADS_V1 = Table(
    "workloads_v1",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("workload_id", Text, primary_key=True),
    Column("trust_id", Text),
    Column("service_account_id", Text),
    Column("issuer", Text),
    Column("issuer_subject", Text),
    Column("first_at", DateTime(timezone=True)),
    Column("last_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Column("end_cause", Text),
)
Index("workload_trusts_v1_tenant", TRUSTS_V1.c.tenant_id, TRUSTS_V1.c.trust_id)

_TRUST_ENDED: Final = "UPDATE workload_trusts_v1 SET ended_at = $2 WHERE trust_id = $1"
_CAME: Final = """
INSERT INTO workloads_v1
(tenant_id, workload_id, trust_id, service_account_id, issuer, issuer_subject, first_at, last_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (tenant_id, workload_id) DO UPDATE SET
trust_id = $3, service_account_id = $4, issuer = $5, issuer_subject = $6, last_at = $7,
first_at = coalesce(workloads_v1.first_at, $7)"""
_ENDED: Final = """
INSERT INTO workloads_v1 (tenant_id, workload_id, ended_at, end_cause) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, workload_id) DO UPDATE SET ended_at = $3, end_cause = $4"""


class Workloads(Projection):
    """One row per trust that was ever said, one per workload that ever came or was ended."""

    answer = "workloads"
    version = 1
    reads = (WorkloadTrusted, WorkloadTrustEnded, TokenExchanged, WorkloadEnded)
    tables = (TRUSTS_V1, WORKLOADS_V1)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        for fact in facts:
            match fact.event:
                case WorkloadTrusted() as said:
                    await upsert(rows, TRUSTS_V1, [_trust(fact, said)])
                case WorkloadTrustEnded() as over:
                    await rows.execute(_TRUST_ENDED, over.trust_id, fact.time)
                case TokenExchanged() as told if told.trust_id is not None and told.actor_kind == "workload":
                    named = (told.tenant_id, told.actor_id, told.trust_id, told.subject_id)
                    await rows.execute(_CAME, *named, told.issuer, told.issuer_subject, fact.time)
                case WorkloadEnded() as gone:
                    await rows.execute(_ENDED, gone.tenant_id, gone.workload_id, gone.ended_at, gone.cause)

    async def trusts(self, database: Database, tenant_id: str, after: str | None, count: int) -> list[Record]:
        """At most `count` trusts of a tenant that stand, by id, after `after`."""
        at = TRUSTS_V1.c
        later = true() if after is None else at.trust_id > after
        mine = (at.tenant_id == tenant_id, at.ended_at.is_(None), later)
        return await database.fetch(select(TRUSTS_V1).where(*mine).order_by(at.trust_id).limit(count))

    async def knows(self, database: Database, tenant_id: str, workload_id: str) -> bool:
        """Whether that workload ever came to that tenant."""
        at = WORKLOADS_V1.c
        mine = (at.tenant_id == tenant_id, at.workload_id == workload_id, at.first_at.is_not(None))
        return await database.fetch_one(select(at.workload_id).where(*mine)) is not None

    async def came(self, database: Database, tenant_id: str, after: str | None, count: int) -> list[Record]:
        """At most `count` workloads of a tenant that ever came, by id, after `after`."""
        at = WORKLOADS_V1.c
        later = true() if after is None else at.workload_id > after
        mine = (at.tenant_id == tenant_id, at.first_at.is_not(None), later)
        return await database.fetch(select(WORKLOADS_V1).where(*mine).order_by(at.workload_id).limit(count))


def _trust(fact: Fact, said: WorkloadTrusted) -> dict[str, Any]:
    names = ("trust_id", "tenant_id", "project_id", "service_account_id", "issuer", "audience", "subject_pattern")
    return {name: getattr(said, name) for name in names} | {
        "permissions": None if said.permissions is None else list(said.permissions),
        "single_use": said.single_use,
        "reason": said.reason,
        "trusted_at": fact.time,
        "trusted_by": fact.envelope.actor,
        "ended_at": None,
    }
