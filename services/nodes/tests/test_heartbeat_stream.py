"""Heartbeats over a real broker with the rights of production: silence becomes an event, and nothing else does."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import nats
import pytest
from gpuaas.common.embedded.nats_server import NatsServer, NatsUser, UserPermissions
from gpuaas.common.embedded.process import free_port
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.provision import provision_log
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.nodes.adapters.heartbeat_wire import decode, encode, subject_of
from gpuaas.nodes.adapters.telemetry import RECEIVED
from gpuaas.nodes.agent import Fleet, beat, fleet_of, ids_in, main
from gpuaas.nodes.app import build
from gpuaas.nodes.monitor import HeartbeatMonitor
from gpuaas.nodes.settings import NodesSettings
from node_facts import MODEL

PLACE = {"region": "eu-central", "site": "fra1", "pod": "p2", "rack": "r07"}
SCHEMA = Path(__file__).parents[3] / "schemas/telemetry/node-heartbeat.v1.json"
INTERVAL_S = 0.2


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    """A server where every user has exactly the rights that the contracts give it."""
    told = json.loads(files("gpuaas.contracts").joinpath("nats_permissions.json").read_text())["users"]
    users = {name: NatsUser(permissions=_rights(user["permissions"])) for name, user in told.items()}
    users["iam"] = NatsUser()
    server = NatsServer(tmp_path / "nats", {"CELL": users}, max_file_store_bytes=1 << 30)
    server.start()
    yield server
    server.stop()


def _rights(permissions: dict[str, Any]) -> UserPermissions:
    return UserPermissions(
        publish_allow=permissions["publish"]["allow"], subscribe_allow=permissions["subscribe"]["allow"]
    )


@pytest.fixture
async def settings(broker: NatsServer, stack: TestStack, tmp_path: Path) -> AsyncIterator[NodesSettings]:
    connection = await nats.connect(broker.url("provisioner"))
    await provision_log(connection)
    await connection.close()
    async with stack.fresh_database() as dsn:
        yield NodesSettings(
            nats_url=broker.url("nodes"),
            postgres_dsn=dsn,
            http_port=free_port(),
            state_dir=tmp_path / "state",
            heartbeat_silence_s=2.0,
            heartbeat_grace_s=2.0,
            heartbeat_tick_s=0.1,
        )


@asynccontextmanager
async def agent(broker: NatsServer, *node_ids: str) -> AsyncIterator[None]:
    """An agent of its own rights that beats for these nodes until the block ends."""
    client = await nats.connect(broker.url("agent"), inbox_prefix=b"_INBOX_agent", reconnect_time_wait=0.1)
    beating = asyncio.create_task(beat(client, Fleet(lambda: list(node_ids)), INTERVAL_S))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await client.close()


@asynccontextmanager
async def service_with(
    broker: NatsServer, settings: NodesSettings, *node_ids: str
) -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, str]]]:
    service = build(settings)
    async with running(service) as client:
        neighbour = await nats.connect(broker.url("iam"))
        try:
            operator = await (await Identities.on(JetStreamLog(lambda: neighbour))).operator()
            if node_ids:
                await client.post("/v1/nodes/batch", json={"nodes": [_order(n) for n in node_ids]}, headers=operator)
                await eventually(lambda: _stand(client, operator, "lifecycle", "available", *node_ids))
            yield client, operator
        finally:
            await neighbour.close()


def _order(node_id: str) -> dict[str, Any]:
    return {
        "node_id": node_id,
        "topology": PLACE,
        "expected_gpu_model": MODEL,
        "expected_gpu_count": 8,
        "pool_id": "h100-fra",
    }


async def _node(client: httpx.AsyncClient, headers: dict[str, str], node_id: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/nodes/{node_id}", headers=headers)
    found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
    return found


async def _stand(client: httpx.AsyncClient, headers: dict[str, str], axis: str, value: str, *ids: str) -> bool:
    return all([(await _node(client, headers, n)).get(axis) == value for n in ids])


async def _agents(client: httpx.AsyncClient, headers: dict[str, str], condition: str, *ids: str) -> bool:
    found = [await _node(client, headers, n) for n in ids]
    return all(node["health"]["agent"] == condition for node in found)


def _counted(outcome: str) -> float:
    return float(RECEIVED.labels(outcome)._value.get())


async def test_silence_is_an_event_and_so_is_the_next_heartbeat(broker: NatsServer, settings: NodesSettings) -> None:
    async with service_with(broker, settings, "a", "b") as (client, operator), agent(broker, "b"):
        async with agent(broker, "a"):
            await asyncio.sleep(3)
            assert await _agents(client, operator, "healthy", "a", "b")
        await eventually(lambda: _agents(client, operator, "suspect", "a"))
        lost = await _node(client, operator, "a")
        assert (lost["lifecycle"], lost["placeable"]) == ("available", False)
        async with agent(broker, "a"):
            await eventually(lambda: _agents(client, operator, "healthy", "a"))
        kinds = [event["type"] for event in (await _node(client, operator, "a"))["history"][-2:]]
        assert kinds == ["gpuaas.nodes.node-heartbeat-lost.v1", "gpuaas.nodes.node-heartbeat-restored.v1"]
        assert await _agents(client, operator, "healthy", "b")


async def test_a_node_whose_agent_never_spoke_is_lost_after_the_grace(
    broker: NatsServer, settings: NodesSettings
) -> None:
    async with service_with(broker, settings, "mute") as (client, operator):
        assert await _agents(client, operator, "healthy", "mute")
        await eventually(lambda: _agents(client, operator, "suspect", "mute"))


async def test_a_restart_of_the_service_accuses_nobody_who_still_beats(
    broker: NatsServer, settings: NodesSettings
) -> None:
    async with agent(broker, "a"):
        async with service_with(broker, settings, "a", "b"):
            pass
        await asyncio.sleep(3)  # longer down than any silence that is borne
        again = settings.model_copy(update={"http_port": free_port()})
        async with service_with(broker, again) as (client, operator):
            await eventually(lambda: _agents(client, operator, "suspect", "b"))
            found = await _node(client, operator, "a")
            assert not [event for event in found["history"] if "heartbeat" in event["type"]]


async def test_a_broker_that_goes_away_makes_no_machine_suspect(broker: NatsServer, settings: NodesSettings) -> None:
    async with service_with(broker, settings, "a") as (client, operator), agent(broker, "a"):
        await asyncio.sleep(1)
        broker.kill()
        await asyncio.sleep(3)
        broker.start()
        counted = _counted("counted")
        await eventually(lambda: _counted("counted") > counted + 5)
        await asyncio.sleep(2.5)
        found = await _node(client, operator, "a")
        assert not [event for event in found["history"] if "heartbeat" in event["type"]]


async def test_what_no_agent_may_say_is_counted_and_changes_nothing(
    broker: NatsServer, settings: NodesSettings
) -> None:
    async with service_with(broker, settings, "a") as (client, operator), agent(broker, "a"):
        await eventually(lambda: _counted("counted") > 0)
        before = {outcome: _counted(outcome) for outcome in ("unreadable", "foreign", "not-watched", "skewed")}
        voice = await nats.connect(broker.url("agent"), inbox_prefix=b"_INBOX_agent")
        for broken in (b"", b"{", b"[]", b"\xff\xfe", b'{"node_id": "a"}', b"{" + b"x" * 100_000):
            await voice.publish(subject_of("a"), broken)
        await voice.publish(subject_of("a"), encode("b", "boot", 1, 0.0))
        await voice.publish(subject_of("ghost"), encode("ghost", "boot", 1, 0.0))
        await voice.publish(
            subject_of("a"), b'{"node_id":"a","boot_id":"x","sequence":-1,"sent_at":"2026-01-01T00:00:00Z"}'
        )
        await voice.flush()
        await eventually(lambda: _counted("unreadable") >= before["unreadable"] + 7)
        assert _counted("foreign") == before["foreign"] + 1
        assert _counted("not-watched") >= before["not-watched"] + 1
        assert _counted("skewed") == before["skewed"] + 1
        await voice.close()
        assert await _agents(client, operator, "healthy", "a")


async def test_an_agent_with_a_wrong_clock_lives_as_well_as_any(broker: NatsServer, settings: NodesSettings) -> None:
    async with service_with(broker, settings, "a") as (client, operator):
        voice = await nats.connect(broker.url("agent"), inbox_prefix=b"_INBOX_agent")
        for number in range(25):
            await voice.publish(subject_of("a"), encode("a", "boot", number + 1, 1e9 if number % 2 else 4e9))
            await asyncio.sleep(0.2)
        assert await _agents(client, operator, "healthy", "a")
        await voice.close()


async def test_an_agent_can_say_heartbeats_and_nothing_else(broker: NatsServer, settings: NodesSettings) -> None:
    refusals: list[str] = []

    async def note(error: Exception) -> None:
        refusals.append(str(error).lower())

    voice = await nats.connect(broker.url("agent"), inbox_prefix=b"_INBOX_agent", error_cb=note)
    for subject in ("events.nodes.node.platform.a", "telemetry.billing.x", "$JS.API.STREAM.INFO.EVENTS"):
        await voice.publish(subject, b"{}")
    await voice.subscribe("telemetry.>")
    await voice.flush()
    await eventually(lambda: len(refusals) >= 4)
    assert all("permissions violation" in refusal for refusal in refusals)
    await voice.close()


def test_a_heartbeat_is_what_its_schema_says() -> None:
    schema = json.loads(SCHEMA.read_text())
    checker = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    for payload in (encode("n-1", "boot", 1, 0.0), encode("n-1", "boot", 9, 1785844801.730001)):
        checker.validate(json.loads(payload))
    for example in schema["examples"]:
        checker.validate(example)
        assert decode(json.dumps(example).encode()).node_id == example["node_id"]


def test_a_node_list_is_read_from_text() -> None:
    assert ids_in("a, b  # the first two\nc\n\na") == ["a", "b", "c"]


def test_a_node_list_may_grow_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    listed = tmp_path / "nodes.txt"
    listed.write_text("a")
    fleet = fleet_of(argparse.Namespace(nodes=None, nodes_file=listed))
    listed.write_text("a b")
    assert fleet.read() == ["a", "b"]
    listed.write_text("a b UPPER")
    assert fleet.read() == ["a", "b"]
    listed.unlink()
    assert fleet.read() == ["a", "b"]


def test_a_fleets_heartbeats_are_spread_over_the_interval() -> None:
    due = Fleet(lambda: [f"n-{number}" for number in range(1_000)]).due(10.0)
    per_second = [sum(second <= at < second + 1 for at, _ in due) for second in range(10)]
    assert sum(per_second) == 1_000
    assert max(per_second) < 150


@pytest.mark.parametrize(
    "arguments",
    [[], ["--nodes", "UPPER"], ["--nodes-file", "/nowhere/at/all"], ["--nodes", "a", "--interval-s", "0"]],
)
def test_an_agent_that_is_set_up_wrongly_says_why(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


async def test_the_program_beats_and_ends(broker: NatsServer, settings: NodesSettings, tmp_path: Path) -> None:
    listed = tmp_path / "nodes.txt"
    listed.write_text("a\nb\nc\n")
    command = [sys.executable, "-m", "gpuaas.nodes.agent", "--nodes-file", str(listed)]
    process = await asyncio.create_subprocess_exec(
        *command, "--interval-s", "0.1", "--rounds", "3", env=os.environ | {"GPUAAS_NATS_URL": broker.url("agent")}
    )
    assert await process.wait() == 0
    provisioner = await nats.connect(broker.url("provisioner"))
    info = await provisioner.jetstream().stream_info("TELEMETRY")
    assert info.state.messages == 9
    await provisioner.close()


def test_a_monitor_that_hears_nothing_is_deaf(settings: NodesSettings) -> None:
    service = build(settings)
    now = [1_000.0]
    monitor = HeartbeatMonitor(
        service._projectors["nodes_v4"].projection,  # type: ignore[arg-type]
        service.database,
        service.commands,
        service.clock,
        settings.patience(),
        lambda: now[0],
    )
    assert monitor.deaf
    assert monitor.hear(monitor.canary, 0.0) == "canary"
    assert not monitor.deaf
    now[0] += 1.0
    assert monitor.deaf
    assert monitor.hear("CANARY-of-another", 0.0) == "canary"
    assert monitor.deaf
