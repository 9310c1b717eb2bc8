"""Questions to the trail: who did what, when, to what. One law: a page stays exact while new rows arrive.

Rows are read in the order of the log, forwards or backwards, each page from the last row seen: what arrives meanwhile
stands before or behind the pages already given, never between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gpuaas.audit.domain.bundles import Evidence
from gpuaas.audit.domain.entries import Entry
from gpuaas.audit.projections.audit_trail import PAYLOADS, TRAIL
from gpuaas.common.errors import Invalid
from gpuaas.common.ids import is_name
from gpuaas.common.tables import Database, Record
from gpuaas.contracts.catalogue import ALL
from sqlalchemy import ColumnElement, Select, func, or_, select, text

_COLUMNS: Final = (
    "tree",
    "type",
    "subject",
    "actor",
    "project_id",
    "correlation_id",
    "event_id",
    "outcome",
    "sealed_by",
)


@dataclass(frozen=True, slots=True)
class Sought:
    """What is looked for; None does not restrict.

    Attributes:
        subject: the log's subject of one entity: its whole history.
        resource: the same as `<kind>/<id>`; outside a tree, of whatever tenant.
        happened_from, happened_until: [from, until) by the event's own time.
        newest_first: the order.
        after_position, up_to_position: (after, up to] in the log; with the former, rows are in the order of the log.
    """

    tree: str | None = None
    type: str | None = None
    subject: str | None = None
    resource: str | None = None
    actor: str | None = None
    project_id: str | None = None
    correlation_id: str | None = None
    event_id: str | None = None
    outcome: str | None = None
    sealed_by: str | None = None
    happened_from: datetime | None = None
    happened_until: datetime | None = None
    newest_first: bool = True
    after_position: int | None = None
    up_to_position: int | None = None


async def search(db: Database, sought: Sought, after: int | None, limit: int) -> list[Record]:
    """Up to `limit` rows behind `after`, in the order asked for.

    Args:
        after: the last `order_key` seen: a leaf index inside one tree, a position of the log across trees.
    """
    query = _restricted(select(TRAIL), sought)
    key = TRAIL.c[order_key(sought)]
    if after is not None:
        query = query.where(key < after if sought.newest_first else key > after)
    return await db.fetch(query.order_by(key.desc() if sought.newest_first else key.asc()).limit(limit))


def order_key(sought: Sought) -> str:
    """The column that rows are ordered by. Within one tree the order of leaves is the order of the log."""
    return "position" if sought.tree is None or sought.after_position is not None else "leaf_index"


async def count(db: Database, sought: Sought) -> int:
    """How many rows there are."""
    row = await db.fetch_one(_restricted(select(func.count().label("rows")).select_from(TRAIL), sought))
    return 0 if row is None else int(row["rows"])


async def payloads_at(db: Database, positions: Sequence[int]) -> dict[int, bytes]:
    """The stored bytes by position."""
    found = await db.fetch(select(PAYLOADS).where(PAYLOADS.c.position.in_(list(positions))))
    return {row["position"]: row["payload"] for row in found}


async def entries_between(db: Database, tree: str, start: int, end: int) -> list[bytes]:
    """The leaf data of a tree's leaves [start, end)."""
    leaves = select(TRAIL).where(TRAIL.c.tree == tree, TRAIL.c.leaf_index >= start, TRAIL.c.leaf_index < end)
    return [entry_in(row).encode() for row in await db.fetch(leaves.order_by(TRAIL.c.leaf_index))]


def entry_in(row: Record | Mapping[str, Any]) -> Entry:
    """The leaf's entry, as its row keeps it."""
    return Entry(row["position"], row["subject"], row["type"], row["event_id"], row["time"], row["payload_sha256"])


def evidence_in(row: Record, payload: bytes) -> Evidence:
    """A trail row and its bytes as evidence, without proof."""
    return Evidence(row["tree"], row["leaf_index"], entry_in(row), payload)


def _restricted(query: Select[Any], sought: Sought) -> Select[Any]:
    for name in _COLUMNS:
        if (value := getattr(sought, name)) is not None:
            query = query.where(TRAIL.c[name] == value)
    if sought.resource is not None:
        query = query.where(_of_resource(sought.resource, sought.tree))
    if sought.outcome not in (None, "success"):
        # Said as the partial index of what went wrong says it.
        query = query.where(text("outcome <> 'success'"))
    if sought.happened_from is not None:
        query = query.where(TRAIL.c.happened_at >= sought.happened_from)
    if sought.after_position is not None:
        query = query.where(TRAIL.c.position > sought.after_position)
    if sought.up_to_position is not None:
        query = query.where(TRAIL.c.position <= sought.up_to_position)
    if sought.happened_until is not None:
        query = query.where(TRAIL.c.happened_at < sought.happened_until)
    return query


def subjects_of(resource: str, tree: str) -> list[str]:
    """The subjects of one entity, `<kind>/<id>`, of a tenant (`%`: of whatever tenant).

    Which service owns its kind, the contracts say.

    Raises:
        Invalid: no service has such a kind, or it names no entity.
    """
    kind, _, entity_id = resource.partition("/")
    owners = sorted({event.SERVICE for event in ALL if kind == event.ENTITY})
    if not owners or not is_name(entity_id):
        known = ", ".join(sorted({event.ENTITY for event in ALL}))
        raise Invalid(f"{resource[:80]!r} is no resource; write <kind>/<id> with one of: {known}", field="resource")
    return [f"events.{owner}.{kind}.{tree}.{entity_id}" for owner in owners]


def _of_resource(resource: str, tree: str | None) -> ColumnElement[bool]:
    """Rows of one entity."""
    if tree is not None:
        return TRAIL.c.subject.in_(subjects_of(resource, tree))
    return or_(*(TRAIL.c.subject.like(each) for each in subjects_of(resource, "%")))
