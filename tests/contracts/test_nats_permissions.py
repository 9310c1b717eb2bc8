"""A service speaks in its own name only: read off the file, and tried on a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from gpuaas.common.embedded.nats_server import ACCOUNT, NatsServer, NatsUser, UserPermissions
from gpuaas.common.provision import KEY_KEEPERS, LogSettings, provision_log
from gpuaas.contracts.catalogue import ALL
from nats.aio.client import Client

USERS: Mapping[str, Any] = json.loads((resources.files("gpuaas.contracts") / "nats_permissions.json").read_text())[
    "users"
]
SERVICES = sorted({event.SERVICE for event in ALL})
PATIENCE_S = 5.0


def _publish(user: str) -> set[str]:
    return set(USERS[user]["permissions"]["publish"]["allow"])


def _subscribe(user: str) -> set[str]:
    return set(USERS[user]["permissions"]["subscribe"]["allow"])


def test_every_service_and_nobody_else_has_a_user() -> None:
    assert set(USERS) == {*SERVICES, "provisioner", "agent", "operator"}
    assert all(user["why"] for user in USERS.values())


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_publishes_its_own_events_and_telemetry_only(service: str) -> None:
    said = {subject for subject in _publish(service) if not subject.startswith(("$JS.", "keys."))}
    assert said == {f"events.{service}.>", f"telemetry.{service}.>"}


@pytest.mark.parametrize("user", [*SERVICES, "agent", "operator"])
def test_nobody_but_the_provisioner_can_change_a_stream(user: str) -> None:
    verbs = ("STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.MSG.DELETE", "STREAM.RESTORE")
    changed = [subject for subject in _publish(user) for verb in verbs if subject.startswith(f"$JS.API.{verb}")]
    assert changed == [f"$JS.API.STREAM.MSG.DELETE.KEYS_{user.upper()}"] * (user in KEY_KEEPERS)
    assert not [subject for subject in _publish(user) if subject in (">", "$JS.>", "$JS.API.>", "$JS.API.STREAM.>")]
    assert not [subject for subject in _publish(user) if subject.startswith("$JS.API.CONSUMER.DELETE")]


@pytest.mark.parametrize("user", USERS)
def test_only_the_owner_of_personal_data_reaches_its_keys(user: str) -> None:
    reached = {subject for subject in _publish(user) if "keys." in subject or "KEYS_" in subject}
    if user in KEY_KEEPERS:
        assert all(f"keys.{user}." in subject or f"KEYS_{user.upper()}" in subject for subject in reached)
        assert not [subject for subject in reached if "CONSUMER" in subject]
    else:
        assert reached == set()


@pytest.mark.parametrize("user", [*SERVICES, "agent", "operator"])
def test_everybody_hears_only_the_own_inbox(user: str) -> None:
    assert _subscribe(user) - {"clock.demo"} == {f"_INBOX_{user}.>"}


@pytest.mark.parametrize("user", USERS)
def test_a_wildcard_is_a_whole_token(user: str) -> None:
    for subject in _publish(user) | _subscribe(user):
        tokens = subject.split(".")
        assert all("*" not in token and (token == ">" or ">" not in token) for token in tokens), subject
        assert ">" not in tokens[:-1], subject


def test_only_who_says_why_reads_telemetry() -> None:
    readers = {user for user in USERS if any(".TELEMETRY" in subject for subject in _publish(user))}
    assert readers == {"nodes", "allocations"}


def test_only_the_operator_sets_the_pace_of_time() -> None:
    assert {user for user in USERS if "clock.demo" in _publish(user)} == {"operator"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server with exactly the generated users."""
    users = {
        name: NatsUser(
            permissions=UserPermissions(
                publish_allow=user["permissions"]["publish"]["allow"],
                subscribe_allow=user["permissions"]["subscribe"]["allow"],
            )
        )
        for name, user in USERS.items()
    }
    running = NatsServer(tmp_path_factory.mktemp("nats"), {ACCOUNT: users}, max_file_store_bytes=64 << 20)
    running.start()
    try:
        asyncio.run(_provision(running))
        yield running
    finally:
        running.stop()


async def _provision(server: NatsServer) -> None:
    connection = await nats.connect(server.url("provisioner"))
    await provision_log(connection, LogSettings(telemetry_max_bytes=1 << 20))
    await connection.close()


class Voice:
    """A connection of one user, and what the server forbade it."""

    def __init__(self, connection: Client, forbidden: list[str]) -> None:
        self.connection = connection
        self.forbidden = forbidden

    async def asks(self, subject: str, body: Any = None) -> dict[str, Any] | None:
        """The server's answer, or None when it forbade the question."""
        payload = b"" if body is None else json.dumps(body).encode()
        asked = asyncio.ensure_future(self.connection.request(subject, payload, timeout=PATIENCE_S))
        while not asked.done():
            if any(f'"{subject}"'.lower() in text for text in self.forbidden):
                asked.cancel()
                return None
            await asyncio.wait([asked], timeout=0.01)
        decoded: dict[str, Any] = json.loads(asked.result().data)
        return decoded


@asynccontextmanager
async def _voice(server: NatsServer, user: str) -> AsyncIterator[Voice]:
    forbidden: list[str] = []

    async def told(error: Exception) -> None:
        forbidden.append(str(error).lower())

    connection = await nats.connect(server.url(user), inbox_prefix=f"_INBOX_{user}".encode(), error_cb=told)
    yield Voice(connection, forbidden)
    await connection.close()


@pytest_asyncio.fixture
async def billing(server: NatsServer) -> AsyncIterator[Voice]:
    async with _voice(server, "billing") as voice:
        yield voice


async def test_a_service_appends_and_reads_its_own_history(billing: Voice) -> None:
    said = await billing.asks("events.billing.usage.acme.a-1", {"n": 1})
    assert said is not None
    assert said["stream"] == "EVENTS"
    info = await billing.asks("$JS.API.STREAM.INFO.EVENTS")
    assert info is not None
    assert info["config"]["deny_purge"] is True
    read = await billing.asks("$JS.API.DIRECT.GET.EVENTS.events.billing.usage.acme.a-1")
    assert read == {"n": 1}
    kept = await billing.asks("$JS.API.STREAM.MSG.GET.EVENTS", {"last_by_subj": "events.billing.usage.acme.a-1"})
    assert kept is not None
    assert kept["message"]["subject"] == "events.billing.usage.acme.a-1"


async def test_a_service_follows_the_log_with_a_reader_of_its_own(billing: Voice) -> None:
    await billing.asks("events.billing.usage.acme.a-2", {"n": 2})
    reader = {"name": "billing-1", "ack_policy": "none", "mem_storage": True, "inactive_threshold": 60_000_000_000}
    made = await billing.asks("$JS.API.CONSUMER.CREATE.EVENTS.billing-1", {"stream_name": "EVENTS", "config": reader})
    assert made is not None
    assert "error" not in made
    inbox = billing.connection.new_inbox()
    messages = await billing.connection.subscribe(inbox)
    await billing.connection.publish("$JS.API.CONSUMER.MSG.NEXT.EVENTS.billing-1", b'{"batch": 1}', reply=inbox)
    heard = await messages.next_msg(timeout=PATIENCE_S)
    assert heard.subject.startswith("events.billing.usage.acme.")
    assert await billing.asks("$JS.API.CONSUMER.INFO.EVENTS.billing-1") is not None


@pytest.mark.parametrize(
    "subject",
    [
        "events.iam.tenant.acme.acme",
        "events.billing",
        "telemetry.nodes.gpu-1",
        "clock.demo",
        "$JS.API.STREAM.CREATE.MINE",
        "$JS.API.STREAM.UPDATE.EVENTS",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.STREAM.MSG.DELETE.EVENTS",
        "$JS.API.CONSUMER.DELETE.EVENTS.audit-1",
        "$JS.API.STREAM.INFO.TELEMETRY",
        "$JS.API.CONSUMER.CREATE.TELEMETRY.billing-1",
        "keys.iam.mira",
        "$JS.API.DIRECT.GET.KEYS_IAM",
        "$JS.API.DIRECT.GET.KEYS_IAM.keys.iam.mira",
        "$JS.API.STREAM.MSG.GET.KEYS_IAM",
        "$JS.API.STREAM.MSG.DELETE.KEYS_IAM",
        "$JS.API.CONSUMER.CREATE.KEYS_IAM.billing-1",
        "_INBOX_iam.answer",
    ],
)
async def test_a_service_is_forbidden_everything_else(billing: Voice, subject: str) -> None:
    assert await billing.asks(subject, {}) is None


@pytest.mark.parametrize("subject", ["events.>", "_INBOX_iam.>", "_INBOX.>", ">", "$JS.EVENT.>"])
async def test_a_service_may_not_listen_elsewhere(billing: Voice, subject: str) -> None:
    await billing.connection.subscribe(subject)
    await billing.connection.flush()
    await asyncio.sleep(0.05)
    assert any("subscription" in text and subject.lower() in text for text in billing.forbidden)


@pytest.mark.parametrize(
    "elsewhere", ["$JS.API.STREAM.CREATE.MINE", "telemetry.nodes.gpu-1", "events.iam.tenant.acme.acme"]
)
async def test_a_reader_that_pushes_is_no_way_into_a_stream(billing: Voice, server: NatsServer, elsewhere: str) -> None:
    """The server does not check a push reader's target against the rights of its maker; what it reaches is tried."""
    await billing.asks("events.billing.usage.acme.a-3", {"name": "MINE", "subjects": ["mine"]})
    reader = {"name": "pushing", "deliver_subject": elsewhere, "ack_policy": "none", "inactive_threshold": 10**9}
    async with _voice(server, "provisioner") as provisioner:
        before = await _world(provisioner)
        await billing.asks("$JS.API.CONSUMER.CREATE.EVENTS.pushing", {"stream_name": "EVENTS", "config": reader})
        await asyncio.sleep(0.5)
        assert await _world(provisioner) == before
    assert sorted(before[0]) == ["EVENTS", "KEYS_IAM", "TELEMETRY"]


async def _world(provisioner: Voice) -> tuple[list[str], list[int]]:
    """The streams, and how many messages each holds."""
    names = await provisioner.asks("$JS.API.STREAM.NAMES")
    assert names is not None
    infos = [await provisioner.asks(f"$JS.API.STREAM.INFO.{name}") for name in names["streams"]]
    return names["streams"], [info["state"]["messages"] for info in infos if info is not None]


async def test_the_agent_reports_and_nothing_else(server: NatsServer) -> None:
    async with _voice(server, "agent") as agent:
        said = await agent.asks("telemetry.nodes.n-1", {"utilisation": 1})
        assert said is not None
        assert said["stream"] == "TELEMETRY"
        for subject in ("events.nodes.node.platform.n-1", "$JS.API.STREAM.INFO.EVENTS", "telemetry.billing.x"):
            assert await agent.asks(subject, {}) is None


async def test_the_operator_reads_and_appends_nothing(server: NatsServer) -> None:
    async with _voice(server, "operator") as operator:
        assert await operator.asks("$JS.API.STREAM.INFO.EVENTS") is not None
        assert await operator.asks("events.billing.usage.acme.a-1", {}) is None
        assert await operator.asks("telemetry.nodes.n-1", {}) is None


def test_the_file_is_what_the_deployment_mounts() -> None:
    root = Path(__file__).resolve().parents[2]
    assert json.loads((root / "deploy/base/nats/permissions.json").read_text("utf-8"))["users"] == USERS
