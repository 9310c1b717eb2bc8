"""Faults are planted one by one, and the doctor is asked. One law: it names the fault, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from gpuaas.cli.ailments import WELL, Finding, disk, examined, log_finding, secrets, service
from gpuaas.cli.up import Stack
from gpuaas.common.provision import INCARNATION, LogSettings, events_config

from tests.drills.stage import state_folder

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]
SERVICES = ("iam", "audit")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stack() -> AsyncIterator[Stack]:
    with state_folder() as folder:
        before, os.environ["GPUAAS_STATE_DIR"] = os.environ.get("GPUAAS_STATE_DIR"), str(folder)
        running = Stack(folder, profile="demo", services=SERVICES, restart=None)
        await running.start()
        yield running
        await running.stop()
        os.environ.pop("GPUAAS_STATE_DIR")
        if before is not None:
            os.environ["GPUAAS_STATE_DIR"] = before


def folder_of(stack: Stack) -> Path:
    return Path(stack.endpoints.state_dir)


async def found(stack: Stack) -> dict[str, Finding]:
    return {finding["what"]: finding async for finding in examined(folder_of(stack))}


async def until(stack: Stack, what: str, state: str) -> Finding:
    """Ask until the finding is there."""
    told: dict[str, Finding] = {}
    for _ in range(40):
        told = await found(stack)
        if told[what]["state"] == state:
            return told[what]
        await asyncio.sleep(0.25)
    raise AssertionError(f"{what} is never {state}: {told[what]}")


async def test_a_suite_without_a_fault_is_well(stack: Stack) -> None:
    for what in SERVICES:
        await until(stack, what, WELL)
    told = await found(stack)
    assert {what: finding["state"] for what, finding in told.items()} == dict.fromkeys(told, WELL)
    assert set(told) == {"stack", "disk", "secrets", "broker", "log", "trail", "databases", *SERVICES}


async def test_nothing_runs_here(tmp_path: Path) -> None:
    told = [finding async for finding in examined(tmp_path)]
    assert [finding["state"] for finding in told] == ["not running"]
    assert "gpuaas up" in told[0]["do"]


async def test_a_password_that_others_can_read(stack: Stack) -> None:
    path = folder_of(stack) / "secrets" / "iam.nats"
    path.chmod(0o644)
    told = (await found(stack))["secrets"]
    path.chmod(0o600)
    assert told["state"] == "readable by others"
    assert "iam.nats" in told["do"]
    assert secrets(path.parent)["state"] == WELL


async def test_a_service_that_is_dead_and_one_that_hangs(stack: Stack) -> None:
    pid = stack.pid("audit")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    hanging = (await found(stack))["audit"]
    os.kill(pid, signal.SIGCONT)
    await stack.kill("audit")
    dead = (await found(stack))["audit"]
    await stack.start_service("audit")
    assert hanging["state"] == dead["state"] == "no answer"
    assert "audit.log" in dead["do"]
    await until(stack, "audit", WELL)


async def test_databases_that_are_away(stack: Stack) -> None:
    await stack.kill("postgres")
    told = await found(stack)
    assert told["databases"]["state"] == "no answer"
    assert "folded again" in told["databases"]["do"]
    await stack.revive("postgres")
    await until(stack, "audit", WELL)


async def test_a_broker_that_is_away(stack: Stack) -> None:
    await stack.kill("nats")
    told = await found(stack)
    assert told["broker"]["state"] == "no answer"
    assert told["log"]["state"] == "unreachable"
    await stack.revive("nats")
    await until(stack, "audit", WELL)


async def test_a_log_that_somebody_set_up_to_forget(stack: Stack) -> None:
    connection = await nats.connect(stack.endpoints.nats_url_of("provisioner"))
    config = json.loads((await connection.request("$JS.API.STREAM.INFO.EVENTS", timeout=5)).data)["config"]
    changed = json.dumps(config | {"max_age": 3_600_000_000_000}).encode()
    await connection.request("$JS.API.STREAM.UPDATE.EVENTS", changed, timeout=5)
    told = (await found(stack))["log"]
    await connection.request("$JS.API.STREAM.UPDATE.EVENTS", json.dumps(config).encode(), timeout=5)
    await connection.close()
    assert told["state"] == "set up wrongly"
    assert "max_age" in told["do"]


async def test_an_event_that_no_reader_can_apply(stack: Stack) -> None:
    connection = await nats.connect(stack.endpoints.nats_url_of("provisioner"))
    await connection.request("events.iam.tenant.platform.spoilt", b"not json", timeout=5, headers={"ce-type": TENANT})
    await connection.close()
    told = await until(stack, "iam", "a reader has stopped")
    assert "position" in told["do"]


TENANT = "gpuaas.iam.tenant-created.v1"


async def test_a_disk_and_a_log_that_are_nearly_full(tmp_path: Path) -> None:
    assert disk(1 << 30, tmp_path)["state"] == "nearly full"
    full: dict[str, Any] = {"log_nearly_full": True, "readers": [], "failures": {}, "ready": True, "log_position": 1}
    assert service("iam", full, "iam.log")["state"] == "takes no new work"


async def test_a_log_with_a_hole_and_a_reader_far_behind() -> None:
    info = {"config": wanted(), "state": {"first_seq": 1, "last_seq": 9, "num_deleted": 2}}
    assert log_finding(info)["state"] == "events are missing"
    assert log_finding({**info, "state": {"first_seq": 4, "last_seq": 9}})["do"].startswith("3:")
    reader = {"name": "projection x", "position": 10, "caught_up": False, "stopped": None}
    told = {"readers": [reader], "failures": {}, "ready": True, "log_position": 90_000}
    assert service("iam", told, "iam.log")["state"] == "behind"
    failing = {**told, "readers": [], "failures": {"sealing": "KeyError"}}
    assert service("iam", failing, "iam.log")["state"] == "a part keeps failing"


def wanted() -> dict[str, Any]:
    return events_config(LogSettings()) | {"metadata": {INCARNATION: "x"}}
