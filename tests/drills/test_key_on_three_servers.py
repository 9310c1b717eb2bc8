"""A person's key is destroyed on three brokers. One law: at last no file of any of them holds it.

The messages' files lose it with the answer: every server overwrites its copy. Their Raft logs keep the message that
brought the key until the broker's next snapshot, which it takes by itself every two minutes or so; this is how long
an erasure can be undone by whoever reads the brokers' disks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Final

import nats
import pytest
from gpuaas.common.embedded.nats_server import NatsServer
from gpuaas.common.errors import GpuaasError
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.provision import LogSettings, provision_log
from gpuaas.common.sealing import Destroyed
from gpuaas.common.testing.stack import nats_cluster
from gpuaas.common.vaults.jetstream import JetStreamVault, stream_of
from nats.aio.client import Client

from tests.drills.ordeal import report

pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.long]
ANSWERED_S: Final = 20.0
COMPACTED_S: Final = 420.0
MESSAGES: Final = f"streams/{stream_of('iam')}/msgs"


def holding(servers: list[NatsServer], key: bytes) -> dict[str, list[str]]:
    """Per server, the files that hold the key."""
    return {
        server.directory.name: [
            str(path.relative_to(server.directory))
            for path in Path(server.directory).rglob("*")
            if path.is_file() and key in path.read_bytes()
        ]
        for server in servers
    }


def in_messages(servers: list[NatsServer], key: bytes) -> int:
    """How many servers' message files hold it."""
    return sum(any(MESSAGES in path for path in paths) for paths in holding(servers, key).values())


def anywhere(servers: list[NatsServer], key: bytes) -> int:
    """How many servers hold it in any file."""
    return sum(bool(paths) for paths in holding(servers, key).values())


async def after(count: Callable[[], int], wanted: int, within_s: float) -> float:
    """Seconds until the count is what is wanted."""
    began = monotonic()
    async with asyncio.timeout(within_s):
        while await asyncio.to_thread(count) != wanted:
            await asyncio.sleep(1)
    return round(monotonic() - began, 1)


async def connected(servers: list[NatsServer]) -> Client:
    connection = await nats.connect([server.url("admin") for server in servers], max_reconnect_attempts=-1)
    async with asyncio.timeout(60):
        while not await _taken(lambda: provision_log(connection, LogSettings(replicas=3))):
            await asyncio.sleep(0.3)
    return connection


async def _taken(work: Callable[[], Awaitable[object]]) -> bool:
    try:
        await work()
    except GpuaasError:
        return False
    return True


async def test_a_destroyed_key_is_on_no_disk_of_three_servers_in_the_end() -> None:
    with nats_cluster(3) as servers:
        connection = await connected(servers)
        vault = JetStreamVault(JetStreamLog(lambda: connection).wire, "iam")
        gone, kept = await vault.key_for("mira"), await vault.key_for("noor")
        await after(lambda: in_messages(servers, gone), 3, ANSWERED_S)
        assert await vault.destroy("mira")
        figures = {
            "drill": "key_on_three_servers",
            "key_gone_from_message_files_s": await after(lambda: in_messages(servers, gone), 0, ANSWERED_S),
            "key_in_raft_logs_of_servers": anywhere(servers, gone),
            "key_gone_from_every_file_s": await after(lambda: anywhere(servers, gone), 0, COMPACTED_S),
        }
        assert in_messages(servers, kept) == 3, "nobody else's key is lost with it"
        assert (await vault.keys_of(["mira", "noor"])) == {"mira": None, "noor": kept}
        with pytest.raises(Destroyed):
            await vault.key_for("mira")
        await connection.close()
    print(report(figures))
