"""A ledger as it was: balances and transfers up to a moment. One law: what is asked about stands still meanwhile.

Questions over the tables of `ledger_balances`, bounded by a log position that is taken once: what is posted while a
long answer is being written is behind it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gpuaas.billing.projections.ledger_balances import BALANCES, ENTRIES, TRANSFERS
from gpuaas.common.projections import Database, Record
from sqlalchemy import ColumnElement, and_, func, select

PAGE: Final = 500
"""Transfers read at once."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Transfers of one tenant (None: of all) up to log position `upto`, posted in [`since`, `until`)."""

    tenant_id: str | None
    upto: int
    since: datetime | None = None
    until: datetime | None = None

    def holds(self) -> list[ColumnElement[bool]]:
        """What a transfer of this stretch fulfils."""
        found: list[ColumnElement[bool]] = [TRANSFERS.c.position <= self.upto]
        if self.tenant_id is not None:
            found.append(TRANSFERS.c.tenant_id == self.tenant_id)
        if self.since is not None:
            found.append(TRANSFERS.c.posted_at >= self.since)
        if self.until is not None:
            found.append(TRANSFERS.c.posted_at < self.until)
        return found


async def newest_position(db: Database) -> int:
    """Where the newest transfer stands in the log, 0 without one."""
    return int((await db.fetch(select(func.coalesce(func.max(TRANSFERS.c.position), 0).label("newest"))))[0]["newest"])


async def balances_as_of(db: Database, tenant_id: str, at: datetime, upto: int) -> list[Record]:
    """A tenant's accounts after every transfer up to and including `at`."""
    return await _summed(db, [*Stretch(tenant_id, upto).holds(), TRANSFERS.c.posted_at <= at])


async def balances_at_end(db: Database, stretch: Stretch) -> list[Record]:
    """`currency`, `account`, `balance` and `position` after everything up to the end of a stretch."""
    return await _summed(db, Stretch(stretch.tenant_id, stretch.upto, None, stretch.until).holds())


async def balances_before(db: Database, stretch: Stretch) -> list[Record]:
    """The same before the first transfer of a stretch; nothing where it has no beginning."""
    if stretch.since is None:
        return []
    return await _summed(db, Stretch(stretch.tenant_id, stretch.upto, None, stretch.since).holds())


async def _summed(db: Database, holds: list[ColumnElement[bool]]) -> list[Record]:
    query = (
        select(
            TRANSFERS.c.currency,
            ENTRIES.c.account,
            func.sum(ENTRIES.c.amount).label("balance"),
            func.max(TRANSFERS.c.position).label("position"),
        )
        .select_from(TRANSFERS.join(ENTRIES, _SAME))
        .where(*holds)
        .group_by(TRANSFERS.c.currency, ENTRIES.c.account)
    )
    return await db.fetch(query.order_by(TRANSFERS.c.currency, ENTRIES.c.account))


async def accounts_of(db: Database, stretch: Stretch) -> tuple[datetime | None, list[Record]]:
    """When the first transfer of a stretch was posted (None: it has none), and every account up to its end."""
    first = await db.fetch(select(func.min(TRANSFERS.c.posted_at).label("first")).where(*stretch.holds()))
    return first[0]["first"], await balances_at_end(db, stretch)


async def transfers_of(db: Database, stretch: Stretch) -> AsyncIterator[list[dict[str, Any]]]:
    """All transfers of a stretch, tenant by tenant and each in the order of the log, with their `entries`; in pages."""
    owners = select(BALANCES.c.tenant_id).distinct().order_by(BALANCES.c.tenant_id)
    tenants = [stretch.tenant_id] if stretch.tenant_id else [row["tenant_id"] for row in await db.fetch(owners)]
    for tenant_id in tenants:
        own = Stretch(tenant_id, stretch.upto, stretch.since, stretch.until)
        after = 0
        while page := await _page(db, own, after):
            yield page
            after = page[-1]["position"]


async def _page(db: Database, stretch: Stretch, after: int) -> list[dict[str, Any]]:
    query = select(TRANSFERS).where(*stretch.holds(), TRANSFERS.c.position > after)
    found = await db.fetch(query.order_by(TRANSFERS.c.position).limit(PAGE))
    entries: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    own = and_(
        ENTRIES.c.tenant_id == stretch.tenant_id, ENTRIES.c.transfer_id.in_([row["transfer_id"] for row in found])
    )
    for row in await db.fetch(select(ENTRIES).where(own).order_by(ENTRIES.c.entry_number)):
        entries[row["transfer_id"]].append(dict(row))
    return [dict(row) | {"entries": entries[row["transfer_id"]]} for row in found]


_SAME: Final = and_(ENTRIES.c.tenant_id == TRANSFERS.c.tenant_id, ENTRIES.c.transfer_id == TRANSFERS.c.transfer_id)
