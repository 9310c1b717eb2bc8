"""What time does to the cost: a longer log. One law: the short and the long one are measured in turn, in one run."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Final

from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Commands
from gpuaas.common.testing.counter import COUNTER, CounterValues, Open, Raise, cause
from gpuaas.common.testing.stack import TestStack

from tests.bench.on_the_log import fill, fresh_log, kept, open_database, rebuild_rate_of
from tests.bench.rows import Row, in_turn

SHORT, LONG = 1_000, 100_000
COMMANDS_PER_BLOCK: Final = 150
FEW, MANY = 20_000, 80_000
FLAT: Final = 1.25
"""What still counts as no growth: the noise between two medians on a busy machine."""


async def growth_of_commands(stack: TestStack) -> list[Row]:
    """A command to a new and to a known entity, on a log of 10³ and on one of 10⁵ events."""
    async with AsyncExitStack() as opened:
        short, long = [await opened.enter_async_context(fresh_log(stack)) for _ in range(2)]
        await asyncio.gather(fill(short, SHORT), fill(long, LONG))
        works = []
        for log in (short, long):
            commands = Commands(log, WallClock(), "testing", "dev")

            async def opens(number: int, commands: Commands = commands) -> None:
                await commands.execute(COUNTER, "acme", f"new-{number}", Open("x"), cause(), fresh=True)

            async def raises(_: int, commands: Commands = commands) -> None:
                await commands.execute(COUNTER, "acme", "new-0", Raise(1), cause())

            works += [opens, raises]
        short_new, short_known, long_new, long_known = await in_turn(*works, calls=COMMANDS_PER_BLOCK)
    return [
        _flat("command, new entity, log of 100,000 against 1,000", long_new * 1e6, short_new * 1e6, "µs"),
        _flat("command, known entity, log of 100,000 against 1,000", long_known * 1e6, short_known * 1e6, "µs"),
    ]


async def growth_of_rebuilds(stack: TestStack) -> list[Row]:
    """The cost of one event in a rebuild over 20,000 and over 80,000."""
    async with AsyncExitStack() as opened:
        costs: list[list[float]] = [[], []]
        projectors = []
        for count in (FEW, MANY):
            log = await opened.enter_async_context(fresh_log(stack))
            await fill(log, count)
            database = await opened.enter_async_context(open_database(stack))
            projectors.append(await opened.enter_async_context(kept(CounterValues(), log, database)))
        for _ in range(3):
            for index, count in enumerate((FEW, MANY)):
                costs[index].append(1e6 / await rebuild_rate_of(projectors[index], count, times=1))
    few, many = (sorted(each)[1] for each in costs)
    return [_flat("rebuild, cost of an event, 80,000 against 20,000", many, few, "µs/event")]


def _flat(name: str, value: float, baseline: float, unit: str) -> Row:
    ratio = value / baseline
    return Row(name, value, unit, baseline, ratio, f"flat: ≤ {FLAT:g} × the smaller", ratio <= FLAT)
