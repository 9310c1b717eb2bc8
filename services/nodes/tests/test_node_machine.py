"""Any order of any commands: no node ever stands where the tables do not put it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gpuaas.common.errors import GpuaasError, NotFound, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.nodes import (
    NodeAllocated,
    NodeAllocationEnded,
    NodeBecameAvailable,
    NodeHardwareObserved,
    NodeMaintenanceEnded,
    NodeWiped,
)
from gpuaas.nodes.domain.admission import HOLDS_MAX
from gpuaas.nodes.domain.axes import (
    CUSTODY,
    DRAIN_HOLD,
    OWN_HOLD,
    TENANCY_HOLD,
    TRANSITIONS,
    Condition,
    Custody,
    DrainMode,
    Isolation,
    Lifecycle,
    Node,
    NodeState,
    Unregistered,
)
from gpuaas.nodes.domain.hardware import Field
from gpuaas.nodes.domain.node import NODE
from gpuaas.nodes.domain.orders import (
    BeginNodeMaintenance,
    BeginOnboarding,
    BeginRemedy,
    CancelDrain,
    EndNodeMaintenance,
    EndRemedy,
    ExpireHold,
    LiftHold,
    NodeCommand,
    OrderDrain,
    PlaceHold,
    RecordAllocated,
    RecordAllocationEnded,
    RecordBurnInStep,
    RecordDrained,
    RecordHardware,
    RecordHeartbeatLost,
    RecordHeartbeatRestored,
    RecordOverdue,
    RecordUnusableHardware,
    RecordWiped,
    RetireNode,
    ValidateNode,
)
from gpuaas.nodes.domain.proofs import POLICY, Load, Plan, RemedyAction, Trial
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from node_facts import MODEL, REGISTER, REGISTER_WHOLE, at, device, hardware, hold

MOMENTS = st.integers(0, 40).map(at)
HOLDS = st.sampled_from(["a", "b", "c", OWN_HOLD, DRAIN_HOLD, TENANCY_HOLD])
WINDOWS = st.sampled_from([None, None, "mw-1"])
PEOPLE = st.sampled_from(["u-jonas", "u-mara", POLICY])
PLAN = Plan("short", "1", (Trial(Load.GPU_MEMORY, 60), Trial(Load.GPU_LINK, 60)))
REMEDIES = st.sampled_from(RemedyAction)


class NodesLife(RuleBasedStateMachine):
    """Gives commands at random and keeps the books beside the decider."""

    def __init__(self) -> None:
        super().__init__()
        self.state: NodeState = NODE.initial
        self.history: list[Event] = []
        self.claims = 0
        self.looks = 0

    def give(self, command: NodeCommand) -> list[Event]:
        before = self.state
        try:
            events = list(NODE.decide(command, before))
        except GpuaasError:
            return []
        for event in events:
            was = self.state
            self.state = NODE.evolve(was, event)
            self._named_step(was, event)
        self.history += events
        if isinstance(command, RecordOverdue):
            return events  # said again when its next step is due by then
        if not isinstance(command, ExpireHold | LiftHold) or events:
            assert self._quiet(command), "the same command again has nothing to add"
        return events

    def _quiet(self, command: NodeCommand) -> bool:
        try:
            return list(NODE.decide(command, self.state)) == []
        except (NotFound, Rejected):
            # A verdict that a restored heartbeat or a repair has overtaken is refused, and so is a hold that is lifted.
            return True

    def _named_step(self, was: NodeState, event: Event) -> None:
        assert isinstance(self.state, Node)
        if isinstance(was, Unregistered):
            assert self.state.lifecycle is Lifecycle.REGISTERED
        elif was.lifecycle is not self.state.lifecycle:
            assert TRANSITIONS[was.lifecycle, type(event)] is self.state.lifecycle

    @rule(whole=st.booleans())
    def register(self, whole: bool) -> None:
        self.give(REGISTER_WHOLE if whole else REGISTER)

    @rule(moment=MOMENTS)
    def begin_onboarding(self, moment: Any) -> None:
        self.give(BeginOnboarding(moment))

    @rule(tenant=st.sampled_from(["acme", "kyoto"]))
    def grant(self, tenant: str) -> None:
        self.claims += 1
        self.give(RecordAllocated(f"alloc-{self.claims}", tenant, "p", self.claims))

    @rule(back=st.integers(0, 2))
    def give_back(self, back: int) -> None:
        self.give(RecordAllocationEnded(f"alloc-{self.claims - back}", "completed"))

    @rule(moment=MOMENTS)
    def wipe(self, moment: Any) -> None:
        self.give(RecordWiped("secure-erase", 8, 8, moment, "0" * 64))

    @rule(window_id=st.sampled_from(["mw-1", "mw-2"]))
    def begin_maintenance(self, window_id: str) -> None:
        empty = isinstance(self.state, Node) and self.state.drain is not None and not self.state.occupants
        if self.give(BeginNodeMaintenance(window_id)):
            assert empty

    @rule(window_id=st.sampled_from(["mw-1", "mw-2"]), failed=st.sampled_from([None, None, "the flash failed"]))
    def end_maintenance(self, window_id: str, failed: str | None) -> None:
        self.give(EndNodeMaintenance(window_id, failed))

    @rule(moment=MOMENTS, seed=st.integers(0, 1))
    def ready_again(self, moment: Any, seed: int) -> None:
        """What the platform does in order when nothing goes wrong, so that long lives are lived too."""
        self.give(RecordWiped("secure-erase", 8, 8, moment, "0" * 64))
        self.give(RecordHardware(hardware(observed_at=at(41 + self.looks))))
        self.looks += 1
        self.give(ValidateNode())

    @rule(
        count=st.sampled_from([8, 8, 8, 7]),
        model=st.sampled_from([MODEL, MODEL, "nvidia-t4-16gb"]),
        chassis=st.sampled_from(["C-1", "C-1", "C-2"]),
        swapped=st.booleans(),
        moment=MOMENTS,
    )
    def look(self, count: int, model: str, chassis: str, swapped: bool, moment: Any) -> None:
        devices = tuple(device(slot, serial="SWAP" if swapped and slot == 0 else None) for slot in range(count))
        seen = replace(hardware(*devices), gpu_model=model, machine_serial=chassis, observed_at=moment)
        self.give(RecordHardware(seen))

    @rule(plan=st.sampled_from([None, PLAN]))
    def validate(self, plan: Plan | None) -> None:
        before = self.state
        events = self.give(ValidateNode(plan, at(50) if plan else None))
        if any(isinstance(event, NodeBecameAvailable) for event in events):
            assert isinstance(before, Node)
            due = plan is not None and before.proof_due is not None
            assert not due or (before.burn_in is not None and before.burn_in.done), "a plan was skipped"

    @rule(number=st.integers(1, 2), outcome=st.sampled_from(["passed", "passed", "failed", "late"]), moment=MOMENTS)
    def burn_in(self, number: int, outcome: str, moment: Any) -> None:
        if self.give(RecordBurnInStep(number, outcome, "told", moment, slot=3)):
            assert isinstance(self.state, Node)
            assert (self.state.lifecycle is Lifecycle.REPAIR) is (outcome != "passed")

    @rule(number=st.integers(1, 3), action=REMEDIES)
    def begin_remedy(self, number: int, action: RemedyAction) -> None:
        before = self.state
        if self.give(BeginRemedy("gpu-a", number, action, 3, "v1", "told", at(45))):
            assert isinstance(before, Node)
            assert not before.occupants
            assert before.lifecycle is Lifecycle.REPAIR or any(h.owner == POLICY for h in before.holds)

    @rule(number=st.integers(1, 3), action=REMEDIES, outcome=st.sampled_from(["done", "refused", "late"]))
    def end_remedy(self, number: int, action: RemedyAction, outcome: str) -> None:
        self.give(EndRemedy("gpu-a", number, action, outcome, "told", at(46)))

    @rule(field=st.sampled_from([Field.OBSERVATION, Field.PROVIDER]))
    def cannot_look(self, field: Field) -> None:
        self.give(RecordUnusableHardware(field=field, expected="an answer", observed="none"))

    @rule(hold_id=HOLDS, owner=PEOPLE, expires_at=st.none() | MOMENTS)
    def place_hold(self, hold_id: str, owner: str, expires_at: Any) -> None:
        self.give(PlaceHold(hold(hold_id, owner, expires_at)))

    @rule(hold_id=HOLDS, by=PEOPLE)
    def lift_hold(self, hold_id: str, by: str) -> None:
        standing = self.state.hold(hold_id) if isinstance(self.state, Node) else None
        if self.give(LiftHold(hold_id=hold_id, by=by, reason="done")):
            assert standing is not None
            assert standing.owner == by

    @rule(hold_id=HOLDS, now=MOMENTS)
    def expire_hold(self, hold_id: str, now: Any) -> None:
        standing = self.state.hold(hold_id) if isinstance(self.state, Node) else None
        if self.give(ExpireHold(hold_id=hold_id, now=now)):
            assert standing is not None
            assert standing.expires_at is not None
            assert standing.expires_at <= now

    @rule(mode=st.sampled_from(DrainMode), window_id=WINDOWS, moment=MOMENTS)
    def order_drain(self, mode: DrainMode, window_id: str | None, moment: Any) -> None:
        self.give(OrderDrain(mode, 60, "firmware", moment, window_id=window_id))

    @rule(window_id=WINDOWS)
    def cancel_drain(self, window_id: str | None) -> None:
        self.give(CancelDrain("not today", window_id))

    @rule(moment=MOMENTS)
    def find_it_empty(self, moment: Any) -> None:
        self.give(RecordDrained(now=moment, pool_position=7))

    @rule(lifecycle=st.sampled_from(Lifecycle), minute=st.integers(0, 200))
    def stay_too_long(self, lifecycle: Lifecycle, minute: int) -> None:
        steps = ("look-again", "power-cycle", "call-a-person")
        self.give(RecordOverdue(lifecycle.value, at(0), 600, steps, "1", at(minute)))
        assert not isinstance(self.state, Node) or self.state.overdue <= len(steps)

    @rule(moment=MOMENTS)
    def fall_silent(self, moment: Any) -> None:
        self.give(RecordHeartbeatLost(last_seen_at=moment))

    @rule(moment=MOMENTS)
    def be_heard(self, moment: Any) -> None:
        self.give(RecordHeartbeatRestored(seen_at=moment))

    @rule(really=st.integers(0, 9))
    def retire(self, really: int) -> None:
        if really == 0:
            self.give(RetireNode(reason="end of lease"))

    @invariant()
    def stands_where_the_tables_put_it(self) -> None:
        node = self.state
        if isinstance(node, Unregistered):
            return
        hands = {CUSTODY[node.lifecycle]} if node.lifecycle in CUSTODY else set(Custody)
        assert node.custody in hands
        assert (node.hands is Custody.TENANT) >= bool(node.occupants)
        assert (node.lifecycle is Lifecycle.ALLOCATED) <= bool(node.occupants)
        assert bool(node.occupants) <= (node.unclean is not None)
        assert (node.lifecycle is Lifecycle.MAINTENANCE) <= (node.window_id is not None)
        if node.lifecycle is not Lifecycle.RETIRED:
            assert (node.lifecycle is Lifecycle.REPAIR) <= (bool(node.mismatches) or node.remedy is not None)
            assert (node.remedy is not None) <= (node.lifecycle is Lifecycle.REPAIR)
            assert (node.burn_in is not None) <= (node.lifecycle is Lifecycle.VALIDATING)
            assert (node.lifecycle is Lifecycle.AVAILABLE) <= (node.proof_due is None)
            assert (node.health.hardware is Condition.FAILED) is bool(node.mismatches)
            assert (node.lifecycle is Lifecycle.AVAILABLE) <= (node.in_service is node.hardware)
            assert (node.lifecycle is Lifecycle.AVAILABLE) <= (node.unclean is None and not node.look_due)
        assert len(node.holds) <= HOLDS_MAX
        assert len({h.hold_id for h in node.holds}) == len(node.holds)

    @invariant()
    def is_placeable_only_when_all_axes_say_so(self) -> None:
        node = self.state
        if isinstance(node, Node) and node.placeable:
            assert node.lifecycle is Lifecycle.AVAILABLE
            assert node.hardware is not None
            assert node.hardware.gpu_model == node.expected.gpu_model
            assert len(node.hardware.devices) == node.expected.gpu_count
            assert node.hardware.machine_serial == node.known_serial
            assert node.health.agent is Condition.HEALTHY
            assert not node.holds

    @invariant()
    def is_what_its_history_says(self) -> None:
        assert NODE.fold(self.history) == self.state

    @invariant()
    def own_hold_stands_only_while_the_machine_is_in_doubt(self) -> None:
        if isinstance(self.state, Node) and self.state.lifecycle is Lifecycle.AVAILABLE:
            assert all(hold.owner != "nodes" or hold.hold_id == DRAIN_HOLD for hold in self.state.holds)

    @invariant()
    def a_drain_and_its_hold_stand_and_fall_together(self) -> None:
        if isinstance(self.state, Node):
            assert (self.state.drain is not None) <= (self.state.hold(DRAIN_HOLD) is not None)
            if self.state.lifecycle is Lifecycle.AVAILABLE and not self.ever_serviced():
                assert (self.state.drain is not None) is (self.state.hold(DRAIN_HOLD) is not None)

    def ever_serviced(self) -> bool:
        return any(isinstance(event, NodeMaintenanceEnded) for event in self.history)

    @invariant()
    def it_returns_only_wiped_seen_and_validated_since_its_last_tenant(self) -> None:
        node = self.state
        if not isinstance(node, Node) or node.lifecycle is not Lifecycle.AVAILABLE:
            return
        kinds = [type(event) for event in self.history]
        if NodeAllocated not in kinds:
            return
        assert node.expected.isolation is Isolation.MACHINE
        since = kinds[len(kinds) - kinds[::-1].index(NodeAllocated) :]
        ended, wiped = since.index(NodeAllocationEnded), since.index(NodeWiped)
        seen = since.index(NodeHardwareObserved, wiped)
        assert ended < wiped < seen < since.index(NodeBecameAvailable, seen)

    @invariant()
    def a_machine_with_a_tenant_is_closed_for_others(self) -> None:
        node = self.state
        if isinstance(node, Node) and (node.occupants or node.unclean):
            assert node.hold(TENANCY_HOLD) is not None
            assert not node.placeable


TestNodesLife = NodesLife.TestCase
TestNodesLife.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
