"""A long history begins at its snapshot, and nobody can tell but by the time it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import nats
import pytest
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Commands, Entity
from gpuaas.common.errors import Rejected, Unavailable
from gpuaas.common.log import EventLog
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.snapshots import SAID, SNAPSHOTS, DatabaseSnapshots, Keep, Snapshot, code_of
from gpuaas.common.tables import Database
from gpuaas.common.testing.counter import COUNTER, Counter, Open, Raise, cause
from gpuaas.common.testing.stack import TestStack
from sqlalchemy import delete, select, update

EVERY = 5
SUBJECT = "events.testing.counter.acme.c"


class CountedReads:
    """How often a state was read from a snapshot, and a decoder that counts."""

    def __init__(self) -> None:
        self.reads = 0

    def entity(self) -> Entity[Counter, Open | Raise]:
        return replace(COUNTER, keep=Keep(msgspec.json.encode, self._read, EVERY))

    def _read(self, state: bytes) -> Counter:
        self.reads += 1
        return msgspec.json.decode(state, type=Counter)


@pytest.fixture
async def log(stack: TestStack) -> AsyncIterator[EventLog]:
    async with stack.fresh_log() as address:
        connection = await nats.connect(address.url)
        yield JetStreamLog(lambda: connection)
        await connection.close()


@pytest.fixture
async def database(stack: TestStack, log: EventLog) -> AsyncIterator[Database]:
    async with stack.fresh_database() as dsn:
        database = Database(dsn)
        await database.open()
        await DatabaseSnapshots(database, log).make_tables()
        yield database
        await database.close()


def process(log: EventLog, database: Database) -> Commands:
    """What a new process of the service begins with."""
    return Commands(log, WallClock(), "testing", "dev", DatabaseSnapshots(database, log))


async def raised(commands: Commands, entity: Entity[Counter, Open | Raise], times: int, name: str = "r") -> None:
    for number in range(times):
        await commands.execute(entity, "acme", "c", Raise(1), cause(f"{name}-{number}"))
    await commands.settle()


async def test_a_new_process_begins_at_the_snapshot_and_knows_every_cause(log: EventLog, database: Database) -> None:
    kept = CountedReads()
    entity, first = kept.entity(), process(log, database)
    await first.execute(entity, "acme", "c", Open("a"), cause("open"))
    await raised(first, entity, 3 * EVERY)
    second = process(log, database)
    assert await second.state(entity, "acme", "c") == await first.state(entity, "acme", "c")
    assert kept.reads == 1
    for number in (0, EVERY, 3 * EVERY - 1):
        again = await second.execute(entity, "acme", "c", Raise(1), cause(f"r-{number}"))
        assert (again.repeated, again.position) == (True, number + 2)
    assert await log.last_position() == 3 * EVERY + 1
    with pytest.raises(Rejected):
        await second.execute(entity, "acme", "c", Open("a"), cause())
    await raised(second, entity, 2 * EVERY, "more")
    third = process(log, database)
    assert await third.state(entity, "acme", "c") == (Counter(True, 5 * EVERY), 5 * EVERY + 1)
    assert (await third.execute(entity, "acme", "c", Raise(1), cause("r-0"))).repeated


async def test_processes_that_take_turns_leave_whole_snapshots(log: EventLog, database: Database) -> None:
    kept = CountedReads()
    entity = kept.entity()
    one, two = process(log, database), process(log, database)
    await one.execute(entity, "acme", "c", Open("a"), cause("open"))
    for turn in range(4):
        await raised(one, entity, EVERY - 1, f"one-{turn}")
        await raised(two, entity, EVERY + 2, f"two-{turn}")
    before = kept.reads
    state, version = await process(log, database).state(entity, "acme", "c")
    assert (state.value, version) == (4 * (2 * EVERY + 1), 4 * (2 * EVERY + 1) + 1)
    assert kept.reads == before + 1


@pytest.mark.parametrize(
    "spoil",
    [
        update(SNAPSHOTS).values(code="of another version of the code"),
        update(SNAPSHOTS).values(position=1),
        update(SNAPSHOTS).values(position=10_000),
        update(SNAPSHOTS).values(version=SNAPSHOTS.c.version - 1),
        delete(SAID),
    ],
    ids=["other code", "other event", "beyond the log", "other count", "ids missing"],
)
async def test_a_snapshot_that_may_not_be_believed_costs_only_time(
    log: EventLog, database: Database, spoil: object
) -> None:
    kept = CountedReads()
    entity, first = kept.entity(), process(log, database)
    await first.execute(entity, "acme", "c", Open("a"), cause("open"))
    await raised(first, entity, 2 * EVERY)
    await database.execute(spoil)  # type: ignore[arg-type]
    assert await process(log, database).state(entity, "acme", "c") == (Counter(True, 2 * EVERY), 2 * EVERY + 1)
    assert kept.reads == 0


async def test_commands_need_no_database(log: EventLog, database: Database) -> None:
    entity, commands = CountedReads().entity(), process(log, database)
    await database.close()
    await commands.execute(entity, "acme", "c", Open("a"), cause("open"))
    await raised(commands, entity, 2 * EVERY)
    assert (await commands.state(entity, "acme", "c"))[0].value == 2 * EVERY


async def test_what_could_not_be_kept_is_kept_with_the_next(log: EventLog, database: Database) -> None:
    class SometimesAway(DatabaseSnapshots):
        away = True

        async def save(self, snapshot: Snapshot) -> None:
            if self.away:
                raise Unavailable("PostgreSQL does not answer")
            await super().save(snapshot)

    kept, snapshots = CountedReads(), SometimesAway(database, log)
    entity = kept.entity()
    commands = Commands(log, WallClock(), "testing", "dev", snapshots)
    await commands.execute(entity, "acme", "c", Open("a"), cause("open"))
    await raised(commands, entity, EVERY + 1, "away")
    snapshots.away = False
    await raised(commands, entity, EVERY + 1, "back")
    assert (await process(log, database).state(entity, "acme", "c"))[0].value == 2 * EVERY + 2
    assert kept.reads == 1
    row = await database.fetch_one(select(SNAPSHOTS).where(SNAPSHOTS.c.subject == SUBJECT))
    assert row is not None
    assert row["version"] > EVERY


def test_the_code_is_of_the_domain_and_the_contracts() -> None:
    assert code_of("allocations") != code_of("billing")
