"""What the bench puts on real logs and folds from them. One law: the events are real, only their number is unusual."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from statistics import median
from typing import Any, Final

import nats
from gpuaas.common.clock import WallClock, rfc3339
from gpuaas.common.commands import Cause, Commands, Entity, Order
from gpuaas.common.decider import Decider
from gpuaas.common.envelope import Envelope, data_of, encode, subject_of
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.ids import new_id
from gpuaas.common.log import BATCH_MAX, EventLog, Write
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.projections import Database, Projection, Projector
from gpuaas.common.testing.counter import CounterOpened
from gpuaas.common.testing.stack import TestStack

CATCH_UP_S: Final = 120.0


@asynccontextmanager
async def fresh_log(stack: TestStack) -> AsyncIterator[JetStreamLog]:
    """An empty log on a connection of its own."""
    async with stack.fresh_log() as address, log_at(address.url) as log:
        yield log


@asynccontextmanager
async def log_at(nats_url: str) -> AsyncIterator[JetStreamLog]:
    """A log that others use too, on a connection of its own."""
    connection = await nats.connect(nats_url)
    try:
        yield JetStreamLog(lambda: connection)
    finally:
        await connection.close()


@asynccontextmanager
async def open_database(stack: TestStack) -> AsyncIterator[Database]:
    """An empty database, connected."""
    async with stack.fresh_database() as dsn:
        database = Database(dsn)
        await database.open()
        try:
            yield database
        finally:
            await database.close()


async def fill(log: EventLog, count: int, tenants: Sequence[str] = ("acme",)) -> None:
    """`count` opened counters, one event each, the tenants taking turns; as many to an append as one takes."""
    template = encode(
        Envelope(
            specversion="1.0",
            id="the-event",
            source="gpuaas/testing",
            type=CounterOpened.TYPE,
            subject="counter/the-tenant/the-counter",
            time=rfc3339(WallClock().now()),
            datacontenttype="application/json",
            dataschema=CounterOpened.SCHEMA,
            tenantid="the-tenant",
            actor="tester",
            actorkind="user",
            causationid="the-event",
            correlationid="the-event",
            sequence="0000000001",
            profile="dev",
            data=data_of(CounterOpened(name="x")),
        )
    )
    run = new_id()[-8:]
    for start in range(0, count, BATCH_MAX):
        writes: list[Write] = []
        for number in range(start, min(count, start + BATCH_MAX)):
            tenant, name, event_id = tenants[number % len(tenants)], f"c{run}-{number}", new_id()
            payload = template.replace(b"the-tenant", tenant.encode()).replace(b"the-counter", name.encode())
            payload = payload.replace(b"the-event", event_id.encode())
            subject = subject_of("testing", "counter", tenant, name)
            writes.append(Write(subject, 0, event_id, CounterOpened.TYPE, payload))
        await log.append(writes)


class _Anything(Vocabulary):
    """Reads every event as nothing: who only tells keeps no state."""

    def read(self, event_type: str, data: bytes) -> Event:
        return Event()


async def tell_all(log: EventLog, told: Iterable[tuple[Event, str, str]]) -> int:
    """Append (event, tenant, id) as each event's owner would, one event to an entity; the last position."""
    commands: dict[str, Commands] = {}
    position = 0
    for service, orders in _in_batches(told):
        speaker = commands.setdefault(service, Commands(log, WallClock(), service, "dev"))
        cause = Cause(id=new_id(), actor=service, actor_kind="service")
        position = (await speaker.execute_together(orders, cause, fresh=True))[-1].position
    return position


def _in_batches(told: Iterable[tuple[Event, str, str]]) -> Iterable[tuple[str, list[Order[None, Sequence[Event]]]]]:
    """Batches of one service's events each, in the order given."""
    spoken: Decider[None, Sequence[Event]] = Decider(None, lambda command, _: command, lambda state, _: state)
    service, orders = "", list[Order[None, Sequence[Event]]]()
    for event, tenant_id, entity_id in told:
        if orders and (service != event.SERVICE or len(orders) == BATCH_MAX):
            yield service, orders
            orders = []
        service = event.SERVICE
        orders.append(Order(Entity(service, event.ENTITY, spoken, _Anything()), tenant_id, entity_id, [event]))
    if orders:
        yield service, orders


@asynccontextmanager
async def kept(projection: Projection, log: EventLog, database: Database) -> AsyncIterator[Projector]:
    """The projection, up to the log's end, and following it until the block ends."""
    projector = Projector(projection, log, database)
    reading = asyncio.create_task(projector.run())
    try:
        await projector.reached(await log.last_position(), CATCH_UP_S)
        yield projector
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def rebuild_rate_of(projector: Projector, events: int, times: int = 3) -> float:
    """Events per second of a rebuild, the median of some."""
    rates: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        await projector.rebuild()
        rates.append(events / (time.perf_counter() - began))
    return median(rates)


async def copy_rate(database: Database, columns: str, rows: Sequence[tuple[Any, ...]]) -> float:
    """Rows per second of COPY into a plain new table, a thousand to a transaction.

    Args:
        columns: as CREATE TABLE wants them: `position bigint PRIMARY KEY, payload bytea`.
    """
    name = f"copied_{new_id()[-12:]}"
    async with database.writing() as connection:
        await connection.execute(f"CREATE TABLE {name} ({columns})")
    names = [column.split()[0] for column in columns.split(", ")]
    began = time.perf_counter()
    for start in range(0, len(rows), 1_000):
        async with database.writing() as connection:
            await connection.copy_records_to_table(name, records=rows[start : start + 1_000], columns=names)
    return len(rows) / (time.perf_counter() - began)
