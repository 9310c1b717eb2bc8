"""A machine's agent reports on this machine and nothing else: tried on a real broker with the users that are made."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import nats
import pytest
from gpuaas.cli.agent_users import agent_rights, write_users
from gpuaas.common.embedded.nats_server import NatsServer, NatsUser
from gpuaas.common.errors import Misconfigured
from nats.aio.client import Client
from nats.aio.msg import Msg


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    folder = tmp_path / "agents"
    made = json.loads(write_users(["n-1", "n-2"], "127.0.0.1:4222", folder).read_text())
    users = {
        entry["user"]: NatsUser(entry["password"], agent_rights(entry["user"].removeprefix("agent-"))) for entry in made
    }
    server = NatsServer(tmp_path / "nats", {"CELL": users | {"everybody": NatsUser()}}, max_file_store_bytes=1 << 28)
    server.start()
    yield server
    server.stop()


async def agent_of(broker: NatsServer, node_id: str, refused: list[str]) -> Client:
    async def complain(error: Exception) -> None:
        refused.append(str(error).lower())

    user = f"agent-{node_id}"
    return await nats.connect(broker.url(user), inbox_prefix=f"_INBOX_{user}".encode(), error_cb=complain)


async def test_an_agent_speaks_for_its_machine_and_for_no_other(broker: NatsServer) -> None:
    heard: list[str] = []
    refused: list[str] = []

    async def note(message: Msg) -> None:
        heard.append(message.subject)

    listener = await nats.connect(broker.url("everybody"))
    await listener.subscribe(">", cb=note)
    await listener.flush()
    agent = await agent_of(broker, "n-1", refused)
    forbidden = [
        "telemetry.nodes.n-2.heartbeat",
        "telemetry.nodes.n-10.heartbeat",
        "telemetry.nodes.heartbeat",
        "events.nodes.node.platform.n-1",
        "$JS.API.STREAM.DELETE.EVENTS",
    ]
    for subject in ("telemetry.nodes.n-1.heartbeat", "telemetry.nodes.n-1.fault", *forbidden):
        await agent.publish(subject, b"{}")
    await agent.flush()
    await listener.flush()
    for _ in range(100):
        if len(refused) >= len(forbidden) and len(heard) >= 2:
            break
        await asyncio.sleep(0.02)
    assert sorted(heard) == ["telemetry.nodes.n-1.fault", "telemetry.nodes.n-1.heartbeat"]
    assert all(any(subject.lower() in told for told in refused) for subject in forbidden)
    await agent.close()
    await listener.close()


async def test_an_agent_hears_nobody(broker: NatsServer) -> None:
    refused: list[str] = []
    agent = await agent_of(broker, "n-2", refused)
    for subject in ("telemetry.>", "events.>", "_INBOX_agent-n-1.>", ">"):
        await agent.subscribe(subject)
    await agent.flush()
    for _ in range(100):
        if len(refused) >= 4:
            break
        await asyncio.sleep(0.02)
    assert len(refused) >= 4
    await agent.close()


def test_users_are_kept_secret_and_made_once(tmp_path: Path) -> None:
    first = json.loads(write_users(["n-1"], "nats.example:4222", tmp_path).read_text())
    again = json.loads(write_users(["n-2", "n-1"], "nats.example:4222", tmp_path).read_text())
    assert [entry["user"] for entry in again] == ["agent-n-1", "agent-n-2"]
    assert again[0] == first[0]
    url = urlsplit((tmp_path / "n-1.env").read_text().strip().removeprefix("GPUAAS_NATS_URL="))
    assert (url.username, url.password, url.hostname) == ("agent-n-1", first[0]["password"], "nats.example")
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("wrong", ["*", ">", "n-1.>", "N-1", "a b", "", "n-1\n"])
def test_what_is_no_node_id_gets_no_user(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(Misconfigured):
        write_users([wrong], "nats.example:4222", tmp_path)
