"""Rows and position move together; a rebuild gives the same bytes; what cannot be applied stands still, by name."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nats
import pytest
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.embedded.postgres import PostgresServer
from gpuaas.common.envelope import Fact
from gpuaas.common.errors import Invalid, Misconfigured, Rejected, Unavailable
from gpuaas.common.log import Write
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.projections import Database, Projector, Rows, digest, insert, upsert
from gpuaas.common.reactions import Reaction, Reactor
from gpuaas.common.readers import Reader
from gpuaas.common.testing.counter import (
    COUNTER,
    RAISES,
    VALUES,
    CounterOpened,
    CounterRaised,
    CounterValues,
    Open,
    Raise,
    cause,
)
from gpuaas.common.testing.stack import LogAddress
from sqlalchemy import BigInteger, Column, MetaData, String, Table, Text, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB


@dataclass
class Place:
    log: JetStreamLog
    commands: Commands
    database: Database


@pytest.fixture
async def place(log_address: LogAddress, database_dsn: str) -> AsyncIterator[Place]:
    connection = await nats.connect(log_address.url)
    log = JetStreamLog(lambda: connection)
    database = Database(database_dsn)
    await database.open()
    yield Place(log, Commands(log, WallClock(), "testing", "dev"), database)
    await database.close()
    await connection.close()


class Running:
    """Readers that run while the block does."""

    def __init__(self, *readers: Reader) -> None:
        self._readers = readers

    async def __aenter__(self) -> None:
        self._tasks = [asyncio.create_task(reader.run()) for reader in self._readers]

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def eventually(true: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while True:
            answer = true()
            if await answer if isinstance(answer, Awaitable) else answer:
                return
            await asyncio.sleep(0.02)


async def some_counting(place: Place, counters: int = 5, raises: int = 8) -> int:
    last = 0
    for counter in range(counters):
        await place.commands.execute(COUNTER, "acme", f"c{counter}", Open("x"), cause())
        for by in range(1, raises + 1):
            last = (await place.commands.execute(COUNTER, "acme", f"c{counter}", Raise(by), cause())).position
    return last


async def test_a_question_can_ask_to_have_seen_a_position(place: Place) -> None:
    projector = Projector(CounterValues(), place.log, place.database)
    async with Running(projector):
        last = await some_counting(place)
        await projector.reached(last, 5)
        rows = await place.database.fetch(select(VALUES.c.counter, VALUES.c.value).order_by(VALUES.c.counter))
        assert [row["value"] for row in rows] == [36] * 5
        with pytest.raises(Unavailable, match="was asked for"):
            await projector.reached(last + 1, 0.2)


async def test_a_position_that_concerns_others_is_reached_too(place: Place) -> None:
    projector = Projector(CounterValues(), place.log, place.database)
    async with Running(projector):
        await some_counting(place, 1, 1)
        [other] = await place.log.append([Write("events.other.thing.acme.x", 0, "x", "gpuaas.other.thing.v1", b"{}")])
        await projector.reached(other, 5)


class Slow(CounterValues):
    """A projection whose transaction takes a while."""

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        await super().fold(rows, facts)
        await asyncio.sleep(0.3)


async def test_a_position_is_not_reached_while_its_rows_are_being_written(place: Place) -> None:
    projector = Projector(Slow(), place.log, place.database)
    async with Running(projector):
        await eventually(lambda: projector.caught_up)
        last = await some_counting(place, 1, 1)
        await projector.reached(last, 5)
        row = await place.database.fetch_one(select(func.max(VALUES.c.position).label("at")))
        assert row is not None
        assert row["at"] == last


async def test_two_instances_fold_each_event_once(place: Place) -> None:
    projectors = [Projector(CounterValues(), place.log, place.database) for _ in range(3)]
    async with Running(*projectors):
        last = await some_counting(place, 6, 10)
        for projector in projectors:
            await projector.reached(last, 10)
    total = await place.database.fetch_one(select(func.sum(RAISES.c.by).label("total")))
    assert total is not None
    assert total["total"] == 6 * 55
    assert all(projector.stopped is None for projector in projectors)


async def test_a_rebuild_gives_identical_tables_and_goes_on(place: Place) -> None:
    projection = CounterValues()
    projector = Projector(projection, place.log, place.database)
    async with Running(projector):
        await projector.reached(await some_counting(place), 5)
        before = await digest(place.database, projection)
        await place.database.execute(VALUES.update().values(value=VALUES.c.value + 1))
        assert await digest(place.database, projection) != before
        assert await projector.rebuild() == await place.log.last_position()
        assert await digest(place.database, projection) == before
        last = (await place.commands.execute(COUNTER, "acme", "c0", Raise(100), cause())).position
        await projector.reached(last, 5)
    row = await place.database.fetch_one(select(VALUES.c.value).where(VALUES.c.position == last))
    assert row is not None
    assert row["value"] == 136


async def test_what_cannot_be_applied_stops_the_projection_by_name(place: Place) -> None:
    projector = Projector(CounterValues(), place.log, place.database)
    last = await some_counting(place, 1, 2)
    bad = Write("events.testing.counter.acme.bad", 0, "bad", CounterRaised.TYPE, b'{"not": "an event"}')
    [poison] = await place.log.append([bad])
    later = (await place.commands.execute(COUNTER, "acme", "later", Open("x"), cause())).position
    async with Running(projector):
        await eventually(lambda: projector.stopped is not None)
        assert f"position {poison}" in str(projector.status().stopped)
        assert projector.position < poison
        with pytest.raises(Unavailable, match="stopped"):
            await projector.reached(later, 0.2)
    assert last < poison


async def test_an_unknown_version_of_a_known_fact_stops_the_projection_and_other_facts_do_not(place: Place) -> None:
    await some_counting(place, 1, 1)
    told = Write("events.testing.counter.acme.c0", 2, "x", "gpuaas.testing.counter-admired.v1", b"{}")
    [other] = await place.log.append([told])
    projector = Projector(CounterValues(), place.log, place.database)
    async with Running(projector):
        await projector.reached(other, 5)
        newer = Write("events.testing.counter.acme.c0", other, "y", "gpuaas.testing.counter-raised.v2", b"{}")
        [position] = await place.log.append([newer])
        await eventually(lambda: projector.stopped is not None)
        assert f"position {position}" in str(projector.stopped)
        assert "gpuaas.testing.counter-raised.v2 is a version that this reader does not know" in str(projector.stopped)
        assert projector.position < position


async def test_rows_of_another_log_are_refused(place: Place) -> None:
    projection = CounterValues()
    await place.database.open_checkpoint(projection.name, projection.tables, "another-log")
    with pytest.raises(Misconfigured, match="another-log"):
        await Projector(projection, place.log, place.database)._begin()


class Mirror(Reaction):
    """Every raise of a counter is repeated on its mirror."""

    name = "mirror"
    reads = (CounterOpened, CounterRaised)

    def __init__(self, commands: Commands, fail_once_at: int | None = None) -> None:
        self._commands = commands
        self._fail_at = fail_once_at
        self.handled = 0

    async def react(self, fact: Fact) -> None:
        self.handled += 1
        name = fact.subject.rsplit(".", 1)[1]
        if name.startswith("m-"):
            return
        why = Cause.of(fact, actor="testing", step="mirror")
        order = Raise(fact.event.by) if isinstance(fact.event, CounterRaised) else Open("mirror")
        try:
            await self._commands.execute(COUNTER, "acme", f"m-{name}", order, why)
        except Rejected:
            return
        if fact.position == self._fail_at:
            self._fail_at = None
            raise ConnectionError("the process died after its command was acknowledged")


async def test_a_reaction_that_dies_after_its_command_does_not_repeat_its_effect(place: Place) -> None:
    last = await some_counting(place, 3, 4)
    reaction = Mirror(place.commands, fail_once_at=last - 2)
    reactor = Reactor(reaction, place.log, place.database)
    async with Running(reactor):
        await reactor.reached(last, 10)
        await eventually(lambda: reactor.caught_up)
    assert reaction.handled > 15
    for counter in range(3):
        state, version = await place.commands.state(COUNTER, "acme", f"m-c{counter}")
        assert (state.value, version) == (10, 5)


async def test_a_reaction_starts_where_it_stood(place: Place) -> None:
    first = Mirror(place.commands)
    reactor = Reactor(first, place.log, place.database)
    async with Running(reactor):
        await reactor.reached(await some_counting(place, 1, 2), 5)
        await eventually(lambda: reactor.caught_up)
        end = await place.log.last_position()
        await reactor.reached(end, 5)
    second = Mirror(place.commands)
    async with Running(Reactor(second, place.log, place.database)):
        await some_counting(place, 0, 0)
        opened = await place.commands.execute(COUNTER, "acme", "late", Open("x"), cause())
        await eventually(lambda: second.handled >= 2)
    assert second.handled <= 3
    assert opened.position > end


class Broken(Reaction):
    name = "broken"
    reads = (CounterRaised,)

    async def react(self, fact: Fact) -> None:
        raise Rejected("nobody expected this refusal")


async def test_an_unexpected_refusal_stops_the_reaction_visibly(place: Place) -> None:
    await some_counting(place, 1, 1)
    reactor = Reactor(Broken(), place.log, place.database)
    async with Running(reactor):
        await eventually(lambda: reactor.stopped is not None)
    assert "nobody expected" in str(reactor.status().stopped)


class SlowToSwitch(Database):
    """A database in which the last step of a rebuild takes a while."""

    async def change_places(self, reader: str, tables: Sequence[Table], source: str, target: str, reached: int) -> bool:
        await asyncio.sleep(0.3)
        return await super().change_places(reader, tables, source, target, reached)


async def test_a_rebuild_is_under_way_until_the_tables_have_changed_places(place: Place, database_dsn: str) -> None:
    database = SlowToSwitch(database_dsn)
    await database.open()
    projector = Projector(CounterValues(), place.log, database)
    async with Running(projector):
        await projector.reached(await some_counting(place, 1, 1), 5)
        before = await oid_of(database, VALUES)
        rebuild = asyncio.create_task(projector.rebuild())
        await eventually(lambda: projector.rebuilding is not None)
        await eventually(lambda: projector.rebuilding is None)
        assert await oid_of(database, VALUES) != before
        await rebuild
    await database.close()


async def test_a_rebuild_never_takes_back_what_the_live_tables_were_told(place: Place, database_dsn: str) -> None:
    database = SlowToSwitch(database_dsn)
    await database.open()
    projector = Projector(CounterValues(), place.log, database)
    async with Running(projector):
        await projector.reached(await some_counting(place, 1, 1), 5)
        rebuild = asyncio.create_task(projector.rebuild())
        await eventually(lambda: projector.rebuilding == 1.0)
        last = (await place.commands.execute(COUNTER, "acme", "c0", Raise(100), cause())).position
        await projector.reached(last, 5)
        await rebuild
        await projector.reached(last, 5)
        row = await database.fetch_one(select(VALUES.c.value).where(VALUES.c.position == last))
        assert row is not None
        assert row["value"] == 101
    await database.close()


async def oid_of(database: Database, table: Table) -> int:
    async with database.reading() as rows:
        oid: int = await rows.fetchval("SELECT $1::regclass::oid", f"live.{table.name}")
    return oid


async def test_a_question_while_the_server_is_away_says_so() -> None:
    server = PostgresServer(Path(tempfile.mkdtemp(prefix="gpuaas-test-")), fsync=False)
    server.start()
    database = Database(server.dsn())
    await database.open()
    try:
        server.kill()
        with pytest.raises(Unavailable, match="PostgreSQL does not answer"):
            async with database.reading() as rows:
                await rows.fetchval("SELECT 1")
    finally:
        await database.close()
        server.remove()


async def test_a_rebuild_ends_although_the_newest_event_concerns_others(place: Place) -> None:
    projector = Projector(CounterValues(), place.log, place.database)
    async with Running(projector):
        await some_counting(place, 1, 1)
        [other] = await place.log.append([Write("events.other.thing.acme.x", 0, "x", "gpuaas.other.thing.v1", b"{}")])
        await projector.reached(other, 5)
        async with asyncio.timeout(60):
            await projector.rebuild()


async def test_having_waited_for_others_costs_no_new_reader(place: Place) -> None:
    projector = Projector(CounterValues(), place.log, place.database)
    async with Running(projector):
        await some_counting(place, 1, 1)
        [other] = await place.log.append([Write("events.other.thing.acme.x", 0, "x", "gpuaas.other.thing.v1", b"{}")])
        await projector.reached(other, 5)
        follower = projector._follower
        last = (
            await some_counting(place, 0, 0)
            or (await place.commands.execute(COUNTER, "acme", "later", Open("x"), cause())).position
        )
        await projector.reached(last, 5)
        assert projector._follower is follower


JSONS = Table("jsons_v1", MetaData(), Column("key", Text, primary_key=True), Column("value", JSONB))


async def test_json_columns_take_any_document(place: Place) -> None:
    documents: dict[str, object] = {"list": [1, [2, 3]], "empty": [], "dict": {"a": []}, "text": "x", "none": None}
    await place.database.open_checkpoint("jsons_v1", (JSONS,), "any")
    async with place.database.writing() as rows:
        await upsert(rows, JSONS, [{"key": key, "value": value} for key, value in documents.items()])
        await insert(rows, JSONS, [{"key": f"new-{key}", "value": value} for key, value in documents.items()])
    stored = {row["key"]: row["value"] for row in await place.database.fetch(select(JSONS))}
    assert stored == documents | {f"new-{key}": value for key, value in documents.items()}


async def test_a_value_that_fits_no_column_is_refused_and_leaves_the_connection_as_it_was(database_dsn: str) -> None:
    database = Database(database_dsn, pool_max=2)
    await database.open()
    await database.open_checkpoint("counter_values_v1", (VALUES,), "here")
    for odd, kind in ((2**63, BigInteger()), ("7", BigInteger()), (7, String()), ("a\0b", String())):
        column = VALUES.c.counter if isinstance(kind, String) else VALUES.c.position
        for ask in (database.fetch, database.fetch_one, database.execute):
            with pytest.raises(Invalid, match="too large, of another kind, or holds a NUL"):
                await ask(select(VALUES.c.value).where(column == literal(odd, kind)))
            async with database.reading() as rows:
                assert await rows.fetchval("SHOW transaction_isolation") == "repeatable read"
    await database.close()
