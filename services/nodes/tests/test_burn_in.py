"""A machine runs the burn-in its pool's policy names before it is available; what fails there is a fault."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from enrolled_nodes import enrolled, facts_of, node
from gpuaas.common.clock import WallClock
from gpuaas.common.errors import Misconfigured, Rejected
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.nodes import NodeBecameAvailable, NodeBurnInStarted, NodeBurnInStepEnded, NodeValidationFailed
from gpuaas.nodes.app import build
from gpuaas.nodes.domain.axes import Lifecycle
from gpuaas.nodes.domain.burn_in import BurnInPolicy, usual_policy
from gpuaas.nodes.domain.hardware import Field
from gpuaas.nodes.domain.orders import RecordBurnInStep, RecordHardware, RecordUnusableHardware, ValidateNode
from gpuaas.nodes.domain.proofs import Load, Occasion, Plan, Trial
from gpuaas.nodes.settings import NodesSettings
from node_facts import AVAILABLE, REGISTER, at, device, hardware, last_of, node_after

PLAN = Plan("short", "1", (Trial(Load.GPU_MEMORY, 60), Trial(Load.GPU_COMPUTE, 60)))
BURNT = (REGISTER, RecordHardware(hardware()), ValidateNode(PLAN, at(1)))


def passed(number: int, minute: int = 2) -> RecordBurnInStep:
    return RecordBurnInStep(number, "passed", "no error", at(minute), measured="0", unit="errors")


def test_a_new_machine_is_available_only_after_every_step_has_passed() -> None:
    (started,) = last_of(*BURNT)
    assert isinstance(started, NodeBurnInStarted)
    assert (started.occasion, [each.step for each in started.steps]) == ("new", ["gpu-memory", "gpu-compute"])
    assert last_of(*BURNT, ValidateNode(PLAN, at(2))) == [], "one is under way"
    assert last_of(*BURNT, passed(1), ValidateNode()) == [], "a step is missing"
    assert node_after(*BURNT, passed(1)).lifecycle is Lifecycle.VALIDATING
    (available,) = last_of(*BURNT, passed(1), passed(2), ValidateNode(PLAN, at(3)))
    assert isinstance(available, NodeBecameAvailable)
    proved = node_after(*BURNT, passed(1), passed(2), ValidateNode())
    assert (proved.proof_due, proved.burned_in_at, proved.burn_in) == (None, at(1), None)


def test_a_step_that_fails_sends_the_machine_to_repair_and_names_the_gpu() -> None:
    failed = RecordBurnInStep(2, "failed", "wrong results", at(3), slot=3)
    step, verdict = last_of(*BURNT, passed(1), failed)
    assert isinstance(step, NodeBurnInStepEnded)
    assert isinstance(verdict, NodeValidationFailed)
    seen = node_after(*BURNT).hardware
    assert seen is not None
    assert step.device_id == seen.devices[3].device_id
    assert [(each.field, each.observed) for each in verdict.mismatches] == [("burn-in", "failed: wrong results")]
    repaired = (*BURNT, passed(1), failed, RecordHardware(hardware(observed_at=at(9))))
    (again,) = last_of(*repaired, ValidateNode(PLAN, at(9)))
    assert isinstance(again, NodeBurnInStarted), "what was repaired is burnt in from the first step"
    assert node_after(*repaired).proof_due is Occasion.NEW, "a machine that never passed is new"


def test_steps_are_recorded_once_and_in_order() -> None:
    assert last_of(*BURNT, passed(1), passed(1)) == []
    with pytest.raises(Rejected, match="has not begun"):
        last_of(*BURNT, passed(2))
    with pytest.raises(Rejected, match="not burnt in"):
        last_of(*AVAILABLE, passed(1))


def test_a_repaired_machine_runs_one_of_its_own() -> None:
    broken = RecordUnusableHardware(Field.OBSERVATION, "a possible machine", "none")
    assert node_after(*AVAILABLE).proof_due is None
    assert node_after(*AVAILABLE, broken).proof_due is Occasion.REPAIRED
    swapped = (*AVAILABLE, broken, RecordHardware(hardware(observed_at=at(5))), ValidateNode(PLAN, at(5)))
    (started,) = last_of(*swapped)
    assert isinstance(started, NodeBurnInStarted)
    assert started.occasion == "repaired"


def test_a_look_that_asks_for_no_proof_begins_no_burn_in() -> None:
    gone = tuple(device(slot, serial="SWAP" if slot == 0 else None) for slot in range(8))
    looks = (RecordHardware(hardware(*gone, observed_at=at(5))), RecordHardware(hardware(observed_at=at(6))))
    (available,) = last_of(*AVAILABLE, *looks, ValidateNode(PLAN, at(6)))
    assert isinstance(available, NodeBecameAvailable), "it is what it was when it was proved"


def test_the_policy_is_by_profile_pool_and_occasion() -> None:
    production, dev = usual_policy("production"), usual_policy("dev")
    standard = production.plan_for("any", Occasion.NEW)
    assert standard is not None
    assert [each.load for each in standard.trials] == [Load.GPU_MEMORY, Load.GPU_COMPUTE, Load.GPU_LINK]
    assert dev.plan_for("any", Occasion.NEW) is None
    assert production.plan_for("any", None) is None
    told = {
        "version": "x",
        "plans": {"host": [{"step": "cpu", "expected_s": 9}]},
        "usual": {"dev": {"new": None}},
        "pools": {"metal": {"new": "host"}},
    }
    ours = BurnInPolicy.read(json.dumps(told), "dev")
    assert ours.plan_for("other", Occasion.NEW) is None
    metal = ours.plan_for("metal", Occasion.NEW)
    assert metal is not None
    assert metal.trials == (Trial(Load.CPU, 9),)


@pytest.mark.parametrize(
    "wrong",
    [
        "{}",
        "no json",
        '{"version": "1", "plans": {}, "usual": {"dev": {"new": "lost"}}}',
        '{"version": "1", "plans": {"a": [{"step": "dance", "expected_s": 1}]}, "usual": {"dev": {}}}',
        '{"version": "1", "plans": {"a": []}, "usual": {"dev": {}}}',
    ],
)
def test_a_policy_that_is_none_is_a_sentence(tmp_path: Path, wrong: str) -> None:
    kept = tmp_path / "burn-in.json"
    kept.write_text(wrong)
    settings = NodesSettings.model_validate({"profile": "dev", "state_dir": tmp_path, "burn_in": kept})
    with pytest.raises(Misconfigured, match="BURN_IN"):
        settings.burn_in_policy(settings.provider(WallClock()))


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[NodesSettings]:
    steps = [{"step": "gpu-memory", "expected_s": 3600}, {"step": "gpu-link", "expected_s": 1}]
    usual = {"new": "two", "repaired": "two"}
    policy = {"version": "test", "plans": {"two": steps}, "usual": {"dev": usual}, "pools": {}}
    kept, script = tmp_path / "burn-in.json", tmp_path / "script.json"
    kept.write_text(json.dumps(policy))
    # n-2: the GPU in slot 3 fails its first memory run; n-3: the link step never reports in time.
    script.write_text(json.dumps({"burn_ins": {"gpu-memory/n-2": [3]}, "faults": {"burn_in/n-3": _SILENT}}))
    given: dict[str, Any] = {"burn_in": kept, "sim_script": script, "upkeep_tick_s": 0.1, "remedy_automation": False}
    async with fresh_settings(stack, NodesSettings, tmp_path / "state", **given) as settings:
        yield settings


_SILENT = [None, None, *["timeout-before"] * 200]


async def test_machines_are_burnt_in_and_what_fails_is_a_fault(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "n-1", "n-2", "n-3")
        good, bad, late = [await node(client, operator, f"n-{number}") for number in (1, 2, 3)]
        assert (good["lifecycle"], bad["lifecycle"], late["lifecycle"]) == ("available", "repair", "repair")
        assert [step["outcome"] for step in good["burn_in"]["steps_ended"]] == ["passed", "passed"]
        assert facts_of(good)[-4:] == [
            "node-burn-in-started",
            "node-burn-in-step-ended",
            "node-burn-in-step-ended",
            "node-became-available",
        ]
        assert bad["mismatches"][0]["observed"] == "failed: errors on the GPU in slot 3"
        assert late["mismatches"][0]["observed"].startswith("late: no report within")
        await eventually(lambda: _faulty(client, operator, 2))
        faulty = (await client.get("/v1/components", headers=operator)).json()["items"]
        classes = {item["node_id"]: item["last_fault_class"] for item in faulty}
        assert classes == {"n-2": "memory-uncorrected", "n-3": "unknown"}
        await client.post("/v1/nodes/n-2/observations", headers=operator)
        await eventually(lambda: _available(client, operator, "n-2"))
        assert facts_of(await node(client, operator, "n-2")).count("node-burn-in-started") == 2


async def _faulty(client: httpx.AsyncClient, headers: dict[str, str], count: int) -> bool:
    return len((await client.get("/v1/components", headers=headers)).json()["items"]) == count


async def _available(client: httpx.AsyncClient, headers: dict[str, str], node_id: str) -> bool:
    return bool((await node(client, headers, node_id))["lifecycle"] == "available")
