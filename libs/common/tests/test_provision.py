"""Provisioning on real servers: creates what is absent, refuses what is different."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import nats
import pytest
from gpuaas.common.errors import Misconfigured
from gpuaas.common.provision import (
    LogSettings,
    ProvisionSettings,
    events_config,
    guarded_differences,
    provision_database,
    provision_log,
)
from gpuaas.common.scram import scram_verifier
from gpuaas.common.testing.stack import LogAddress, TestStack
from nats.aio.client import Client


async def asked(connection: Client, subject: str, body: object) -> dict[str, Any]:
    reply = await connection.request(subject, json.dumps(body).encode(), timeout=5)
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


def said_by(argv: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


async def remade(connection: Client, **changes: object) -> None:
    """EVENTS deleted and made again with `changes`: what a careless operator leaves behind."""
    await asked(connection, "$JS.API.STREAM.DELETE.EVENTS", {})
    config = {**events_config(LogSettings()), "metadata": {"incarnation": "x"}, **changes}
    answer = await asked(connection, "$JS.API.STREAM.CREATE.EVENTS", config)
    assert "error" not in answer, answer


async def test_the_log_is_made_as_designed(log_address: LogAddress) -> None:
    connection = await nats.connect(log_address.url)
    config = (await asked(connection, "$JS.API.STREAM.INFO.EVENTS", {}))["config"]
    telemetry = (await asked(connection, "$JS.API.STREAM.INFO.TELEMETRY", {}))["config"]
    await connection.close()
    assert guarded_differences(config, events_config(LogSettings())) == []
    assert config["deny_delete"]
    assert config["deny_purge"]
    assert config["allow_atomic"]
    assert config["allow_direct"]
    assert (config["discard"], config["storage"], config["subjects"]) == ("new", "file", ["events.>"])
    assert (config["max_age"], config["duplicate_window"]) == (0, 120 * 10**9)
    assert config["metadata"]["incarnation"] == log_address.incarnation
    assert (telemetry["discard"], telemetry["max_age"], telemetry["max_bytes"]) == (
        "old",
        24 * 3600 * 10**9,
        256 << 20,
    )


async def test_provisioning_again_finds_the_same_log(log_address: LogAddress) -> None:
    connection = await nats.connect(log_address.url)
    await connection.jetstream().publish("events.a.b.c.d", b"{}")
    assert await provision_log(connection) == log_address.incarnation
    assert (await connection.jetstream().stream_info("EVENTS")).state.messages == 1
    await connection.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"deny_delete": False}, "deny_delete is false"),
        ({"deny_purge": False}, "deny_purge is false"),
        ({"discard": "old"}, "discard is"),
        ({"allow_atomic": False}, "allow_atomic is false"),
        ({"allow_direct": False}, "allow_direct is false"),
        ({"max_age": 10**9 * 3600}, "max_age is 3600"),
        ({"max_msgs": 10}, "max_msgs is 10"),
        ({"max_msgs_per_subject": 1}, "max_msgs_per_subject is 1"),
        ({"storage": "memory"}, "storage is"),
        ({"compression": "s2"}, "compression is"),
        ({"allow_msg_ttl": True}, "allow_msg_ttl is true"),
        ({"subjects": ["events.>", "other.>"]}, "subjects is"),
        ({"metadata": {}}, "no incarnation"),
    ],
)
async def test_a_log_with_another_promise_is_refused_and_left_alone(
    log_address: LogAddress, change: dict[str, object], said: str
) -> None:
    connection = await nats.connect(log_address.url)
    await remade(connection, **change)
    before = (await asked(connection, "$JS.API.STREAM.INFO.EVENTS", {}))["config"]
    with pytest.raises(Misconfigured, match=said):
        await provision_log(connection)
    assert (await asked(connection, "$JS.API.STREAM.INFO.EVENTS", {}))["config"] == before
    await connection.close()


async def test_a_larger_log_is_the_same_log(log_address: LogAddress) -> None:
    connection = await nats.connect(log_address.url)
    await provision_log(connection, LogSettings(events_max_bytes=1 << 30))
    await connection.close()


async def test_history_cannot_be_deleted_or_purged(log_address: LogAddress) -> None:
    connection = await nats.connect(log_address.url)
    await connection.jetstream().publish("events.a.b.c.d", b"{}")
    for call, body in (("PURGE", {}), ("MSG.DELETE", {"seq": 1})):
        assert "error" in await asked(connection, f"$JS.API.STREAM.{call}.EVENTS", body)
    await connection.close()


async def test_a_service_reaches_its_own_database_and_no_other(stack: TestStack) -> None:
    administrator = await asyncpg.connect(stack.admin_dsn)
    at = urlsplit(stack.admin_dsn)
    for service in ("alpha", "beta"):
        assert await provision_database(administrator, service, f"secret-{service}") == f"gpuaas_{service}"
        await provision_database(administrator, service, f"secret-{service}")

    def dsn(database: str) -> str:
        return f"postgresql://gpuaas_alpha:secret-alpha@{at.hostname}:{at.port}/{database}"

    connection = await asyncpg.connect(dsn("gpuaas_alpha"))
    await connection.execute("CREATE TABLE t (x int); CREATE SCHEMA s")
    for forbidden in ("CREATE DATABASE d", "CREATE ROLE r"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(forbidden)
    await connection.close()
    for elsewhere in ("gpuaas_beta", "postgres", "template1"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(dsn(elsewhere))
    await administrator.close()


async def test_a_rotated_password_replaces_the_old_one(stack: TestStack) -> None:
    administrator = await asyncpg.connect(stack.admin_dsn)
    at = urlsplit(stack.admin_dsn)
    await provision_database(administrator, "gamma", "first")
    await provision_database(administrator, "gamma", "second")
    await administrator.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://gpuaas_gamma:first@{at.hostname}:{at.port}/gpuaas_gamma")
    connection = await asyncpg.connect(f"postgresql://gpuaas_gamma:second@{at.hostname}:{at.port}/gpuaas_gamma")
    await connection.close()


async def test_a_name_that_could_break_out_of_sql_is_refused(stack: TestStack) -> None:
    administrator = await asyncpg.connect(stack.admin_dsn)
    for name in ('x"; DROP ROLE postgres; --', "Upper", "", "a-b", "x" * 60):
        with pytest.raises(Misconfigured):
            await provision_database(administrator, name, "p")
    await administrator.close()


def test_the_verifier_is_the_one_of_the_standard() -> None:
    """RFC 7677 §3: password `pencil`, its salt; the keys follow from the exchange printed there."""
    verifier = scram_verifier("pencil", b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    expected = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    assert verifier == f"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==${expected}"


async def test_the_program_provisions_by_the_environment(
    stack: TestStack, log_address: LogAddress, tmp_path: Path
) -> None:
    (tmp_path / "delta.postgres").write_text("delta-secret\n")
    environment = {
        "GPUAAS_NATS_URL": log_address.url,
        "GPUAAS_POSTGRES_ADMIN_DSN": stack.admin_dsn,
        "GPUAAS_PROVISION_SERVICES": "delta",
        "GPUAAS_SECRETS_DIR": str(tmp_path),
    }
    argv = [sys.executable, "-m", "gpuaas.common.provision"]
    for _ in range(2):
        ran = await asyncio.to_thread(said_by, argv, environment)
        assert ran.returncode == 0, ran.stderr
        assert log_address.incarnation in ran.stdout
    del environment["GPUAAS_SECRETS_DIR"]
    refused = await asyncio.to_thread(said_by, argv, environment)
    assert refused.returncode == 1
    assert refused.stderr.strip() == "the environment variable GPUAAS_SECRETS_DIR is not set"


def test_a_size_that_is_no_number_is_refused() -> None:
    environment = {
        "GPUAAS_NATS_URL": "nats://x",
        "GPUAAS_POSTGRES_ADMIN_DSN": "postgresql://x",
        "GPUAAS_PROVISION_SERVICES": "a",
        "GPUAAS_PROVISION_PASSWORD_A": "p",
        "GPUAAS_LOG_REPLICAS": "three",
    }
    with pytest.raises(Misconfigured, match="not a number"):
        ProvisionSettings.read(environment)
