"""Whether money and GPU time are conserved. One law: everything billed is owed once, and nothing is sold twice.

A question over the tables of several read models. They are read one after the other, so in the middle of a run they may
differ for a moment; `GPUaaS-At-Least` with the run's last position makes the answer final.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from gpuaas.billing.domain.ledger import receivable_of
from gpuaas.billing.projections.invoices import INVOICES, LINES
from gpuaas.billing.projections.ledger_balances import BALANCES, ENTRIES, TRANSFERS
from gpuaas.billing.projections.metered_usage import QUANTITY_US, USAGE
from gpuaas.billing.projections.settlements import DUES
from gpuaas.common.projections import Database
from sqlalchemy import Numeric, Table, and_, cast, func, literal, select

DIFFERENCES_MAX = 100
"""Differences that are named; more are counted by the next answer, when these are mended."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Two sums that should be equal and are not."""

    check: str
    tenant_id: str
    thing: str
    left: Decimal
    right: Decimal


@dataclass(frozen=True, slots=True)
class Sums:
    """What was compared, over all tenants."""

    invoices: int
    usage_records: int
    transfers: int
    differences: tuple[Difference, ...]


class ConservationQuestions:
    """Answers from the read models of one service."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sums(self) -> Sums:
        """Compare everything there is; see the shape's description of each check."""
        found = [*await self._lines(), *await self._bookings(), *await self._balances(), *await self._metering()]
        return Sums(
            invoices=await self._count(INVOICES),
            usage_records=await self._count(USAGE),
            transfers=await self._count(TRANSFERS),
            differences=tuple(found[:DIFFERENCES_MAX]),
        )

    async def _count(self, table: Table) -> int:
        rows = await self._database.fetch(select(func.count().label("rows")).select_from(table))
        return int(rows[0]["rows"])

    async def _lines(self) -> list[Difference]:
        """Lines = invoice."""
        both = and_(LINES.c.tenant_id == INVOICES.c.tenant_id, LINES.c.invoice_id == INVOICES.c.invoice_id)
        lines = func.coalesce(func.sum(LINES.c.amount), 0)
        query = (
            select(INVOICES.c.tenant_id, INVOICES.c.invoice_id, INVOICES.c.total, lines.label("lines"))
            .select_from(INVOICES.outerjoin(LINES, both))
            .group_by(INVOICES.c.tenant_id, INVOICES.c.invoice_id, INVOICES.c.total)
            .having(lines != INVOICES.c.total)
            .limit(DIFFERENCES_MAX)
        )
        return [
            Difference("lines-invoice", row["tenant_id"], row["invoice_id"], row["lines"], row["total"])
            for row in await self._database.fetch(query)
        ]

    async def _bookings(self) -> list[Difference]:
        """Invoice with its tax = what it added to the tenant's receivable."""
        receivable = literal(receivable_of("")) + DUES.c.tenant_id
        booked = func.coalesce(func.sum(ENTRIES.c.amount), 0)
        transfer = and_(TRANSFERS.c.tenant_id == DUES.c.tenant_id, TRANSFERS.c.cause == DUES.c.invoice_id)
        entry = and_(
            ENTRIES.c.tenant_id == TRANSFERS.c.tenant_id,
            ENTRIES.c.transfer_id == TRANSFERS.c.transfer_id,
            ENTRIES.c.account == receivable,
        )
        query = (
            select(DUES.c.tenant_id, DUES.c.invoice_id, DUES.c.gross, booked.label("booked"))
            .select_from(DUES.outerjoin(TRANSFERS, transfer).outerjoin(ENTRIES, entry))
            .group_by(DUES.c.tenant_id, DUES.c.invoice_id, DUES.c.gross)
            .having(booked != DUES.c.gross)
            .limit(DIFFERENCES_MAX)
        )
        return [
            Difference("invoice-receivable", row["tenant_id"], row["invoice_id"], row["gross"], row["booked"])
            for row in await self._database.fetch(query)
        ]

    async def _balances(self) -> list[Difference]:
        """Balance = sum of the entries on the account; and over all accounts of a currency, zero."""
        entries = (
            select(
                TRANSFERS.c.tenant_id, TRANSFERS.c.currency, ENTRIES.c.account, func.sum(ENTRIES.c.amount).label("s")
            )
            .select_from(
                TRANSFERS.join(
                    ENTRIES,
                    and_(
                        ENTRIES.c.tenant_id == TRANSFERS.c.tenant_id, ENTRIES.c.transfer_id == TRANSFERS.c.transfer_id
                    ),
                )
            )
            .group_by(TRANSFERS.c.tenant_id, TRANSFERS.c.currency, ENTRIES.c.account)
            .subquery()
        )
        same = and_(
            BALANCES.c.tenant_id == entries.c.tenant_id,
            BALANCES.c.currency == entries.c.currency,
            BALANCES.c.account == entries.c.account,
        )
        query = select(BALANCES, func.coalesce(entries.c.s, 0).label("moved")).select_from(
            BALANCES.outerjoin(entries, same)
        )
        found = await self._database.fetch(
            query.where(BALANCES.c.balance != func.coalesce(entries.c.s, 0)).limit(DIFFERENCES_MAX)
        )
        whole = select(BALANCES.c.currency, func.sum(BALANCES.c.balance).label("rest")).group_by(BALANCES.c.currency)
        uneven = await self._database.fetch(whole.having(func.sum(BALANCES.c.balance) != 0))
        return [
            *(Difference("balance-entries", r["tenant_id"], r["account"], r["balance"], r["moved"]) for r in found),
            *(Difference("trial-balance", "", row["currency"], row["rest"], Decimal(0)) for row in uneven),
        ]

    async def _metering(self) -> list[Difference]:
        """GPU-µs of a record = GPUs × share × its interval; an allocation's records never overlap."""
        product = cast(USAGE.c.end_ms - USAGE.c.start_ms, Numeric) * USAGE.c.gpu_count * USAGE.c.share_milli
        wrong = select(
            USAGE.c.tenant_id, USAGE.c.usage_id, QUANTITY_US.label("gpu_us"), product.label("product")
        ).where(product != QUANTITY_US)
        other = USAGE.alias("other")
        twice = (
            select(USAGE.c.tenant_id, USAGE.c.usage_id, other.c.start_ms, USAGE.c.end_ms)
            .select_from(
                USAGE.join(
                    other,
                    and_(
                        USAGE.c.tenant_id == other.c.tenant_id,
                        USAGE.c.allocation_id == other.c.allocation_id,
                        USAGE.c.usage_id < other.c.usage_id,
                    ),
                )
            )
            .where(USAGE.c.start_ms < other.c.end_ms, other.c.start_ms < USAGE.c.end_ms)
        )
        products = await self._database.fetch(wrong.limit(DIFFERENCES_MAX))
        overlaps = await self._database.fetch(twice.limit(DIFFERENCES_MAX))
        return [
            *(
                Difference("usage-product", r["tenant_id"], r["usage_id"], Decimal(r["gpu_us"]), Decimal(r["product"]))
                for r in products
            ),
            *(
                Difference("sold-twice", r["tenant_id"], r["usage_id"], Decimal(r["start_ms"]), Decimal(r["end_ms"]))
                for r in overlaps
            ),
        ]
