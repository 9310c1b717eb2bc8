"""The read model and the decider know the same life: whatever is ordered, row and state agree on every axis."""

from __future__ import annotations

import asyncio
from typing import Any

from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.errors import GpuaasError
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.projections import decoded
from gpuaas.nodes.domain.axes import DrainMode, Node
from gpuaas.nodes.domain.hardware import Field
from gpuaas.nodes.domain.node import VOCABULARY
from gpuaas.nodes.domain.orders import (
    BeginNodeMaintenance,
    BeginRemedy,
    CancelDrain,
    EndNodeMaintenance,
    EndRemedy,
    LiftHold,
    NodeCommand,
    OrderDrain,
    PlaceHold,
    RecordAllocated,
    RecordAllocationEnded,
    RecordBurnInStep,
    RecordDrained,
    RecordFirmware,
    RecordHardware,
    RecordHeartbeatLost,
    RecordHeartbeatRestored,
    RecordOverdue,
    RecordUnusableHardware,
    RecordWiped,
    RegisterNode,
    RetireNode,
    ValidateNode,
)
from gpuaas.nodes.domain.proofs import POLICY, Load, Plan, RemedyAction, Trial
from gpuaas.nodes.projections.nodes import row_after
from gpuaas.nodes.reactions import NODE_ENTITY
from hypothesis import given, settings
from hypothesis import strategies as st
from node_facts import REGISTER, REGISTER_WHOLE, at, device, hardware, hold


def _overdue(lifecycle: str, minute: int) -> RecordOverdue:
    return RecordOverdue(lifecycle, at(0), 60, ("look-again", "call-a-person"), "1", at(minute))


PLAN = Plan("short", "1", (Trial(Load.GPU_MEMORY, 60), Trial(Load.GPU_LINK, 60)))

COMMANDS: st.SearchStrategy[NodeCommand] = st.one_of(
    st.builds(RecordHardware, st.integers(0, 30).map(lambda m: hardware(observed_at=at(m)))),
    st.builds(RecordHardware, st.integers(0, 30).map(lambda m: hardware(device(0), observed_at=at(m)))),
    st.just(ValidateNode()),
    st.just(ValidateNode(PLAN, at(6))),
    st.builds(
        RecordBurnInStep,
        st.integers(1, 2),
        st.sampled_from(["passed", "passed", "failed"]),
        st.just("told"),
        st.just(at(7)),
    ),
    st.just(PlaceHold(hold("health-1", owner=POLICY))),
    st.builds(lambda action: BeginRemedy("gpu-a", 1, action, 3, "v1", "told", at(8)), st.sampled_from(RemedyAction)),
    st.builds(
        lambda action, how: EndRemedy("gpu-a", 1, action, how, "told", at(9)),
        st.sampled_from(RemedyAction),
        st.sampled_from(["done", "refused"]),
    ),
    st.just(RecordUnusableHardware(Field.OBSERVATION, "a possible machine", "none")),
    st.builds(PlaceHold, st.sampled_from(["a", "b"]).map(lambda name: hold(name, expires_at=at(5)))),
    st.builds(LiftHold, st.sampled_from(["a", "b"]), st.just("u-ops-jonas"), st.just("done")),
    st.builds(RecordHeartbeatLost, st.integers(0, 30).map(at)),
    st.builds(RecordHeartbeatRestored, st.integers(0, 30).map(at)),
    st.builds(OrderDrain, st.sampled_from(DrainMode), st.just(60), st.just("fans"), st.just(at(3))),
    st.just(CancelDrain("not today")),
    st.just(RecordDrained(at(9), 7)),
    st.builds(RecordAllocated, st.sampled_from(["a", "b"]), st.just("acme"), st.just("p"), st.integers(1, 20)),
    st.builds(RecordAllocationEnded, st.sampled_from(["a", "b"]), st.just("completed")),
    st.just(RecordWiped("secure-erase", 8, 8, at(4), "0" * 64)),
    st.just(BeginNodeMaintenance("mw-1")),
    st.builds(RecordFirmware, st.just("mw-1"), st.just("bmc"), st.sampled_from(["1", "2"]), st.none(), st.just(at(5))),
    st.builds(EndNodeMaintenance, st.just("mw-1"), st.sampled_from([None, "the flash failed"])),
    st.builds(_overdue, st.sampled_from(["validating", "repair", "sanitizing"]), st.integers(0, 40)),
    st.just(RetireNode("end of lease")),
)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from([REGISTER, REGISTER_WHOLE]), st.lists(COMMANDS, max_size=20))
def test_row_and_state_agree_on_every_axis(first: RegisterNode, orders: list[NodeCommand]) -> None:
    state, facts = asyncio.run(_lived([first, *orders]))
    row: dict[str, Any] = {}
    for fact in facts:
        row = row_after(row, fact)
    assert (row["lifecycle"], row["custody"], row["placeable"]) == (state.lifecycle, state.custody, state.placeable)
    assert row["isolation"] == state.expected.isolation
    assert set(row["occupants"]) == {each.allocation_id for each in state.occupants}
    assert (row["unclean"], row["look_due"]) == (state.unclean is not None, state.look_due)
    assert row["overdue"] == state.overdue
    assert (row["window_id"], row["firmware"]) == (state.window_id, dict(state.firmware))
    assert (row["health_hardware"], row["health_agent"]) == (state.health.hardware, state.health.agent)
    assert set(row["holds"]) == {each.hold_id for each in state.holds}
    assert row["hold_expires_at"] == min((h.expires_at for h in state.holds if h.expires_at), default=None)
    assert [m["field"] for m in row["mismatches"].get("items", [])] == [m.field for m in state.mismatches]
    assert row["agent_seen_at"] == state.agent_seen_at
    told = (row["drain"]["mode"], row["drain"]["drained_at"] is not None) if row["drain"] else None
    assert told == ((state.drain.mode, state.drain.drained_at is not None) if state.drain else None)
    assert row["proof_due"] == state.proof_due
    assert row["burned_in_at"] == state.burned_in_at
    if state.burn_in is not None:
        assert len(row["burn_in"]["ended"]) == state.burn_in.passed
    assert (row["remedy"].get("action"), row["remedy"].get("outcome")) == (
        (state.remedy.action, state.remedy.outcome) if state.remedy else (None, None)
    )
    assert {name: told["outcome"] for name, told in row["remedied"].items()} == {
        name: told.outcome for name, told in state.remedied.items()
    }
    assert row["version"] == len(facts)


async def _lived(orders: list[NodeCommand]) -> tuple[Node, list[Fact]]:
    log = MemoryLog()
    commands = Commands(log, WallClock(), "nodes", "dev")
    for number, order in enumerate(orders):
        cause = Cause(id=f"cause-{number}", actor="tester", actor_kind="user")
        try:
            await commands.execute(NODE_ENTITY, PLATFORM, "n-1", order, cause)
        except GpuaasError:
            continue
    state, _ = await commands.state(NODE_ENTITY, PLATFORM, "n-1")
    assert isinstance(state, Node)
    return state, decoded(VOCABULARY, await log.history(NODE_ENTITY.subject(PLATFORM, "n-1")))
