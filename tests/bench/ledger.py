"""The ledger: transfers decided, made durable, folded into balances. One law: all balances sum to zero at the end."""

from __future__ import annotations

import time
from collections import defaultdict
from decimal import Decimal
from statistics import median
from typing import Final

from gpuaas.billing.domain.ledger import LEDGER, Entry, Ledger, PostTransfer
from gpuaas.billing.projections.ledger_balances import LedgerBalances
from gpuaas.billing.reactions import LEDGERS
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Cause, Commands, Order
from gpuaas.common.ids import new_id
from gpuaas.common.testing.stack import TestStack

from tests.bench.on_the_log import copy_rate, fresh_log, kept, open_database, rebuild_rate_of
from tests.bench.rows import Row, at_least, beside, rates_in_turn

CURRENCY: Final = "EUR"
TRANSFERS: Final = 20_000
TRANSFERS_PER_BATCH: Final = 500
DECIDED: Final = 5_000


async def ledger_transfers(stack: TestStack) -> list[Row]:
    """Transfers decided in memory; made durable in the log; folded into balances, with COPY of as many rows beside."""
    rows = [_decided()]
    async with fresh_log(stack) as log, open_database(stack) as database:
        commands = Commands(log, WallClock(), "billing", "dev")
        rates: list[float] = []
        for start in range(0, TRANSFERS, TRANSFERS_PER_BATCH):
            orders = [
                Order(LEDGERS, f"t-{number}", f"t-{number}", _transfer(start, f"t-{number}"))
                for number in range(TRANSFERS_PER_BATCH)
            ]
            began = time.perf_counter()
            cause = Cause(id=new_id(), actor="billing", actor_kind="service")
            await commands.execute_together(orders, cause, fresh=start == 0)
            rates.append(TRANSFERS_PER_BATCH / (time.perf_counter() - began))
        async with kept(LedgerBalances(), log, database) as projector:
            folded = await rebuild_rate_of(projector, TRANSFERS)
            assert all(row["difference"] == 0 for row in await LedgerBalances().trial_balance(database))
        copied = await copy_rate(
            database,
            "transfer text, entry int, account text, amount numeric",
            [(f"x-{number // 2}", number % 2, "revenue:gpu", Decimal(number)) for number in range(2 * TRANSFERS)],
        )
    return [
        *rows,
        at_least(f"ledger, transfers to the log, {TRANSFERS_PER_BATCH} at once", median(rates), "transfers/s", 10_000),
        at_least("ledger, transfers into PostgreSQL", folded, "transfers/s", 10_000, copied / 2),
    ]


def _decided() -> Row:
    orders = [_transfer(number, "acme") for number in range(DECIDED)]

    def ours(_: int) -> int:
        ledger = LEDGER.initial
        for order in orders:
            for event in LEDGER.decide(order, ledger):
                ledger = LEDGER.evolve(ledger, event)
        assert _sum(ledger) == 0
        return len(orders)

    def bare(_: int) -> int:
        balances: defaultdict[str, Decimal] = defaultdict(Decimal)
        for order in orders:
            for entry in order.entries:
                balances[entry.account] += entry.amount
        return len(orders)

    decided, added = rates_in_turn(ours, bare, blocks=5)
    return beside("ledger, transfers decided, against plain addition", decided, "transfers/s", added)


def _sum(ledger: Ledger) -> Decimal:
    return sum(ledger.balances.values(), Decimal(0))


def _transfer(number: int, tenant: str) -> PostTransfer:
    amount = Decimal(number + 1).scaleb(-2)
    entries = (Entry(f"receivable:{tenant}", amount), Entry("revenue:gpu", -amount))
    return PostTransfer(f"x-{number}", tenant, CURRENCY, entries, f"invoice {number}", f"inv-{number}")
