"""Which contracts and campaigns there are. One law: a row is one agreement, and what was known of it at a position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpuaas.billing.domain.agreement import EVERYBODY, Agreement, rule_of
from gpuaas.billing.domain.price_book import PriceBook
from gpuaas.billing.domain.tariff import Tariff, spelled
from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, insert
from gpuaas.contracts.billing import PriceAgreementEnded, PriceAgreementMade, PriceRule
from sqlalchemy import JSON, BigInteger, Column, DateTime, Index, Integer, MetaData, Select, Table, Text, select

AGREEMENTS = Table(
    "price_agreements_v1",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("agreement_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("effective_from", DateTime(timezone=True), nullable=False),
    Column("effective_until", DateTime(timezone=True), comment="as it was made"),
    Column("precedence", Integer, nullable=False),
    Column("calculated_on", Text),
    Column("rules", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ends_at", DateTime(timezone=True), comment="where it was ended; null: it was not"),
    Column("end_reason", Text),
    Column("ended_position", BigInteger),
    Column("position", BigInteger, nullable=False),
    Index("price_agreements_v1_by_position", "position"),
)


@dataclass(frozen=True, slots=True)
class Agreements:
    """All agreements that were known, by tenant."""

    by_tenant: Mapping[str, tuple[Agreement, ...]]

    def tariff(self, book: PriceBook, tenant_id: str) -> Tariff:
        """What a tenant pays: the list, its own agreements and the campaigns for all, in the list's currency."""
        own = (*self.by_tenant.get(tenant_id, ()), *self.by_tenant.get(EVERYBODY, ()))
        return Tariff(book, tuple(each for each in own if each.currency == book.currency))

    def spelled(self) -> list[dict[str, object]]:
        """All of them, for a digest."""
        return spelled(each for found in self.by_tenant.values() for each in found)


class PriceAgreements(Projection):
    """Agreements by tenant."""

    answer = "price_agreements"
    version = 1
    reads = (PriceAgreementMade, PriceAgreementEnded)
    tables = (AGREEMENTS,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        made = [_row(fact, fact.event) for fact in facts if isinstance(fact.event, PriceAgreementMade)]
        await insert(rows, AGREEMENTS, made)
        for fact in facts:
            if isinstance(fact.event, PriceAgreementEnded):
                await rows.execute(
                    "UPDATE price_agreements_v1 SET ends_at = $3, end_reason = $4, ended_position = $5 "
                    "WHERE tenant_id = $1 AND agreement_id = $2",
                    fact.event.tenant_id,
                    fact.event.agreement_id,
                    fact.event.ends_at,
                    fact.event.reason,
                    fact.position,
                )

    async def agreements(self, db: Database, *, tenant_id: str | None = None, upto: int | None = None) -> Agreements:
        """Those of a tenant and for all (None: of every tenant), as they were known at position `upto` (None: now)."""
        query: Select[Any] = select(AGREEMENTS)
        if upto is not None:
            query = query.where(AGREEMENTS.c.position <= upto)
        if tenant_id is not None:
            query = query.where(AGREEMENTS.c.tenant_id.in_([tenant_id, EVERYBODY]))
        found: dict[str, list[Agreement]] = {}
        for row in await db.fetch(query.order_by(AGREEMENTS.c.position)):
            found.setdefault(row["tenant_id"], []).append(_agreement(row, upto))
        return Agreements({each: tuple(own) for each, own in found.items()})

    async def of_tenant(
        self, db: Database, tenant_id: str, after: int, limit: int, *, everybodys: bool
    ) -> list[Record]:
        """Up to `limit` agreements of a tenant above position `after`; with `everybodys` also the campaigns for all."""
        whose = [tenant_id, EVERYBODY] if everybodys else [tenant_id]
        query = select(AGREEMENTS).where(AGREEMENTS.c.tenant_id.in_(whose), AGREEMENTS.c.position > after)
        return await db.fetch(query.order_by(AGREEMENTS.c.position).limit(limit))


def _row(fact: Fact, made: PriceAgreementMade) -> dict[str, object]:
    return {
        "tenant_id": made.tenant_id,
        "agreement_id": made.agreement_id,
        "kind": made.kind,
        "currency": made.currency,
        "effective_from": made.effective_from,
        "effective_until": made.effective_until,
        "precedence": made.precedence,
        "calculated_on": made.calculated_on,
        "rules": [rule.model_dump(mode="json", exclude_none=True) for rule in made.rules],
        "reason": made.reason,
        "ends_at": None,
        "end_reason": None,
        "ended_position": None,
        "position": fact.position,
    }


def _agreement(row: Record, upto: int | None) -> Agreement:
    stands = Agreement(
        agreement_id=row["agreement_id"],
        tenant_id=row["tenant_id"],
        kind=row["kind"],
        currency=row["currency"],
        effective_from=row["effective_from"],
        effective_until=row["effective_until"],
        precedence=row["precedence"],
        rules=tuple(rule_of(PriceRule.model_validate(rule)) for rule in row["rules"]),
        reason=row["reason"],
        calculated_on=row["calculated_on"] or "contract",
    )
    ended = row["ended_position"] is not None and (upto is None or row["ended_position"] <= upto)
    return replace(stands, effective_until=row["ends_at"]) if ended else stands
