"""Both logs keep the same promises; what only the real one can break is tested below them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import nats
import pytest
from gpuaas.common.log import EventLog
from gpuaas.common.logs.follow import PULL_BYTES
from gpuaas.common.logs.headers import parse_header_lines
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.testing.event_log_contract import A, B, EventLogContract, take, write
from gpuaas.common.testing.stack import LogAddress
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg


@pytest.fixture
async def jetstream(log_address: LogAddress) -> AsyncIterator[JetStreamLog]:
    connection = await nats.connect(log_address.url)
    yield JetStreamLog(lambda: connection)
    await connection.close()


class TestMemoryLog(EventLogContract):
    @pytest.fixture
    def log(self) -> EventLog:
        return MemoryLog()


class TestJetStreamLog(EventLogContract):
    @pytest.fixture
    def log(self, jetstream: JetStreamLog) -> EventLog:
        return jetstream

    async def test_the_broker_proves_that_it_checks_guards(self, jetstream: JetStreamLog) -> None:
        await jetstream.prove_guards("testing")
        assert await jetstream.last_position() == 0

    async def test_a_repeat_after_an_unknown_outcome_finds_what_was_written(self, jetstream: JetStreamLog) -> None:
        mine, theirs = write(A, 0), write(B, 0)
        await jetstream.append([mine])
        assert await jetstream._outcome([mine]) == [1]
        assert await jetstream._outcome([theirs]) is None
        with pytest.raises(Exception, match="moved on"):
            await jetstream._outcome([write(A, 0)])

    async def test_many_events_are_followed_without_gap(self, jetstream: JetStreamLog) -> None:
        for block in range(5):
            await jetstream.append([write(f"{A}-{block}-{number}", 0) for number in range(1_000)])
        found = await take(jetstream, ["events.testing.thing.>"], 0, 5_000)
        assert [event.position for event in found] == list(range(1, 5_001))

    async def test_a_reader_of_large_events_asks_for_few_at_once(self, jetstream: JetStreamLog) -> None:
        payload = b"x" * 400_000
        for number in range(150):
            await jetstream.append([replace(write(f"{A}-{number}", 0), payload=payload)])
        asked: list[int] = []

        async def see(message: Msg) -> None:
            asked.append(json.loads(message.data)["batch"])

        spy = await jetstream.wire.client.subscribe("$JS.API.CONSUMER.MSG.NEXT.>", cb=see)
        found = await take(jetstream, ["events.testing.thing.>"], 0, 150)
        await spy.unsubscribe()
        assert [event.position for event in found] == list(range(1, 151))
        assert max(asked) * len(payload) <= 3 * PULL_BYTES
        assert asked[-1] * len(payload) <= PULL_BYTES


LINES = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.tuples(st.sampled_from([b"ce-type", b" A b", b"Nats ", b"", b"x\x1fy"]), st.binary(max_size=20)).map(
            b":".join
        ),
    ),
    max_size=6,
)


@given(LINES)
def test_headers_are_read_as_the_library_reads_them(lines: list[bytes]) -> None:
    raw = b"\r\n".join(lines)
    assert parse_header_lines(raw) == Client._parse_header_lines(raw)
