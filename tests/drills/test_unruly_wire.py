"""Deliveries come twice, late, out of order. One law: a reader applies each event once, in order, or begins again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

import nats
import pytest
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Commands
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.projections import Database, Projector, digest
from gpuaas.common.testing.counter import COUNTER, CounterValues, Open, Raise, cause
from gpuaas.common.testing.stack import TestStack

from tests.drills.ordeal import lines, report, seed
from tests.drills.unruly import unruly_wire

pytestmark = [pytest.mark.drill]
COUNTERS: Final = 10
RAISES: Final = 40
SHARE: Final = 0.015
WITHIN_S: Final = 60.0


@asynccontextmanager
async def log_at(url: str) -> AsyncIterator[JetStreamLog]:
    connection = await nats.connect(url)
    try:
        yield JetStreamLog(lambda: connection)
    finally:
        await connection.close()


@asynccontextmanager
async def folded(log: JetStreamLog, database: Database) -> AsyncIterator[Projector]:
    projector = Projector(CounterValues(), log, database)
    await projector.make_tables()
    task = asyncio.create_task(projector.run())
    try:
        yield projector
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_read_model_behind_an_unruly_wire_is_the_one_behind_a_good_one(
    stack: TestStack, capsys: pytest.CaptureFixture[str]
) -> None:
    number = seed()
    chance, began = random.Random(number), monotonic()
    async with stack.fresh_log() as address, stack.fresh_database() as one, stack.fresh_database() as other:
        databases = [Database(dsn) for dsn in (one, other)]
        for database in databases:
            await database.open()
        async with (
            unruly_wire(address.url, SHARE, chance) as (bent, wire),
            log_at(address.url) as straight,
            log_at(bent) as unruly,
            folded(straight, databases[0]) as good,
            folded(unruly, databases[1]) as bad,
        ):
            last = await work(Commands(straight, WallClock(), "testing", "dev"), chance)
            await good.reached(last, WITHIN_S)
            await bad.reached(last, WITHIN_S)
            assert bad.stopped is None
            digests = [await digest(database, CounterValues()) for database in databases]
        for database in databases:
            await database.close()
    assert wire.doubled > 0
    assert wire.overtaken > 0
    assert digests[0] == digests[1]
    figures = {"delivered": wire.delivered, "doubled": wire.doubled, "overtaken": wire.overtaken}
    with capsys.disabled():
        print(lines(report({"drill": "unruly-wire", "seed": number, "took_s": monotonic() - began, **figures})))


async def work(commands: Commands, chance: random.Random) -> int:
    """Counters opened and raised, while readers read; the last position."""
    last = 0
    for name in range(COUNTERS):
        await commands.execute(COUNTER, "acme", f"c{name}", Open("x"), cause())
    for _ in range(RAISES):
        raised = [
            commands.execute(COUNTER, "acme", f"c{name}", Raise(chance.randint(1, 9)), cause())
            for name in range(COUNTERS)
        ]
        last = max(outcome.position for outcome in await asyncio.gather(*raised))
    return last
