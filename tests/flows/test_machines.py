"""An operator's day with machines at the command line: registered, looked at, drained, planned for, retired."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from gpuaas.cli.demo.world import World
from gpuaas.cli.main import main
from gpuaas.common.ids import new_id
from gpuaas.common.testing.running import eventually

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]
FAR = datetime(2050, 1, 1, tzinfo=UTC)
Said = Callable[..., Awaitable[Any]]


@pytest.fixture
def said(world: World) -> Said:
    """What a command says, as JSON."""
    services = json.dumps(dict(world.endpoints.services))
    environment = {"GPUAAS_SERVICES": services, "GPUAAS_API_KEY": world.stack.operator_key, "COLUMNS": "300"}

    async def told(*words: str, status: int = 0) -> Any:
        done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--json"], env=environment)
        assert done.exit_code == status, (words, done.output)
        return json.loads(done.stdout) if status == 0 or done.stdout.startswith("[") else done.output

    return told


async def test_a_machine_is_enrolled_cared_for_and_retired_at_the_command_line(said: Said, tmp_path: Path) -> None:
    name = f"hand-{new_id()[-12:]}"
    place = {"region": "eu-central", "site": "fra1", "pod": "p9", "rack": name}
    machine = {"node_id": name, "topology": place, "expected_gpu_count": 8, "pool_id": name}
    listed = tmp_path / "machines.json"
    listed.write_text(json.dumps([machine | {"expected_gpu_model": "nvidia-h100-sxm5-80gb"}]))
    assert [each["status"] for each in await said("nodes", "register", str(listed))] == ["accepted"]
    listed.write_text(json.dumps([machine | {"expected_gpu_model": "nvidia-t4-16gb"}]))
    assert [each["status"] for each in await said("nodes", "register", str(listed), status=1)] == ["refused"]

    async def stands(lifecycle: str) -> bool:
        return bool((await said("nodes", "show", name))["lifecycle"] == lifecycle)

    await eventually(lambda: stands("available"))
    await said("nodes", "look", name)
    assert await said("nodes", "claims", name) == []
    assert await said("nodes", "promises", name) == []
    times = ["--starts-at", FAR.isoformat(), "--ends-at", (FAR + timedelta(hours=1)).isoformat()]
    window = ["nodes", "maintenance", "plan", name, "--rack", name, *times, "--notice-s", "60", "--reason", "fans"]
    await said(*window)
    assert [each["node_id"] for each in (await said("nodes", "maintenance", "show", name))["nodes"]] == [name]
    await said("nodes", "maintenance", "cancel", name, "--reason", "the fans did not come")
    await said("nodes", "drain", name, "--reason", "fan 3 is loud")
    report = ["nodes", "health", "report", name, "--slot", "1", "--class", "thermal", "--detail", "97 degrees"]
    component = (await said(*report))["id"]
    await said("nodes", "health", "recover", component, "--reason", "the fan was replaced")
    assert (await said("nodes", "health", "automation", name))["withheld"] == []
    rules = await said("nodes", "health", "rules", "show")
    rules["classes"]["thermal"] = {"condition": "failed", "action": "repair"}
    listed.write_text(json.dumps({**rules, "version": name}))
    tried = await said("nodes", "health", "rules", "try", str(listed), "--limit", "0")
    assert tried["differences"] == len(tried["items"]) == sum(each["verdicts"] for each in tried["summary"]) >= 1
    await said("nodes", "retire", name, "--reason", "sold", "--yes")
    await eventually(lambda: stands("retired"))
