"""Every allocation as it stands: state, reason, GPUs, times. One law: one row per allocation, folded from its events.

Each column is written by one event and by no other, so a batch becomes one insert of new rows and one update of
known ones, without reading. No index covers a column that changes: updates stay in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from gpuaas.allocations.domain.asking import shape_in
from gpuaas.allocations.domain.shape import WHOLE_MILLI, Form, Shape, forms_of
from gpuaas.common.decisions import Reach
from gpuaas.common.envelope import Fact
from gpuaas.common.events import Event
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.common.reaching import scopes_where
from gpuaas.contracts.allocations import (
    AllocationDeferred,
    AllocationLeaseRenewed,
    AllocationNotified,
    AllocationPlaced,
    AllocationPreempted,
    AllocationQueued,
    AllocationRejected,
    AllocationReleased,
    AllocationReleaseRequested,
    AllocationRequested,
    AllocationRetried,
    AllocationStarted,
    ClaimGranted,
    Member,
)
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    func,
    not_,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

TABLE: Final = Table(
    "allocations_v5",
    MetaData(),
    Column("allocation_id", Text, primary_key=True),
    Column("tenant_id", Text),
    Column("project_id", Text),
    Column("pool_id", Text),
    Column("gpu_model", Text),
    Column("replicas", Integer),
    Column("gpus_per_replica", Integer),
    Column("gpu_models", JSONB),
    Column("replicas_min", Integer),
    Column("alternatives", JSONB),
    Column("share_milli", Integer),
    Column("topology_level", Text),
    Column("topology_mode", Text),
    Column("priority", Integer),
    Column("preemptible", Boolean),
    Column("lease_s", Integer),
    Column("start_at", TIMESTAMP(timezone=True)),
    Column("reservation_id", Text),
    Column("gpu_ms_max", BigInteger),
    Column("cost_max", JSONB),
    Column("idle_after_s", Integer),
    Column("retry", JSONB),
    Column("retry_of", Text),
    Column("attempt", Integer),
    Column("place", BigInteger),
    Column("workload", JSONB),
    Column("labels", JSONB),
    Column("requested_at", TIMESTAMP(timezone=True)),
    Column("requested_position", BigInteger),
    Column("request_event_id", Text),
    Column("correlation_id", Text),
    Column("state", Text),
    Column("pending_reason", Text),
    Column("detail", Text),
    Column("deferred_until", TIMESTAMP(timezone=True)),
    Column("claim_position", BigInteger),
    Column("held_model", Text),
    Column("members", JSONB),
    Column("placed_at", TIMESTAMP(timezone=True)),
    Column("started_at", TIMESTAMP(timezone=True)),
    Column("start_event_id", Text),
    Column("renewed_lease_s", Integer),
    Column("ends_by", TIMESTAMP(timezone=True)),
    Column("notice_ends_at", TIMESTAMP(timezone=True)),
    Column("notice", Text),
    Column("release_reason", Text),
    Column("ended_at", TIMESTAMP(timezone=True)),
    Column("end_reason", Text),
    Column("exit_code", Integer),
    Column("end_detail", Text),
    Column("retried_as", Text),
    Column("position", BigInteger),
    Index("allocations_v5_by_project", "tenant_id", "project_id", "requested_position"),
    Index("allocations_v5_by_arrival", "requested_position"),
    postgresql_with={"fillfactor": 70},
)
_LATER: Final = tuple(
    name
    for name in TABLE.columns.keys()  # noqa: SIM118 - the names, not the columns
    if name in set(TABLE.columns.keys()[TABLE.columns.keys().index("state") :])
)
"""Columns that later events fill in."""
_KINDS: Final = {name: str(TABLE.c[name].type).replace("TIMESTAMP", "timestamptz") for name in _LATER}
_UPDATE: Final = (
    f"UPDATE {TABLE.name} AS a SET "  # noqa: S608 - names of our own columns
    + ", ".join(f"{name} = COALESCE(n.{name}, a.{name})" for name in _LATER)
    + f" FROM unnest($1::text[], {', '.join(f'${i}::{_KINDS[name]}[]' for i, name in enumerate(_LATER, start=2))})"
    + f" AS n(allocation_id, {', '.join(_LATER)}) WHERE a.allocation_id = n.allocation_id"
)
_WAITS: Final = (
    *("allocation_id", "tenant_id", "project_id", "pool_id", "gpu_model", "replicas", "gpus_per_replica"),
    *("share_milli", "priority", "requested_at", "requested_position", "state", "pending_reason", "detail"),
)
"""What a waiting line shows of a request."""
ENDED: Final = ("released", "rejected")
STATES: Final = ("requested", "queued", "placed", "active", "releasing", *ENDED)


@dataclass(frozen=True, slots=True)
class Sought:
    """Which allocations a list is about; None does not narrow."""

    tenant_id: str | None = None
    project_id: str | None = None
    pool_id: str | None = None
    states: tuple[str, ...] = ()
    reach: Reach | None = None


class Allocations(Projection):
    """The current view of all allocations."""

    answer = "allocations"
    version = 5
    reads = (
        AllocationRequested,
        AllocationQueued,
        AllocationDeferred,
        AllocationNotified,
        AllocationRejected,
        AllocationPlaced,
        AllocationStarted,
        AllocationReleaseRequested,
        AllocationReleased,
        AllocationLeaseRenewed,
        AllocationPreempted,
        AllocationRetried,
        ClaimGranted,
    )
    tables = (TABLE,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        new: dict[str, dict[str, Any]] = {}
        known: dict[str, dict[str, Any]] = {}
        for fact in facts:
            event = fact.event
            if isinstance(event, AllocationRequested):
                new[event.allocation_id] = _request(fact, event)
                continue
            allocation_id: str = event.allocation_id  # type: ignore[attr-defined]
            row = new.get(allocation_id) or known.setdefault(allocation_id, dict.fromkeys(_LATER))
            row.update(_change(fact, event))
        await upsert(rows, TABLE, list(new.values()))
        if known:
            columns = [[row[name] for row in known.values()] for name in _LATER]
            await rows.execute(_UPDATE, list(known), *columns)

    # -- questions ---------------------------------------------------------------------------------------------

    async def one(self, db: Database, tenant_id: str, project_id: str, allocation_id: str) -> Record | None:
        """An allocation of that project, or None."""
        return await db.fetch_one(
            select(TABLE).where(
                TABLE.c.allocation_id == allocation_id,
                TABLE.c.tenant_id == tenant_id,
                TABLE.c.project_id == project_id,
            )
        )

    async def newest(self, db: Database, sought: Sought, before: int | None, limit: int) -> list[Record]:
        """Up to `limit` allocations requested before position `before`, the newest first."""
        query = select(TABLE).order_by(TABLE.c.requested_position.desc()).limit(limit)
        for column, value in (
            (TABLE.c.tenant_id, sought.tenant_id),
            (TABLE.c.project_id, sought.project_id),
            (TABLE.c.pool_id, sought.pool_id),
        ):
            if value is not None:
                query = query.where(column == value)
        if sought.reach is not None:
            query = query.where(scopes_where(sought.reach, TABLE.c.tenant_id, TABLE.c.project_id))
        if sought.states:
            query = query.where(TABLE.c.state.in_(sought.states))
        if before is not None:
            query = query.where(TABLE.c.requested_position < before)
        return await db.fetch(query)

    async def known(self, db: Database, allocation_id: str) -> Record | None:
        """An allocation of whatever tenant, or None."""
        return await db.fetch_one(select(TABLE).where(TABLE.c.allocation_id == allocation_id))

    async def waiting(
        self,
        db: Database,
        of: tuple[str, str] | None,
        pool_id: str | None,
        after: int,
        limit: int,
        as_of: int | None = None,
    ) -> list[Record]:
        """Waiting requests with their positions in their pool's line (1 is the first).

        Args:
            as_of: who waited when the log had this position last; why they did then is in their own histories.
            of: only of this tenant and project, in order of arrival after position `after` of the log.
            pool_id: else all of this pool, in order of the line after its position `after`.
        """
        t = TABLE.c
        order = (t.priority.desc(), t.place, t.requested_position)
        line = (
            select(
                *(t[name] for name in _WAITS),
                func.row_number().over(partition_by=t.pool_id, order_by=order).label("queue_position"),
                func.coalesce(
                    func.sum(t.replicas * t.gpus_per_replica).over(
                        partition_by=t.pool_id, order_by=order, rows=(None, -1)
                    ),
                    0,
                ).label("gpus_ahead"),
            )
            .where(_waited(as_of))
            .subquery()
        )
        query = select(line).limit(limit)
        if of is not None:
            mine = (line.c.tenant_id == of[0], line.c.project_id == of[1], line.c.requested_position > after)
            return await db.fetch(query.where(*mine).order_by(line.c.requested_position))
        whole = (line.c.pool_id == pool_id, line.c.queue_position > after)
        return await db.fetch(query.where(*whole).order_by(line.c.queue_position))

    async def asked_between(self, db: Database, pool_id: str, after: int, until: int, limit: int) -> list[Record]:
        """Requests of a pool made after one position of the log and up to another, by arrival."""
        t = TABLE.c
        query = select(TABLE).where(t.pool_id == pool_id, t.requested_position > after, t.requested_position <= until)
        return await db.fetch(query.order_by(t.requested_position).limit(limit))

    async def lately_ended(self, db: Database, pool_id: str, limit: int) -> list[Record]:
        """Runs of a pool that ended by themselves or by their lease, of the newest requests: whose, size, times."""
        t = TABLE.c
        columns = (t.tenant_id, t.replicas, t.gpus_per_replica, t.started_at, t.ended_at)
        query = select(*columns).where(
            t.pool_id == pool_id,
            t.started_at.is_not(None),
            # What was ended early tells nothing of how long such work runs.
            t.end_reason.in_(("completed", "failed", "lease-expired", "tenant-request")),
        )
        return await db.fetch(query.order_by(t.requested_position.desc()).limit(limit))

    async def of_claims(self, db: Database, allocation_ids: Iterable[str]) -> dict[str, Record]:
        """Allocations by id, of whatever tenant."""
        found = await db.fetch(select(TABLE).where(TABLE.c.allocation_id.in_(list(allocation_ids))))
        return {row["allocation_id"]: row for row in found}

    async def counts(self, db: Database, pool_id: str | None = None) -> dict[str, int]:
        """How many allocations are in each state, all states named."""
        query = select(TABLE.c.state, func.count().label("allocations")).group_by(TABLE.c.state)
        if pool_id is not None:
            query = query.where(TABLE.c.pool_id == pool_id)
        found = {row["state"]: int(row["allocations"]) for row in await db.fetch(query)}
        return {state: found.get(state, 0) for state in STATES}

    async def unfinished(self, rows: Rows) -> tuple[list[Record], int]:
        """All allocations that have not ended, by arrival, and the position that this is true at."""
        position = await rows.fetchval("SELECT position FROM checkpoints WHERE reader = $1", self.name)
        found: list[Record] = await rows.fetch(
            f"SELECT * FROM {TABLE.name} WHERE state <> ALL($1) ORDER BY requested_position",  # noqa: S608
            list(ENDED),
        )
        return found, int(position)


def _waited(as_of: int | None) -> ColumnElement[bool]:
    """Who waits, or waited: asked for by then, not granted by then, and not over without a grant by then."""
    t = TABLE.c
    if as_of is None:
        return t.state.in_(("requested", "queued"))
    never_granted_and_over = and_(t.claim_position.is_(None), t.state.in_(ENDED), t.position <= as_of)
    return and_(
        t.requested_position <= as_of,
        or_(t.claim_position.is_(None), t.claim_position > as_of),
        not_(never_granted_and_over),
    )


def shape_of(row: Mapping[str, Any] | Record) -> Shape:
    """What a row's allocation asks for, the most wanted."""
    return Shape(
        row["gpu_models"][0] if row["gpu_models"] else row["gpu_model"],
        row["replicas"],
        row["gpus_per_replica"],
        row["topology_level"],
        row["topology_mode"],
        row["share_milli"],
    )


def forms_of_row(row: Mapping[str, Any] | Record) -> tuple[Form, ...]:
    """All shapes that will do for a row's allocation, the most wanted first; none: one alone will do."""
    others = [Shape(**each) for each in row["alternatives"] or ()]
    forms = forms_of(shape_of(row), row["gpu_models"] or (), row["replicas_min"], others)
    return () if len(forms) == 1 and not forms[0].is_elastic else forms


def members_of(row: Mapping[str, Any]) -> tuple[Member, ...]:
    """The gang in a row, in order; empty before it is placed."""
    kept = row["members"] or {}
    return tuple(
        Member(
            member=index,
            node_id=kept[str(index)]["node_id"],
            device_ids=tuple(kept[str(index)]["device_ids"]),
            share_milli=kept[str(index)]["share_milli"],
        )
        for index in range(len(kept))
    )


def _request(fact: Fact, event: AllocationRequested) -> dict[str, Any]:
    return {
        "allocation_id": event.allocation_id,
        "tenant_id": event.tenant_id,
        "project_id": event.project_id,
        "pool_id": event.pool_id,
        "gpu_model": event.gpu_model,
        "replicas": event.replicas,
        "gpus_per_replica": event.gpus_per_replica,
        "gpu_models": list(event.gpu_models) if event.gpu_models else None,
        "replicas_min": event.replicas_min,
        "alternatives": [asdict(shape_in(each)) for each in event.alternatives] if event.alternatives else None,
        "share_milli": event.share_milli or WHOLE_MILLI,
        "topology_level": event.topology_level,
        "topology_mode": event.topology_mode,
        "priority": event.priority,
        "preemptible": event.preemptible,
        "lease_s": event.lease_s,
        "start_at": event.start_at,
        "reservation_id": event.reservation_id,
        "gpu_ms_max": event.gpu_ms_max,
        "cost_max": None if event.cost_max is None else event.cost_max.model_dump(mode="json"),
        "idle_after_s": event.idle_after_s,
        "retry": None if event.retry is None else event.retry.model_dump(mode="json"),
        "retry_of": event.retry_of,
        "attempt": event.attempt or 1,
        "place": event.place_kept or fact.position,
        "workload": {"image": event.workload.image, "command": event.workload.command},
        "labels": dict(event.labels),
        "requested_at": fact.time,
        "requested_position": fact.position,
        "request_event_id": fact.envelope.id,
        "correlation_id": fact.envelope.correlationid,
        **dict.fromkeys(_LATER),
        "state": "requested",
        "position": fact.position,
    }


def _change(fact: Fact, event: Event) -> dict[str, Any]:
    """The columns that an event fills in."""
    change: dict[str, Any]
    match event:
        case AllocationQueued():
            change = {"state": "queued", "pending_reason": event.pending_reason, "detail": event.detail}
        case AllocationDeferred():
            change = {"state": "queued", "pending_reason": event.reason, "detail": event.detail}
            change["deferred_until"] = event.until
        case AllocationNotified():
            change = {"notice_ends_at": event.ends_at, "notice": event.detail}
        case AllocationRejected():
            change = {"state": "rejected", "end_reason": event.reason, "detail": event.detail, "ended_at": fact.time}
        case ClaimGranted():
            # The pool's event, not the allocation's own: it tells where the receipt is and changes no state.
            return {"claim_position": fact.position}
        case AllocationPlaced():
            change = {"state": "placed", "held_model": event.gpu_model, "placed_at": fact.time}
            change["ends_by"] = event.ends_by
            change["members"] = {
                str(member.member): {
                    "node_id": member.node_id,
                    "device_ids": member.device_ids,
                    "share_milli": member.share_milli,
                }
                for member in event.members
            }
        case AllocationStarted():
            change = {"state": "active", "started_at": event.started_at, "start_event_id": fact.envelope.id}
        case AllocationLeaseRenewed():
            change = {"renewed_lease_s": event.lease_s}
        case AllocationReleaseRequested():
            change = {"state": "releasing", "release_reason": event.reason, "end_detail": event.detail}
        case AllocationPreempted():
            change = {"state": "releasing", "release_reason": event.cause, "detail": event.detail}
        case AllocationReleased():
            change = {"state": "released", "ended_at": event.ended_at, "end_reason": event.because or event.end_reason}
            change["exit_code"] = event.exit_code
            change["end_detail"] = event.detail
        case AllocationRetried():
            change = {"retried_as": event.retry_allocation_id}
        case _:
            raise AssertionError(event)
    change["position"] = fact.position
    return change
