"""Real local processes keep the runtime's contract, whatever happens to the service or the keeper."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from allocations_world import world
from gpuaas.allocations.adapters.process import ProcessRuntime
from gpuaas.allocations.ports import Run
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.clock import WallClock
from gpuaas.common.errors import Misconfigured, Rejected
from gpuaas.common.testing.running import eventually, fresh_settings
from gpuaas.common.testing.stack import TestStack
from runtime_contract import MEMBERS, RuntimeContract, Wait

GRACE_S = 0.3
HERE = "/v1/tenants/acme/projects/research/allocations"


def shell(name: str, script: str) -> Run:
    return Run(name, "none", ("sh", "-c", script), MEMBERS)


def of(folder: Path, name: str = "cwd") -> set[int]:
    """Processes that work below `folder`; with `cmdline`, those that were started with its path."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                told = os.readlink(entry / "cwd") if name == "cwd" else (entry / name).read_text()
            except OSError:
                continue
            if str(folder) in told:
                found.add(int(entry.name))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "runs"
    for pid in of(tmp_path / "runs", "cmdline") | of(tmp_path / "runs"):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def runtime(folder: Path) -> ProcessRuntime:
    return ProcessRuntime(folder, GRACE_S, "allowed")


class TestProcess(RuntimeContract):
    short_s = 0.8
    step_s = 0.2
    later_s = 0.2

    @pytest.fixture
    def clock(self) -> WallClock:
        return WallClock()

    @pytest.fixture
    def wait(self) -> Wait:
        return asyncio.sleep

    @pytest.fixture
    def short(self) -> Callable[[str], Run]:
        return lambda name: shell(name, "echo grüße; sleep 0.2")

    @pytest.fixture
    def endless(self) -> Callable[[str], Run]:
        return lambda name: Run(name, "none", ("sleep", "1000"), MEMBERS)


async def _end_of(runtime: ProcessRuntime, run: Run) -> tuple[str, int | None]:
    runtime.watch(run, await runtime.start(run))
    async with asyncio.timeout(60):
        while True:
            if found := await runtime.ended(1):
                return found[0].how, found[0].exit_code


@pytest.mark.parametrize(
    ("command", "code"),
    [(("sh", "-c", "exit 7"), 7), (("no-such-program",), 127), (("/",), 126), (("sh", "-c", "kill -9 $$"), 137)],
)
async def test_the_exit_code_is_the_one_a_shell_would_give(
    runtime: ProcessRuntime, command: tuple[str, ...], code: int
) -> None:
    assert await _end_of(runtime, Run("a", "none", command, MEMBERS)) == ("exited", code)


async def test_its_environment_names_its_gpus_and_nothing_of_the_services(
    runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUAAS_POSTGRES_DSN", "a secret")
    run = shell("a", "env")
    await _end_of(runtime, run)
    said = dict(line.split("=", 1) for line in (await runtime.read_log(run, 0, 10_000)).content.decode().splitlines())
    assert (said["GPUAAS_DEVICES"], said["GPUAAS_GPU_COUNT"]) == ("n0-g0", "1")
    assert json.loads(said["GPUAAS_MEMBERS"]) == [{"member": 0, "node_id": "n0", "device_ids": ["n0-g0"]}]
    assert "GPUAAS_POSTGRES_DSN" not in said


async def test_started_twice_it_runs_once(runtime: ProcessRuntime, folder: Path) -> None:
    run = shell("a", "echo once; sleep 1000")
    first, again = await asyncio.gather(runtime.start(run), runtime.start(run))
    assert first == again == await ProcessRuntime(folder, GRACE_S, "refused").start(run)
    await runtime.stop(run, first, WallClock().now())
    assert (await runtime.read_log(run, 0, 100)).content == b"once\n"


async def test_what_ended_is_not_started_again(runtime: ProcessRuntime) -> None:
    run = shell("a", "echo once")
    assert await _end_of(runtime, run) == ("exited", 0)
    await runtime.start(run)
    assert (await runtime.read_log(run, 0, 100)).content == b"once\n"


async def test_what_was_stopped_before_it_started_never_starts(runtime: ProcessRuntime) -> None:
    run = shell("a", "echo never")
    await runtime.stop(run, None, WallClock().now())
    await runtime.start(run)
    assert (await runtime.read_log(run, 0, 100)).content == b""


async def test_a_workload_that_does_not_want_to_end_is_ended_after_the_grace(
    runtime: ProcessRuntime, folder: Path
) -> None:
    run = shell("a", "trap '' TERM; setsid sleep 1000 & while :; do sleep 0.05; done")
    started_at = await runtime.start(run)
    await asyncio.sleep(0.2)
    end = await runtime.stop(run, started_at, WallClock().now())
    assert (end.how, end.exit_code) == ("stopped", 137)


async def test_what_it_leaves_behind_ends_with_it(runtime: ProcessRuntime, folder: Path) -> None:
    assert await _end_of(runtime, shell("a", "sleep 1000 & exit 0")) == ("exited", 0)
    assert of(folder) == set()


async def test_a_service_that_starts_again_goes_on_watching(runtime: ProcessRuntime, folder: Path) -> None:
    run = shell("a", "sleep 0.3; exit 3")
    started_at = await runtime.start(run)
    after = ProcessRuntime(folder, GRACE_S, "refused")
    assert await after.start(run) == started_at
    after.watch(run, started_at)
    async with asyncio.timeout(60):
        while not (found := await after.ended(1)):
            pass
    assert (found[0].how, found[0].exit_code) == ("exited", 3)


async def test_a_killed_keeper_loses_the_run_and_leaves_nothing_running(runtime: ProcessRuntime, folder: Path) -> None:
    run = shell("a", "sleep 1000")
    runtime.watch(run, await runtime.start(run))
    (keeper,) = of(folder / "a", "cmdline")
    os.kill(keeper, signal.SIGKILL)
    async with asyncio.timeout(60):
        while not (found := await runtime.ended(1)):
            pass
    assert (found[0].how, found[0].exit_code) == ("lost", None)
    assert of(folder) == set()


async def test_a_command_beside_it_has_its_environment_and_an_end(runtime: ProcessRuntime) -> None:
    run = shell("a", "sleep 1000")
    started_at = await runtime.start(run)
    done = await runtime.execute(run, ["sh", "-c", "echo $GPUAAS_DEVICES; exit 4"], 10)
    assert (done.exit_code, done.output, done.timed_out) == (4, b"n0-g0\n", False)
    late = await runtime.execute(run, ["sleep", "1000"], 0.1)
    assert (late.exit_code, late.timed_out) == (137, True)
    assert (await runtime.execute(run, ["no-such-program"], 1)).exit_code == 127
    await runtime.stop(run, started_at, WallClock().now())
    with pytest.raises(Rejected, match="does not run"):
        await runtime.execute(run, ["true"], 1)


def test_profiles_that_people_depend_on_refuse_it() -> None:
    with pytest.raises(Misconfigured, match="no sandbox"):
        AllocationsSettings.from_environment({"GPUAAS_RUNTIME": "process", "GPUAAS_PROFILE": "production"})
    with pytest.raises(Misconfigured, match="real time"):
        AllocationsSettings.from_environment(
            {"GPUAAS_RUNTIME": "process", "GPUAAS_PROFILE": "dev", "GPUAAS_CLOCK_PACE": "0/2026-01-01T00:00:00Z/10"}
        )


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[AllocationsSettings]:
    async with fresh_settings(stack, AllocationsSettings, tmp_path) as made:
        yield made.model_copy(
            update={"runtime": "process", "state_dir": tmp_path, "stop_grace_s": GRACE_S, "exec_policy": "allowed"}
        )


async def test_an_allocation_really_runs_and_its_log_is_followed(settings: AllocationsSettings, folder: Path) -> None:
    async with world(settings) as here:
        await here.machines(1)
        name = await here.ask(command=["sh", "-c", "echo first; sleep 0.5; echo second; exit 5"])
        member, text, offset = await here.as_member("acme"), "", 0
        async with asyncio.timeout(60):
            while True:
                part = await here.get(f"{HERE}/{name}/logs", member, offset=offset, wait_s=5)
                text, offset = text + part["text"], part["next_offset"]
                if part["complete"]:
                    break
        assert text == "first\nsecond\n"
        found = await here.until("released", name)
        assert (found["end_reason"], found["exit_code"]) == ("failed", 5)
        assert (await here.get(f"{HERE}/{name}/logs", member, offset=2, limit_bytes=5))["text"] == "rst\ns"
        await here.get(f"{HERE}/{name}/logs", await here.as_member("rival"), status=404)


async def test_a_command_is_in_the_trail_and_runs_once(settings: AllocationsSettings, folder: Path) -> None:
    async with world(settings) as here:
        await here.machines(1)
        name = await here.ask(command=["sleep", "1000"])
        await here.until("active", name)
        path, body = f"{HERE}/{name}/commands", {"command": ["sh", "-c", "echo x >> ran; wc -l < ran"]}
        headers = await here.as_member("acme") | {"Idempotency-Key": "k"}
        answer = await here.client.post(path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["output"].strip()) == (200, "1")
        assert (await here.client.post(path, json=body, headers=headers)).status_code == 409
        rival = await here.client.post(path, json=body, headers=await here.as_member("rival"))
        assert rival.status_code == 404
        assert (await here.said_of(name)).count("command-ordered") == 1
        await here.release(name)
        assert (await here.until("released", name))["end_reason"] == "tenant-request"
        await eventually(lambda: _gone(folder))


async def _gone(folder: Path) -> bool:
    return of(folder) == set()


async def test_a_run_outlives_the_service(settings: AllocationsSettings, folder: Path) -> None:
    async with world(settings) as before:
        await before.machines(1)
        name = await before.ask(command=["sh", "-c", "sleep 1; echo done"])
        await before.until("active", name)
    async with world(settings) as after:
        after.members = before.members
        found = await after.until("released", name)
        assert (found["end_reason"], found["exit_code"]) == ("completed", 0)
        assert await after.said_of(name) == ["requested", "placed", "started", "released"]
        assert (await after.get(f"{HERE}/{name}/logs", await after.as_member("acme")))["text"] == "done\n"
