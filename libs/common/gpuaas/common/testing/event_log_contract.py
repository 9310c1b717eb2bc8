"""What every `EventLog` must keep: inherit this and give `log`. One law: a log that fails here is not a log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from gpuaas.common.envelope import Envelope, Recorded, encode
from gpuaas.common.errors import Conflict, Invalid, TooLarge
from gpuaas.common.ids import new_id
from gpuaas.common.log import BATCH_MAX, Batch, EventLog, Write

A = "events.testing.thing.acme.a"
B = "events.testing.thing.acme.b"
OTHER = "events.testing.other.acme.a"


def write(subject: str, expected: int | None, event_id: str | None = None, text: str = "hello") -> Write:
    """A well-formed event to append."""
    chosen = event_id or new_id()
    envelope = Envelope(
        specversion="1.0",
        id=chosen,
        source="gpuaas/testing",
        type="gpuaas.testing.thing-said.v1",
        subject=subject,
        time="2026-01-01T00:00:00.000000Z",
        datacontenttype="application/json",
        dataschema="testing/thing-said.v1.json",
        tenantid="acme",
        actor="tester",
        actorkind="user",
        causationid=chosen,
        correlationid=chosen,
        sequence="1",
        profile="dev",
        data=msgspec.Raw(msgspec.json.encode({"text": text})),
    )
    return Write(subject, expected, chosen, envelope.type, encode(envelope))


async def take(log: EventLog, subjects: Sequence[str], after: int, count: int) -> list[Recorded]:
    """The next `count` events of a follower, or what came within five seconds."""
    follower = log.follow(subjects, after)
    found: list[Recorded] = []
    try:
        async with asyncio.timeout(5):
            async for batch in follower.batches():
                found += batch.events
                if len(found) >= count:
                    return found
    except TimeoutError:
        return found
    finally:
        await follower.close()
    return found


class EventLogContract:
    """Inherit and define a fixture `log` that gives an empty log."""

    async def test_positions_count_up_from_one(self, log: EventLog) -> None:
        first = await log.append([write(A, 0)])
        second = await log.append([write(B, 0)])
        third = await log.append([write(A, first[0])])
        assert first + second + third == [1, 2, 3]
        assert await log.last_position() == 3

    async def test_the_slower_writer_is_told(self, log: EventLog) -> None:
        [position] = await log.append([write(A, 0)])
        with pytest.raises(Conflict):
            await log.append([write(A, 0)])
        await log.append([write(A, position)])
        with pytest.raises(Conflict):
            await log.append([write(A, position)])

    async def test_of_many_writers_at_one_position_one_wins(self, log: EventLog) -> None:
        results = await asyncio.gather(*(log.append([write(A, 0)]) for _ in range(20)), return_exceptions=True)
        assert sum(isinstance(result, list) for result in results) == 1
        assert sum(isinstance(result, Conflict) for result in results) == 19
        assert len(await log.history(A)) == 1

    async def test_bytes_come_back_as_they_went_in(self, log: EventLog) -> None:
        sent = write(A, 0, text="Grüße, 世界 \u0000")
        await log.append([sent])
        [stored] = await log.history(A)
        assert stored.payload == sent.payload
        assert (stored.subject, stored.type, stored.position) == (A, sent.event_type, 1)
        assert (await log.at(1)) == stored

    async def test_several_events_are_appended_together_across_subjects(self, log: EventLog) -> None:
        positions = await log.append([write(A, 0), write(B, 0), write(A, None)])
        assert positions == [1, 2, 3]
        assert [event.position for event in await log.history(A)] == [1, 3]
        assert [event.position for event in await log.history(B)] == [2]

    async def test_one_stale_guard_refuses_the_whole_batch(self, log: EventLog) -> None:
        await log.append([write(B, 0)])
        with pytest.raises(Conflict):
            await log.append([write(A, 0), write(B, 0)])
        assert await log.history(A) == []
        assert await log.last_position() == 1
        assert await log.append([write(A, 0), write(B, 1)]) == [2, 3]

    async def test_an_append_must_say_what_it_was_decided_on(self, log: EventLog) -> None:
        with pytest.raises(Invalid):
            await log.append([])
        with pytest.raises(Invalid):
            await log.append([write(A, None)])
        with pytest.raises(Invalid):
            await log.append([write(A, 0), write(A, 0)])
        with pytest.raises(Invalid):
            await log.append([write("events.testing.thing.>", 0)])
        assert await log.last_position() == 0

    async def test_a_batch_has_a_limit(self, log: EventLog) -> None:
        with pytest.raises(TooLarge):
            await log.append([write(f"{A}{number}", 0) for number in range(BATCH_MAX + 1)])

    async def test_history_begins_after_a_position(self, log: EventLog) -> None:
        last = 0
        for _ in range(5):
            [last] = await log.append([write(A, last)])
            await log.append([write(f"{B}{last}", 0)])
        positions = [event.position for event in await log.history(A)]
        assert positions == [1, 3, 5, 7, 9]
        assert [event.position for event in await log.history(A, after=5)] == [7, 9]
        assert [event.position for event in await log.history(A, after=1, limit=2)] == [3, 5]
        assert await log.history("events.testing.thing.acme.none") == []

    async def test_a_long_history_comes_back_whole(self, log: EventLog) -> None:
        count = 1_300
        first = [write(A, 0)] + [write(A, None) for _ in range(count // 2 - 1)]
        positions = await log.append(first)
        await log.append([write(A, positions[-1])] + [write(A, None) for _ in range(count // 2 - 1)])
        assert [event.position for event in await log.history(A)] == list(range(1, count + 1))

    async def test_a_follower_gets_its_subjects_in_order(self, log: EventLog) -> None:
        for number in range(10):
            await log.append([write(f"{A}{number}", 0)])
            await log.append([write(f"{OTHER}{number}", 0)])
        found = await take(log, ["events.testing.thing.>"], 0, 10)
        assert [event.position for event in found] == list(range(1, 21, 2))
        both = await take(log, ["events.testing.thing.>", "events.testing.other.>"], 4, 16)
        assert [event.position for event in both] == list(range(5, 21))

    async def test_a_follower_hears_what_comes_later(self, log: EventLog) -> None:
        waiting = asyncio.create_task(take(log, ["events.>"], 0, 3))
        await asyncio.sleep(0.05)
        for number in range(3):
            await log.append([write(f"{A}{number}", 0)])
        assert [event.position for event in await waiting] == [1, 2, 3]

    async def test_a_follower_of_an_empty_log_is_caught_up(self, log: EventLog) -> None:
        await log.append([write(OTHER, 0)])
        batch = await self._first(log, ["events.testing.thing.>"])
        assert batch is None or (batch.caught_up and not batch.events)

    async def test_settling_tells_that_nothing_more_concerns_a_reader(self, log: EventLog) -> None:
        await log.append([write(A, 0)])
        follower = log.follow(["events.testing.thing.>"], 0)
        batches = follower.batches()
        while (await anext(batches)).seen < 1:
            pass
        await log.append([write(OTHER, 0)])
        await log.append([write(f"{OTHER}x", 0)])
        assert await follower.settle() == 3
        await log.append([write(B, 0)])
        assert await follower.settle() < 4
        await follower.close()

    async def test_a_log_has_an_incarnation(self, log: EventLog) -> None:
        assert await log.incarnation() == await log.incarnation() != ""

    async def test_a_log_that_only_grows_keeps_its_imprint(self, log: EventLog) -> None:
        await log.append([write(A, 0)])
        before = await log.imprint()
        await log.append([write(B, 0)])
        assert await log.imprint() == before != ""

    async def test_no_event_stands_beyond_the_end(self, log: EventLog) -> None:
        assert await log.at(1) is None

    async def _first(self, log: EventLog, subjects: Sequence[str]) -> Batch | None:
        follower = log.follow(subjects, 0)
        try:
            async with asyncio.timeout(1):
                async for batch in follower.batches():
                    return batch
        except TimeoutError:
            return None
        finally:
            await follower.close()
        return None
