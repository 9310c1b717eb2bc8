"""The ladder acts: what a verdict orders is done on a closed and empty machine, once, and proved before it opens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from enrolled_nodes import enrolled, facts_of, node
from gpuaas.common.errors import Rejected
from gpuaas.common.events import Event
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.nodes import (
    AutomaticRemedyGranted,
    AutomaticRemedyWithheld,
    AutomaticWithdrawalGranted,
    AutomationBreakerOpened,
    NodeRemedyEnded,
    NodeRemedyStarted,
)
from gpuaas.nodes.app import build
from gpuaas.nodes.domain.automation import AUTOMATION, AskRemedy, Automation
from gpuaas.nodes.domain.axes import Lifecycle
from gpuaas.nodes.domain.orders import (
    BeginNodeMaintenance,
    BeginRemedy,
    EndRemedy,
    NodeCommand,
    PlaceHold,
    RecordAllocated,
    RecordHardware,
    ValidateNode,
)
from gpuaas.nodes.domain.proofs import POLICY, RemedyAction
from gpuaas.nodes.settings import NodesSettings
from node_facts import AVAILABLE, AVAILABLE_WHOLE, at, hardware, hold, last_of, node_after
from pool_facts import granted, offered, returned, withdrawn

CLOSED = (*AVAILABLE, PlaceHold(hold("health-1", owner=POLICY)))
RESET = BeginRemedy("gpu-a", 1, RemedyAction.RESET, 3, "v1", "memory-uncorrected: reset", at(1))
REBOOT = replace(RESET, action=RemedyAction.REBOOT, slot=None)


def ended(order: BeginRemedy, outcome: str = "done") -> EndRemedy:
    return EndRemedy(order.component_id, order.fault_number, order.action, outcome, "told", at(2))


def test_a_remedy_takes_the_machine_out_of_service_until_it_is_looked_at() -> None:
    (begun,) = last_of(*CLOSED, RESET)
    assert isinstance(begun, NodeRemedyStarted)
    assert node_after(*CLOSED, RESET).lifecycle is Lifecycle.REPAIR
    assert last_of(*CLOSED, RESET, RESET) == [], "the same order again has nothing to add"
    (done,) = last_of(*CLOSED, RESET, ended(RESET))
    assert isinstance(done, NodeRemedyEnded)
    assert last_of(*CLOSED, RESET, ended(RESET), ended(RESET)) == []
    looked = (*CLOSED, RESET, ended(RESET), RecordHardware(hardware(observed_at=at(3))), ValidateNode())
    found = node_after(*looked)
    assert (found.lifecycle, found.remedy, found.remedied["gpu-a"].outcome) == (Lifecycle.AVAILABLE, None, "done")
    assert not found.placeable, "the policy's hold stands until the component is proved"


@pytest.mark.parametrize(
    ("history", "order", "why"),
    [
        (AVAILABLE, RESET, "closed and idle"),
        ((*AVAILABLE, PlaceHold(hold("mine"))), RESET, "closed and idle"),
        ((*CLOSED, RESET), replace(RESET, component_id="gpu-b"), "one at a time"),
        ((*CLOSED, RESET, ended(RESET)), RESET, "was tried"),
        ((*CLOSED, REBOOT, ended(REBOOT, "refused")), RESET, "was tried"),
        (
            (*AVAILABLE_WHOLE, RecordAllocated("a", "acme", "p", 1), PlaceHold(hold("health-1", owner=POLICY))),
            RESET,
            "wait for its end",
        ),
        ((*CLOSED, RESET), RecordHardware(hardware(observed_at=at(9), cpu_count=1)), "being reset"),
        ((*CLOSED, RESET), BeginNodeMaintenance("mw-1"), "maintenance takes it"),
    ],
)
def test_a_remedy_is_refused_where_it_has_no_business(
    history: Sequence[NodeCommand], order: NodeCommand, why: str
) -> None:
    with pytest.raises(Rejected, match=why):
        last_of(*history, order)


def test_what_was_refused_may_be_followed_by_the_stronger_step_and_a_new_fault_by_the_same() -> None:
    assert last_of(*CLOSED, RESET, ended(RESET, "refused"), REBOOT)
    assert last_of(*CLOSED, RESET, ended(RESET), replace(RESET, fault_number=2))


def asked(**other: Any) -> AskRemedy:
    told = AskRemedy("p", "n-1", "gpu-a", RemedyAction.RESET, 1, "v1", "because", at(1), serving=True, enabled=True)
    return replace(told, **other)


WITHDRAWN = AutomaticWithdrawalGranted(
    pool_id="p",
    node_id="n-1",
    component_id="gpu-a",
    rule_version="v1",
    reason="because",
    decided_at=at(0),
    withdrawn=1,
    allowed=1,
)
TRIPPED = AutomationBreakerOpened(pool_id="p", reason="20 withdrawals", opened_at=at(0))


@pytest.mark.parametrize(
    ("history", "ask", "guard"),
    [
        ([WITHDRAWN], asked(), None),
        ([], asked(serving=False), None),
        ([], asked(), "not-withdrawn"),
        ([WITHDRAWN], asked(enabled=False), "disabled"),
        ([WITHDRAWN, TRIPPED], asked(), "breaker-open"),
    ],
)
def test_guards_come_first_and_say_so_once(history: list[Event], ask: AskRemedy, guard: str | None) -> None:
    state: Automation = AUTOMATION.fold(history)
    (said,) = AUTOMATION.decide(ask, state)
    assert isinstance(said, AutomaticRemedyGranted if guard is None else AutomaticRemedyWithheld)
    after = AUTOMATION.fold([said], state)
    assert after.granted_to("gpu-a", 1, RemedyAction.RESET) is (guard is None)
    assert list(AUTOMATION.decide(ask, after)) == []


@pytest.fixture
def script() -> dict[str, Any]:
    return {}


@pytest.fixture
def given() -> dict[str, Any]:
    return {"drain_budget_share": 1.0}


@pytest.fixture
async def settings(
    stack: TestStack, tmp_path: Path, script: dict[str, Any], given: dict[str, Any]
) -> AsyncIterator[NodesSettings]:
    kept = tmp_path / "script.json"
    kept.write_text(json.dumps(script))
    said = {"sim_script": kept, "upkeep_tick_s": 0.1, **given}
    async with fresh_settings(stack, NodesSettings, tmp_path / "state", **said) as settings:
        yield settings


async def fault(client: httpx.AsyncClient, headers: dict[str, str], node_id: str, xid: int) -> str:
    body = {"slot": 3, "xid": xid, "detail": "reported"}
    answer = await client.post(f"/v1/nodes/{node_id}/faults", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def once(client: httpx.AsyncClient, headers: dict[str, str], node_id: str, fact: str) -> Callable[[], Any]:
    async def said() -> bool:
        return fact in facts_of(await node(client, headers, node_id))

    return said


async def test_a_reset_is_done_proved_and_the_machine_opens_by_itself(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "n-1")
        component_id = await fault(client, operator, "n-1", 48)
        await eventually(once(client, operator, "n-1", "node-hold-lifted"))
        found = await node(client, operator, "n-1")
        told = facts_of(found)
        assert told[told.index("node-hold-placed") :] == [
            "node-hold-placed",
            "node-remedy-started",
            "node-remedy-ended",
            "node-hardware-observed",
            "node-burn-in-started",
            "node-burn-in-step-ended",
            "node-became-available",
            "node-hold-lifted",
        ]
        assert found["remedies"][component_id]["outcome"] == "done"
        seen = operator | {"GPUaaS-At-Least": str(await service.log.last_position())}
        component = (await client.get(f"/v1/components/{component_id}", headers=seen)).json()
        assert (component["condition"], component["reason"]) == (
            "healthy",
            "reset done; validated and burnt in again",
        )


async def test_a_machine_in_use_is_waited_for_and_a_reboot_really_switches_it(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "n-1")
        await offered(service.log, "n-1")
        await granted(service.log, "n-1", "a-1")
        await fault(client, operator, "n-1", 79)
        await eventually(once(client, operator, "n-1", "node-hold-placed"))
        await withdrawn(service.log, "n-1")
        for _ in range(5):
            assert not (await once(client, operator, "n-1", "node-remedy-started")()), "a tenant is on it"
        await returned(service.log, "a-1")
        await eventually(once(client, operator, "n-1", "node-hold-lifted"))
        assert facts_of(await node(client, operator, "n-1")).count("node-remedy-started") == 1


class TestAProviderThatResetsNoGpu:
    @pytest.fixture
    def script(self) -> dict[str, Any]:
        return {"faults": {"reset_gpu/n-1": ["refused"] * 9}, "burn_ins": {"gpu-memory/n-2": [3]}}

    async def test_a_reset_that_is_refused_becomes_a_reboot_and_a_failed_burn_in_climbs(
        self, settings: NodesSettings
    ) -> None:
        service = build(settings)
        async with running(service) as client:
            operator = await (await Identities.on(service.log)).operator()
            await enrolled(client, operator, "n-1", "n-2")
            await fault(client, operator, "n-1", 48)
            component_id = await fault(client, operator, "n-2", 48)
            await eventually(once(client, operator, "n-1", "node-hold-lifted"))
            history = (await node(client, operator, "n-1"))["history"]
            steps = [each["data"] for each in history if "node-remedy-ended" in each["type"]]
            assert [(each["action"], each["outcome"]) for each in steps] == [("reset", "refused"), ("reboot", "done")]
            # On n-2 the reset was done and the burn-in failed: another fault, another reset, and that one holds.
            await eventually(once(client, operator, "n-2", "node-hold-lifted"))
            history = (await node(client, operator, "n-2"))["history"]
            steps = [each["data"] for each in history if "node-remedy-ended" in each["type"]]
            assert [(each["fault_number"], each["outcome"]) for each in steps] == [(1, "done"), (2, "done")]
            seen = operator | {"GPUaaS-At-Least": str(await service.log.last_position())}
            component = (await client.get(f"/v1/components/{component_id}", headers=seen)).json()
            assert (component["condition"], component["fault_count"]) == ("healthy", 2)


class TestSwitchedOff:
    @pytest.fixture
    def given(self) -> dict[str, Any]:
        return {"remedy_automation": False, "drain_budget_share": 1.0}

    async def test_a_remedy_is_named_and_not_done(self, settings: NodesSettings) -> None:
        service = build(settings)
        async with running(service) as client:
            operator = await (await Identities.on(service.log)).operator()
            await enrolled(client, operator, "n-1")
            await fault(client, operator, "n-1", 48)

            async def withheld() -> bool:
                told = await client.get("/v1/pools/h100-fra/automation", headers=operator)
                return [each["guard"] for each in told.json()["remedies"]] == ["disabled"]

            await eventually(withheld)
            assert "node-remedy-started" not in facts_of(await node(client, operator, "n-1"))
