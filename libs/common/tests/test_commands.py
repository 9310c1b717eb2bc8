"""A command speaks once per cause, decides on what is true, and appends all or nothing: on both logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import nats
import pytest
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Commands, Order
from gpuaas.common.errors import Invalid, Rejected, Unreadable
from gpuaas.common.log import EventLog, Write
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.testing.counter import COUNTER, CounterOpened, CounterRaised, Open, Raise, cause
from gpuaas.common.testing.stack import TestStack


@pytest.fixture(params=["memory", "jetstream"])
async def log(request: pytest.FixtureRequest, stack: TestStack) -> AsyncIterator[EventLog]:
    if request.param == "memory":
        yield MemoryLog()
        return
    async with stack.fresh_log() as address:
        connection = await nats.connect(address.url)
        yield JetStreamLog(lambda: connection)
        await connection.close()


def commands(log: EventLog) -> Commands:
    return Commands(log, WallClock(), "testing", "dev")


async def test_a_command_becomes_events_in_order(log: EventLog) -> None:
    ours = commands(log)
    opened = await ours.execute(COUNTER, "acme", "c", Open("visits"), cause(), fresh=True)
    raised = await ours.execute(COUNTER, "acme", "c", Raise(2), cause())
    assert opened.events == (CounterOpened(name="visits"),)
    assert (raised.position, raised.state.value, raised.repeated) == (2, 2, False)
    envelopes = [event.envelope() for event in await log.history("events.testing.counter.acme.c")]
    assert [envelope.version for envelope in envelopes] == [1, 2]
    assert {envelope.tenantid for envelope in envelopes} == {"acme"}
    assert {envelope.source for envelope in envelopes} == {"gpuaas/testing"}


async def test_a_repeated_cause_says_nothing_new(log: EventLog) -> None:
    ours, why = commands(log), cause("request-1")
    first = await ours.execute(COUNTER, "acme", "c", Open("a"), why)
    again = await ours.execute(COUNTER, "acme", "c", Open("a"), why)
    elsewhere = await commands(log).execute(COUNTER, "acme", "c", Open("a"), why, fresh=True)
    assert (again.repeated, again.position, again.events) == (True, first.position, first.events)
    assert (elsewhere.repeated, elsewhere.position, elsewhere.events) == (True, first.position, first.events)
    assert await log.last_position() == 1


async def test_one_cause_may_order_several_things(log: EventLog) -> None:
    ours, why = commands(log), cause()
    await ours.execute(COUNTER, "acme", "c", Open("a"), why)
    await ours.execute(COUNTER, "acme", "c", Raise(1), why.at("first"))
    await ours.execute(COUNTER, "acme", "c", Raise(1), why.at("second"))
    outcome = await ours.execute(COUNTER, "acme", "c", Raise(1), why.at("second"))
    assert (outcome.state.value, outcome.repeated) == (2, True)


async def test_a_refusal_is_checked_against_what_is_true_now(log: EventLog) -> None:
    ours, theirs = commands(log), commands(log)
    await ours.execute(COUNTER, "acme", "c", Open("a"), cause())
    await theirs.execute(COUNTER, "acme", "c", Raise(5), cause())
    outcome = await ours.execute(COUNTER, "acme", "c", Raise(1, only_at=5), cause())
    assert outcome.state.value == 6
    with pytest.raises(Rejected):
        await ours.execute(COUNTER, "acme", "c", Raise(1, only_at=5), cause())


async def test_writers_in_a_race_all_get_their_turn(log: EventLog) -> None:
    await commands(log).execute(COUNTER, "acme", "c", Open("a"), cause())
    writers = [commands(log) for _ in range(6)]
    await asyncio.gather(
        *(writer.execute(COUNTER, "acme", "c", Raise(1), cause()) for writer in writers for _ in range(5))
    )
    state, version = await commands(log).state(COUNTER, "acme", "c")
    assert (state.value, version) == (30, 31)


async def test_two_entities_change_together_or_not_at_all(log: EventLog) -> None:
    ours = commands(log)
    await ours.execute(COUNTER, "acme", "a", Open("a"), cause())
    orders = [Order(COUNTER, "acme", "a", Raise(3)), Order(COUNTER, "acme", "b", Raise(3))]
    with pytest.raises(Rejected):
        await ours.execute_together(orders, cause())
    assert (await ours.state(COUNTER, "acme", "a"))[0].value == 0
    why = cause()
    both = [Order(COUNTER, "acme", "a", Raise(3)), Order(COUNTER, "acme", "b", Open("b"))]
    done = await ours.execute_together(both, why)
    again = await commands(log).execute_together(both, why, fresh=True)
    assert [outcome.position for outcome in done] == [2, 3]
    assert [(outcome.position, outcome.events, outcome.repeated) for outcome in again] == [
        (outcome.position, outcome.events, True) for outcome in done
    ]
    with pytest.raises(Invalid):
        await ours.execute_together([both[0], both[0]], cause())


async def test_a_name_that_would_change_a_subject_is_refused(log: EventLog) -> None:
    for name in ("", "a.b", "*", ">", "A", "a b", "x" * 64, "-a"):
        with pytest.raises(Invalid):
            await commands(log).execute(COUNTER, "acme", name, Open("a"), cause())
    assert await log.last_position() == 0


async def test_a_hole_in_a_history_stops_its_reader(log: EventLog) -> None:
    ours = commands(log)
    await ours.execute(COUNTER, "acme", "c", Open("a"), cause())
    [stored] = await log.history("events.testing.counter.acme.c")
    forged = Write(stored.subject, 1, "x", CounterRaised.TYPE, stored.payload)
    await log.append([forged])
    with pytest.raises(Unreadable, match="an event is missing"):
        await commands(log).state(COUNTER, "acme", "c")
