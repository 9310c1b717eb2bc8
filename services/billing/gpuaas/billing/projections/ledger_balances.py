"""What every account holds, and which transfers made it so. One law: per currency all balances sum to zero."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, insert, upsert
from gpuaas.contracts.billing import LedgerTransferPosted
from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, MetaData, Numeric, Table, Text, func, select

_META = MetaData()
BALANCES = Table(
    "ledger_balances_v1",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("balance", Numeric, nullable=False),
    Column("position", BigInteger, nullable=False),
)
TRANSFERS = Table(
    "ledger_transfers_v1",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("transfer_id", Text, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("posted_at", DateTime(timezone=True), nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("ledger_transfers_v1_by_position", "tenant_id", "position"),
)
ENTRIES = Table(
    "ledger_entries_v1",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("transfer_id", Text, primary_key=True),
    Column("entry_number", Integer, primary_key=True),
    Column("account", Text, nullable=False),
    Column("amount", Numeric, nullable=False),
)
Key = tuple[str, str, str]
"""tenant, currency, account"""


class LedgerBalances(Projection):
    """Balances and transfers of every tenant's ledger."""

    answer = "ledger_balances"
    version = 1
    reads = (LedgerTransferPosted,)
    tables = (BALANCES, TRANSFERS, ENTRIES)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        posted = [(fact, fact.event) for fact in facts if isinstance(fact.event, LedgerTransferPosted)]
        gains: dict[Key, tuple[Decimal, int]] = {}
        for fact, transfer in posted:
            for entry in transfer.entries:
                key = (transfer.tenant_id, transfer.currency, entry.account)
                gains[key] = (gains.get(key, (Decimal(0), 0))[0] + entry.amount, fact.position)
        before = await _balances(rows, list(gains))
        await upsert(
            rows,
            BALANCES,
            [
                {
                    "tenant_id": key[0],
                    "currency": key[1],
                    "account": key[2],
                    "balance": before.get(key, Decimal(0)) + gain,
                    "position": position,
                }
                for key, (gain, position) in gains.items()
            ],
        )
        await insert(rows, TRANSFERS, [_row(fact, transfer) for fact, transfer in posted])
        await insert(rows, ENTRIES, [entry for _, transfer in posted for entry in _entries(transfer)])

    async def balances_of(self, db: Database, tenant_id: str) -> list[Record]:
        """Every account of a tenant's ledger. A ledger has few: see `domain.ledger.ACCOUNTS_MAX`."""
        query = select(BALANCES).where(BALANCES.c.tenant_id == tenant_id)
        return await db.fetch(query.order_by(BALANCES.c.currency, BALANCES.c.account))

    async def transfers_of(self, db: Database, tenant_id: str, before: int | None, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` transfers of a tenant below position `before`, newest first, each with its `entries`."""
        query = select(TRANSFERS).where(TRANSFERS.c.tenant_id == tenant_id)
        if before is not None:
            query = query.where(TRANSFERS.c.position < before)
        found = await db.fetch(query.order_by(TRANSFERS.c.position.desc()).limit(limit))
        entries: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        own = (ENTRIES.c.tenant_id == tenant_id) & ENTRIES.c.transfer_id.in_([row["transfer_id"] for row in found])
        for row in await db.fetch(select(ENTRIES).where(own).order_by(ENTRIES.c.entry_number)):
            entries[row["transfer_id"]].append(dict(row))
        return [dict(row) | {"entries": entries[row["transfer_id"]]} for row in found]

    async def trial_balance(self, db: Database) -> list[Record]:
        """Over all tenants, per currency: the sums of positive and of negative balances, and their difference."""
        query = select(
            BALANCES.c.currency,
            func.coalesce(func.sum(BALANCES.c.balance).filter(BALANCES.c.balance > 0), 0).label("gained"),
            func.coalesce(func.sum(BALANCES.c.balance).filter(BALANCES.c.balance < 0), 0).label("lost"),
            func.sum(BALANCES.c.balance).label("difference"),
            func.count().label("accounts"),
        )
        return await db.fetch(query.group_by(BALANCES.c.currency).order_by(BALANCES.c.currency))


async def _balances(rows: Rows, keys: Sequence[Key]) -> dict[Key, Decimal]:
    if not keys:
        return {}
    found = await rows.fetch(
        "SELECT b.tenant_id, b.currency, b.account, b.balance FROM ledger_balances_v1 b "
        "JOIN unnest($1::text[], $2::text[], $3::text[]) AS k(tenant, currency, account) "
        "ON b.tenant_id = k.tenant AND b.currency = k.currency AND b.account = k.account",
        *([key[at] for key in keys] for at in range(3)),
    )
    return {(row["tenant_id"], row["currency"], row["account"]): row["balance"] for row in found}


def _row(fact: Fact, transfer: LedgerTransferPosted) -> dict[str, object]:
    return {
        "tenant_id": transfer.tenant_id,
        "transfer_id": transfer.transfer_id,
        "currency": transfer.currency,
        "description": transfer.description,
        "cause": transfer.cause,
        "posted_at": fact.time,
        "position": fact.position,
    }


def _entries(transfer: LedgerTransferPosted) -> list[dict[str, object]]:
    return [
        {
            "tenant_id": transfer.tenant_id,
            "transfer_id": transfer.transfer_id,
            "entry_number": number,
            "account": entry.account,
            "amount": entry.amount,
        }
        for number, entry in enumerate(transfer.entries, start=1)
    ]
