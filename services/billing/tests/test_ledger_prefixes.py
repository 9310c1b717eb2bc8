"""The books at every position of the log. One law tested: they sum to zero there, and are found again afterwards."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import timedelta
from decimal import Decimal

from billing_world import AUGUST
from gpuaas.billing.domain.ledger import LEDGER, Entry, Ledger, PostTransfer
from gpuaas.billing.projections.ledger_balances import LedgerBalances
from gpuaas.billing.projections.ledger_history import Stretch, balances_as_of, balances_at_end, transfers_of
from gpuaas.common.clock import rfc3339
from gpuaas.common.envelope import Envelope, Fact, data_of
from gpuaas.common.events import Event
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.money import MINOR_DIGITS
from gpuaas.common.projections import Database, Projector, digest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = 12
TENANTS = ("acme", "9-lives")
ACCOUNTS = ("cash:bank", "cash:prepaid", "revenue:gpu", "tax:payable", "expense:promotion")
Order = tuple[str, str, list[int]]
"""tenant, currency, what accounts gain in minor units; the last account takes the rest."""
ORDERS = st.lists(
    st.tuples(
        st.sampled_from(TENANTS),
        st.sampled_from(("EUR", "JPY", "KWD")),
        st.lists(st.integers(-(10**9), 10**9).filter(bool), min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=12,
)


def posted(orders: list[Order]) -> list[Fact]:
    """What the ledgers say to these orders, one transfer at each position."""
    ledgers: defaultdict[str, Ledger] = defaultdict(lambda: LEDGER.initial)
    facts: list[Fact] = []
    for position, (tenant, currency, gains) in enumerate(orders, start=1):
        amounts = gains if (rest := -sum(gains)) == 0 else [*gains, rest]
        if len(amounts) < 2:
            continue
        step = Decimal(1).scaleb(-MINOR_DIGITS[currency])
        entries = tuple(Entry(account, amount * step) for account, amount in zip(ACCOUNTS, amounts, strict=False))
        order = PostTransfer(f"t-{position}", tenant, currency, entries, "a test", f"d-{position}")
        for event in LEDGER.decide(order, ledgers[tenant]):
            ledgers[tenant] = LEDGER.evolve(ledgers[tenant], event)
            facts.append(fact(position, tenant, event))
    return facts


def fact(position: int, tenant: str, event: Event) -> Fact:
    envelope = Envelope(
        specversion="1.0",
        id=f"e-{position}",
        source="gpuaas/testing",
        type=event.TYPE,
        subject=f"ledger/{tenant}/{tenant}",
        time=rfc3339(AUGUST + timedelta(hours=position)),
        datacontenttype="application/json",
        dataschema=event.SCHEMA,
        tenantid=tenant,
        actor="tester",
        actorkind="service",
        causationid="c",
        correlationid="c",
        sequence="0000000001",
        profile="dev",
        data=data_of(event),
    )
    return Fact(position, f"events.billing.ledger.{tenant}.{tenant}", envelope, event)


async def held(database: Database, ledgers: LedgerBalances) -> dict[str, dict[tuple[str, str], Decimal]]:
    """Balances by tenant, then by currency and account."""
    return {
        tenant: {
            (row["currency"], row["account"]): row["balance"] for row in await ledgers.balances_of(database, tenant)
        }
        for tenant in TENANTS
    }


async def check(database: Database, facts: list[Fact], cut: int) -> None:
    ledgers = LedgerBalances()
    snapshots = []
    await emptied(database, ledgers)
    for each in facts:
        async with database.writing() as rows:
            await ledgers.fold(rows, [each])
        assert [row for row in await ledgers.trial_balance(database) if row["difference"]] == []
        snapshots.append(await held(database, ledgers))
    one_by_one = await digest(database, ledgers)
    for each, then in zip(facts, snapshots, strict=True):
        for tenant, expected in then.items():
            for found in (
                await balances_as_of(database, tenant, each.time, facts[-1].position),
                await balances_at_end(database, Stretch(tenant, each.position)),
            ):
                assert {(row["currency"], row["account"]): row["balance"] for row in found} == expected
    read = [row["transfer_id"] async for page in transfers_of(database, Stretch(None, 10**9)) for row in page]
    assert sorted(read) == sorted(f"t-{each.position}" for each in facts)
    await emptied(database, ledgers)
    for part in (facts[:cut], facts[cut:]):
        async with database.writing() as rows:
            await ledgers.fold(rows, part)
    assert await digest(database, ledgers) == one_by_one


async def emptied(database: Database, ledgers: LedgerBalances) -> None:
    async with database.writing() as rows:
        for table in ledgers.tables:
            await rows.execute(f"TRUNCATE {table.name}")


def test_every_prefix_sums_to_zero_and_is_found_again_as_of_its_moment(database_dsn: str) -> None:
    with asyncio.Runner() as runner:
        database = Database(database_dsn)
        runner.run(database.open())
        runner.run(Projector(LedgerBalances(), MemoryLog(), database).make_tables())

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(orders=ORDERS, cut=st.integers(0, 12))
        def holds(orders: list[Order], cut: int) -> None:
            if facts := posted(orders):
                runner.run(check(database, facts, cut))

        try:
            holds()
        finally:
            runner.run(database.close())
