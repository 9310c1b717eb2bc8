"""What only a cluster shows: ids are looked at before guards, and replicas may be behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import nats
import pytest
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Commands
from gpuaas.common.embedded.nats_server import NatsServer
from gpuaas.common.errors import Unavailable
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.provision import LogSettings, provision_log
from gpuaas.common.settings import login_of
from gpuaas.common.testing.counter import COUNTER, Open, Raise, cause
from gpuaas.common.testing.event_log_contract import A, write
from gpuaas.common.testing.stack import nats_cluster
from nats.aio.client import Client

pytestmark = pytest.mark.slow


@pytest.fixture
async def cluster() -> AsyncIterator[list[NatsServer]]:
    with nats_cluster(3) as servers:
        yield servers


async def _connected(servers: list[NatsServer]) -> Client:
    connection = await nats.connect([server.url("admin") for server in servers], max_reconnect_attempts=-1)
    for _ in range(100):
        try:
            await provision_log(connection, LogSettings(replicas=3))
            return connection
        except Exception:  # noqa: BLE001 - the cluster elects its leader meanwhile
            await asyncio.sleep(0.2)
    raise AssertionError("the cluster did not take the stream within 20 s")


async def test_a_repeat_at_a_stale_instance_is_recognised(cluster: list[NatsServer]) -> None:
    connection = await _connected(cluster)
    log = JetStreamLog(lambda: connection)
    ours, theirs = (Commands(log, WallClock(), "testing", "dev") for _ in range(2))
    await ours.execute(COUNTER, "acme", "c", Open("a"), cause())
    await ours.execute(COUNTER, "acme", "c", Raise(1), cause())
    await theirs.execute(COUNTER, "acme", "c", Raise(10), cause())
    key = cause("the client's command")
    first = await theirs.execute(COUNTER, "acme", "c", Raise(100), key)
    again = await ours.execute(COUNTER, "acme", "c", Raise(100), key)
    assert (again.repeated, again.position, again.state.value) == (True, first.position, 111)
    last = await ours.execute(COUNTER, "acme", "c", Raise(1000), cause())
    assert last.state.value == 1111
    state, version = await Commands(log, WallClock(), "testing", "dev").state(COUNTER, "acme", "c")
    assert (state.value, version) == (1111, 5)
    await connection.close()


async def test_a_reader_on_a_replica_that_is_behind_misses_nothing(cluster: list[NatsServer]) -> None:
    connection = await _connected(cluster)
    log = JetStreamLog(lambda: connection)
    last = 0
    for number in range(50):
        [last] = await log.append([write(f"{A}{number}", 0)])
    follower_pid = await _a_follower(cluster, log)
    os.kill(follower_pid, signal.SIGSTOP)
    for number in range(50, 400):
        [last] = await log.append([write(f"{A}{number}", 0)])
    os.kill(follower_pid, signal.SIGCONT)
    readers = [log.follow(["events.testing.thing.>"], last - 1) for _ in range(40)]

    async def first_seen(index: int) -> list[int]:
        found: list[int] = []
        async for batch in readers[index].batches():
            found += [event.position for event in batch.events]
            if batch.seen >= last:
                return found
        return found

    async with asyncio.timeout(60):
        seen = await asyncio.gather(*(first_seen(index) for index in range(len(readers))))
    assert all(positions == [last] for positions in seen)
    for reader in readers:
        await reader.close()
    await connection.close()


async def _a_follower(cluster: list[NatsServer], log: JetStreamLog) -> int:
    """Process id of a server that is not the stream's leader and not the one we are connected to."""
    info = await log.wire.ask("$JS.API.STREAM.INFO.EVENTS")
    leader = info["cluster"]["leader"]
    ours = log.wire.client.connected_url
    for server in cluster:
        if f"nats-{server.port}" != leader and (ours is None or server.port != ours.port) and server.pid is not None:
            return server.pid
    raise AssertionError("every server is the leader or ours")


async def test_a_history_that_must_reach_a_position_is_never_given_without_it(cluster: list[NatsServer]) -> None:
    connection = await _connected(cluster)
    log = JetStreamLog(lambda: connection)
    expected = 0
    for number in range(150):
        expected = (await log.append([write(A, expected, f"event-{number}")]))[0]
        assert (await log.history(A, reaching=expected))[-1].position == expected
    with pytest.raises(Unavailable, match="no copy"):
        await log.history(A, reaching=expected + 1)
    await connection.close()


async def test_who_loses_its_server_signs_in_at_one_it_was_only_told_of(cluster: list[NatsServer]) -> None:
    await (await _connected(cluster)).close()
    named = login_of(cluster[0].url("admin"))
    connection = await nats.connect(
        named.servers, user=named.user, password=named.password, max_reconnect_attempts=-1, reconnect_time_wait=0.1
    )
    cluster[0].kill()
    async with asyncio.timeout(60):
        while not connection.is_connected or getattr(connection.connected_url, "port", 0) == cluster[0].port:
            assert not connection.is_closed, "it took the refusal of a server it has no password for as the end"
            await asyncio.sleep(0.05)
    await connection.close()
