"""A server that passes over what it cannot read. One law: nobody folds a history with a hole in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import nats
import pytest
from gpuaas.common.embedded.nats_server import NatsServer, NatsUser
from gpuaas.common.embedded.secrets_file import new_secret
from gpuaas.common.envelope import Recorded
from gpuaas.common.errors import Unavailable
from gpuaas.common.log import Batch, EventLog, Follower
from gpuaas.common.logs import jetstream
from gpuaas.common.logs.chain import Delivered, Missed, missing_before
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.provision import provision_log
from gpuaas.common.readers import Reader
from gpuaas.common.testing.event_log_contract import A, B, take, write
from gpuaas.common.testing.running import eventually
from hypothesis import given
from hypothesis import strategies as st

ROTTEN = 3


@pytest.fixture
async def sick_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JetStreamLog]:
    """Two histories, A: 1 2 3 5 and B: 4 6, on a server whose copy of 3 has one bit flipped."""
    monkeypatch.setattr(jetstream, "BEHIND_TRIES", 2)
    server = NatsServer(tmp_path, {"CELL": {"admin": NatsUser(new_secret())}})
    server.start()
    connection = await nats.connect(server.url("admin"))
    await provision_log(connection)
    log = JetStreamLog(lambda: connection)
    for subject, expected, text in ((A, 0, "x"), (A, 1, "x"), (A, 2, "rotten"), (B, 0, "x"), (A, 3, "x"), (B, 4, "x")):
        await log.append([write(subject, expected, text=text)])
    await connection.close()
    server.stop()
    for block in tmp_path.rglob("EVENTS/msgs/*.blk"):
        content = bytearray(block.read_bytes())
        if (found := content.find(b"rotten")) >= 0:
            content[found] ^= 1
            block.write_bytes(content)
    server.start()
    again = await nats.connect(server.url("admin"))
    try:
        yield JetStreamLog(lambda: again)
    finally:
        await again.close()
        server.stop()


async def test_a_history_with_a_hole_is_not_given(sick_log: JetStreamLog) -> None:
    with pytest.raises(Unavailable, match=f"position {ROTTEN} of {A}: it is damaged"):
        await sick_log.history(A)
    assert [each.position for each in await sick_log.history(A, after=ROTTEN)] == [5]
    assert [each.position for each in await sick_log.history(B)] == [4, 6]


@pytest.mark.parametrize(
    ("subjects", "reads", "stops"), [(["events.testing.>"], [1, 2, 4], True), ([B], [4, 6], False)]
)
async def test_a_reader_stops_where_the_hole_shows(
    sick_log: JetStreamLog, subjects: list[str], reads: list[int], stops: bool
) -> None:
    reader = Tally(sick_log, lambda after: sick_log.follow(subjects, after))
    running = asyncio.create_task(reader.run())
    try:
        await eventually(lambda: reader.stopped or reader.applied == reads)
        assert (reader.stopped is not None) is stops
        assert set(reader.applied) <= set(reads), "what follows the hole is not applied"
    finally:
        running.cancel()


async def test_both_logs_say_on_what_an_event_was_decided(sick_log: JetStreamLog) -> None:
    memory = MemoryLog()
    logs: list[EventLog] = [memory, sick_log]
    for log in logs:
        other = A.replace("acme", "kyoto")
        await log.append([write(other, 0), write(other, None), write(B.replace("acme", "kyoto"), 0)])
        assert [each.decided_on for each in await log.history(other)] == [0, None]
    assert [each.decided_on for each in await take(sick_log, [B], 0, 2)] == [0, 4]


class Tally(Reader):
    """Applies to a list; its position is what it holds."""

    def __init__(self, log: EventLog, follow: Callable[[int], Follower]) -> None:
        super().__init__("tally", log)
        self.applied: list[int] = []
        self.begun = 0
        self._given = follow

    async def _begin(self) -> int:
        self.begun += 1
        return self.applied[-1] if self.applied else 0

    def _follow(self, after: int) -> Follower:
        return self._given(after)

    async def _apply(self, batch: Batch, after: int) -> None:
        self.applied += [event.position for event in batch.events]


class Told:
    """Gives what it was told to give, an event a batch."""

    def __init__(self, events: Sequence[Recorded], after: int) -> None:
        self._events = [event for event in events if event.position > after]

    async def batches(self) -> AsyncIterator[Batch]:
        for event in self._events:
            yield Batch(events=[event], seen=event.position, caught_up=False)
        await asyncio.Event().wait()

    async def settle(self) -> int:
        return 0

    async def close(self) -> None: ...


async def test_a_reader_that_has_read_past_a_hole_does_not_go_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuaas.common.readers.RETRY_S", 0.01)
    log = MemoryLog()
    for subject, expected in ((A, 0), (B, 0), (A, 1)):
        await log.append([write(subject, expected)])
    without_the_first = [event for at in (2, 3) if (event := await log.at(at))]
    reader = Tally(log, lambda after: Told(without_the_first, after))
    running = asyncio.create_task(reader.run())
    try:
        await eventually(lambda: reader.begun > 3)
        assert reader.applied == [2], "what follows the hole is never applied, however often it begins again"
        assert reader.stopped is not None
        assert "position 1" in reader.stopped
    finally:
        running.cancel()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.data())
def test_exactly_the_events_with_a_successor_are_missed(subjects: list[int], data: st.DataObject) -> None:
    last: dict[int, int] = {}
    log: list[Recorded] = []
    for position, subject in enumerate(subjects, start=1):
        template = write(f"events.testing.thing.acme.s{subject}", 0)
        log.append(_recorded(position, template.subject, last.get(subject, 0)))
        last[subject] = position
    after = data.draw(st.integers(0, len(log)))
    lost = data.draw(st.integers(1, len(log)))
    left = [event for event in log if event.position > after and event.position != lost]
    shows = lost > after and lost != last[subjects[lost - 1]]
    delivered = Delivered(after)
    noticed = 0
    try:
        delivered.take(left[: len(left) // 2])
        delivered.take(left[len(left) // 2 :])
    except Missed as hole:
        noticed = hole.position
    assert noticed == (lost if shows else 0)
    history = [event for event in left if event.subject == log[lost - 1].subject]
    assert missing_before(history, after) == (lost if shows else 0)


def _recorded(position: int, subject: str, decided_on: int) -> Recorded:
    return Recorded(position, subject, "t", b"{}", datetime(2026, 1, 1, tzinfo=UTC), decided_on)
