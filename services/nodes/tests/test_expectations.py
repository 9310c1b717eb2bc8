"""A machine that stays too long gets the next step of its list, once each, and in the end a person."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from enrolled_nodes import facts_of, node, order
from gpuaas.common.errors import Misconfigured, Rejected
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.nodes import NodeStateOverdue
from gpuaas.nodes.app import build
from gpuaas.nodes.domain.axes import Lifecycle
from gpuaas.nodes.domain.expectations import Expectations, Step, usual
from gpuaas.nodes.domain.hardware import Field
from gpuaas.nodes.domain.orders import RecordHardware, RecordOverdue, RecordUnusableHardware
from gpuaas.nodes.settings import NodesSettings
from node_facts import REGISTER, at, hardware, last_of, node_after

BROKEN = (REGISTER, RecordUnusableHardware(Field.PROVIDER, "an answer", "none"))
STAYS = RecordOverdue("repair", at(0), 600, ("look-again", "call-a-person"), "1", at(10))


def test_each_step_is_said_once_and_the_list_ends() -> None:
    (first,) = last_of(*BROKEN, STAYS)
    assert isinstance(first, NodeStateOverdue)
    assert (first.attempt, first.step, first.withheld) == (1, "look-again", None)
    with pytest.raises(Rejected, match="has until"):
        last_of(*BROKEN, STAYS, STAYS)
    later = replace(STAYS, now=at(20))
    (second,) = last_of(*BROKEN, STAYS, later)
    assert isinstance(second, NodeStateOverdue)
    assert (second.attempt, second.step) == (2, "call-a-person")
    assert last_of(*BROKEN, STAYS, later, replace(STAYS, now=at(99))) == []


def test_a_machine_that_moved_on_is_not_overdue_and_begins_anew() -> None:
    with pytest.raises(Rejected, match="by now"):
        last_of(*BROKEN, RecordHardware(hardware(observed_at=at(9))), STAYS)
    assert node_after(*BROKEN, STAYS).overdue == 1
    assert node_after(*BROKEN, STAYS, RecordHardware(hardware(observed_at=at(11)))).overdue == 0


def test_automation_that_is_switched_off_still_says_what_it_would_do() -> None:
    (named,) = last_of(*BROKEN, replace(STAYS, enabled=False))
    assert isinstance(named, NodeStateOverdue)
    assert named.withheld is True


def test_every_passing_state_has_an_expectation_that_ends_with_a_person() -> None:
    lasting = {Lifecycle.AVAILABLE, Lifecycle.ALLOCATED, Lifecycle.RETIRED}
    assert set(usual().states) == set(Lifecycle) - lasting
    assert all(each.steps[-1] is Step.CALL_A_PERSON for each in usual().states.values())


@pytest.mark.parametrize("wrong", ["{}", '{"version": "1", "states": {"lost": {}}}', "no json"])
def test_a_file_that_is_none_is_a_sentence(tmp_path: Path, wrong: str) -> None:
    kept = tmp_path / "expectations.json"
    kept.write_text(wrong)
    settings = NodesSettings.model_validate({"profile": "dev", "state_dir": tmp_path, "state_expectations": kept})
    with pytest.raises(Misconfigured, match="STATE_EXPECTATIONS"):
        settings.expectations()


@pytest.fixture(params=[True, False], ids=["carried out", "switched off"])
async def settings(request: pytest.FixtureRequest, stack: TestStack, tmp_path: Path) -> AsyncIterator[NodesSettings]:
    hasty = {"version": "test", "states": {"repair": {"expected_s": 1, "steps": ["onboard-again", "call-a-person"]}}}
    kept, script = tmp_path / "expectations.json", tmp_path / "script.json"
    kept.write_text(json.dumps(hasty))
    script.write_text(json.dumps({"faults": {"adopt/n-1": ["timeout-before"]}}))
    given: dict[str, Any] = {"state_expectations": kept, "sim_script": script, "upkeep_tick_s": 0.1}
    given |= {"state_automation": request.param, "provider_attempts_max": 1}
    async with fresh_settings(stack, NodesSettings, tmp_path / "state", **given) as settings:
        yield settings


async def test_a_machine_that_nobody_answered_for_is_onboarded_again_by_itself(settings: NodesSettings) -> None:
    assert Expectations.read('{"version": "x", "states": {}}').states == {}
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await client.post("/v1/nodes", json=order("n-1"), headers=operator)
        wanted = "available" if settings.state_automation else "call-a-person"

        async def came_so_far() -> bool:
            found = await node(client, operator, "n-1") if await _known(client, operator) else None
            return found is not None and wanted in (found["lifecycle"], (found["overdue"] or {}).get("newest"))

        await eventually(came_so_far)
        told = facts_of(await node(client, operator, "n-1"))
        assert told[:4] == [
            "node-registered",
            "node-onboarding-started",
            "node-validation-failed",
            "node-state-overdue",
        ]
        assert told.count("node-became-available") == int(settings.state_automation)


async def _known(client: Any, operator: dict[str, str]) -> bool:
    return bool((await client.get("/v1/nodes/n-1", headers=operator)).status_code == 200)
