"""Who was seller and buyer when. One law: every version is kept, so an old invoice shows whom it showed.

An invoice shows the version in force when it was written; if none was told by then, the first one told afterwards.
Both are settled by the log, so a document is the same whenever it is made again.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.billing.domain.invoice_party import Party
from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, insert
from gpuaas.contracts.billing import InvoicePartySet
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, select

_FIELDS = tuple(Party.__dataclass_fields__)
PARTIES = Table(
    "invoice_parties_v1",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    *(Column(name, Text, nullable=False) for name in _FIELDS),
)


class InvoiceParties(Projection):
    """Every version of every party."""

    answer = "invoice_parties"
    version = 1
    reads = (InvoicePartySet,)
    tables = (PARTIES,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        told = [(fact.position, fact.event) for fact in facts if isinstance(fact.event, InvoicePartySet)]
        await insert(rows, PARTIES, [_row(position, event) for position, event in told])

    async def newest(self, db: Database, tenant_id: str) -> Party | None:
        """The party as it stands on the next invoice."""
        query = select(PARTIES).where(PARTIES.c.tenant_id == tenant_id)
        return _party(await db.fetch_one(query.order_by(PARTIES.c.position.desc()).limit(1)))

    async def shown_at(self, db: Database, tenant_id: str, position: int) -> Party | None:
        """The party on an invoice that was written at `position`; None: nobody has told yet."""
        own = select(PARTIES).where(PARTIES.c.tenant_id == tenant_id)
        before = own.where(PARTIES.c.position <= position).order_by(PARTIES.c.position.desc()).limit(1)
        after = own.where(PARTIES.c.position > position).order_by(PARTIES.c.position).limit(1)
        return _party(await db.fetch_one(before)) or _party(await db.fetch_one(after))


def _row(position: int, told: InvoicePartySet) -> dict[str, object]:
    return {
        "tenant_id": told.tenant_id,
        "position": position,
        **{name: getattr(told, name) or "" for name in _FIELDS},
    }


def _party(row: Record | None) -> Party | None:
    return None if row is None else Party(**{name: row[name] for name in _FIELDS})
