"""A maintenance window's life: notice, policy, acceptance, and no surprise in any order of orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from gpuaas.common.errors import GpuaasError, Invalid, NotFound, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.nodes import MaintenanceEnded, MaintenancePostponed, MaintenanceScheduled, MaintenanceStarted
from gpuaas.nodes.domain.axes import DrainMode
from gpuaas.nodes.domain.maintenance import (
    MAINTENANCE,
    AcceptMaintenance,
    CancelMaintenance,
    EndMaintenance,
    MaintenanceCommand,
    Plan,
    PostponeMaintenance,
    ScheduleMaintenance,
    Stage,
    StartMaintenance,
    Window,
    WindowState,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from node_facts import at

PLAN = Plan(
    node_ids=("n-1", "n-2"),
    starts_at=at(60),
    ends_at=at(90),
    notice_s=1800,
    reason="firmware",
    mode=DrainMode.NOTICE_THEN_STOP,
    postpone_max_s=3600,
    postponements_max=2,
)
SCHEDULE = ScheduleMaintenance("mw-1", PLAN, at(0))


def said(*commands: MaintenanceCommand) -> tuple[list[Event], WindowState]:
    state: WindowState = MAINTENANCE.initial
    events: Sequence[Event] = []
    for command in commands:
        events = MAINTENANCE.decide(command, state)
        state = MAINTENANCE.fold(events, state)
    return list(events), state


def window_after(*commands: MaintenanceCommand) -> Window:
    state = said(*commands)[1]
    assert isinstance(state, Window)
    return state


def test_a_window_says_what_was_planned_and_again_says_nothing() -> None:
    (scheduled,), _ = said(SCHEDULE)
    assert isinstance(scheduled, MaintenanceScheduled)
    assert scheduled.node_ids == ("n-1", "n-2")
    assert said(SCHEDULE, SCHEDULE)[0] == []
    with pytest.raises(Rejected, match="planned otherwise"):
        said(SCHEDULE, replace(SCHEDULE, plan=replace(PLAN, reason="other")))


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (replace(PLAN, starts_at=at(10)), "notice"),
        (replace(PLAN, ends_at=at(60)), "ends_at"),
        (replace(PLAN, node_ids=()), "machines"),
        (replace(PLAN, node_ids=("n-2", "n-1")), "in order"),
        (replace(PLAN, node_ids=("n-1", "n-1")), "once"),
        (replace(PLAN, notice_s=-1), "notice_s"),
        (replace(PLAN, reason=""), "reason"),
        (replace(PLAN, postponements_max=99), "postponements_max"),
    ],
)
def test_a_plan_that_cannot_be_kept_is_refused(wrong: Plan, word: str) -> None:
    with pytest.raises(Invalid, match=word):
        said(replace(SCHEDULE, plan=wrong))


def test_what_nobody_planned_is_not_found() -> None:
    with pytest.raises(NotFound):
        said(StartMaintenance(at(60)))


def test_a_tenant_postpones_within_the_policy_and_acceptances_are_open_again() -> None:
    later = PostponeMaintenance(at(100), "a run ends then", at(20), "acme")
    (moved,), _ = said(SCHEDULE, AcceptMaintenance("kyoto", at(5)), later)
    assert isinstance(moved, MaintenancePostponed)
    assert (moved.starts_at, moved.ends_at, moved.previous_starts_at) == (at(100), at(130), at(60))
    window = window_after(SCHEDULE, AcceptMaintenance("kyoto", at(5)), later)
    assert window.accepted == frozenset()
    assert said(SCHEDULE, later, later)[0] == []


@pytest.mark.parametrize(
    ("order", "refusal", "word"),
    [
        (PostponeMaintenance(at(121), "later", at(20)), Rejected, "policy"),
        (PostponeMaintenance(at(50), "earlier", at(20)), Invalid, "later time"),
        (PostponeMaintenance(at(100), "late", at(60)), Rejected, "too late"),
    ],
)
def test_outside_the_policy_nothing_moves(order: PostponeMaintenance, refusal: type[Exception], word: str) -> None:
    with pytest.raises(refusal, match=word):
        said(SCHEDULE, order)


def test_it_is_moved_only_as_often_as_the_policy_says() -> None:
    moves = [PostponeMaintenance(at(60 + n * 10), "later", at(20)) for n in (1, 2, 3)]
    with pytest.raises(Rejected, match="2 times"):
        said(SCHEDULE, *moves)


def test_it_begins_at_its_time_or_when_every_affected_tenant_has_agreed() -> None:
    with pytest.raises(Rejected, match="begins at"):
        said(SCHEDULE, StartMaintenance(at(59)))
    early = StartMaintenance(at(10), frozenset({"acme", "kyoto"}), early=True)
    with pytest.raises(Rejected, match="1 affected"):
        said(SCHEDULE, AcceptMaintenance("acme", at(1)), early)
    agreed = (AcceptMaintenance("acme", at(1)), AcceptMaintenance("kyoto", at(2)))
    assert isinstance(said(SCHEDULE, *agreed, early)[0][0], MaintenanceStarted)
    assert isinstance(said(SCHEDULE, StartMaintenance(at(60)))[0][0], MaintenanceStarted)


def test_it_ends_with_what_came_back() -> None:
    running = (SCHEDULE, StartMaintenance(at(60)))
    for back, outcome in ((frozenset({"n-1", "n-2"}), "completed"), (frozenset({"n-1"}), "incomplete")):
        (ended,), _ = said(*running, EndMaintenance(back, at(80), "done"))
        assert isinstance(ended, MaintenanceEnded)
        assert ended.outcome == outcome
        assert set(ended.returned_node_ids) == back
    with pytest.raises(Rejected, match="started"):
        said(*running, CancelMaintenance("no", at(61)))


class WindowsLife(RuleBasedStateMachine):
    """Orders at random: tenants are told in time, the policy holds, and stages only go forward."""

    def __init__(self) -> None:
        super().__init__()
        self.state: WindowState = MAINTENANCE.initial
        self.history: list[Event] = []
        self.minute = 0

    def give(self, command: MaintenanceCommand) -> None:
        try:
            events = MAINTENANCE.decide(command, self.state)
        except GpuaasError:
            return
        was = self.state
        self.state = MAINTENANCE.fold(events, self.state)
        self.history += events
        if isinstance(was, Window) and isinstance(self.state, Window):
            assert list(Stage).index(was.stage) <= list(Stage).index(self.state.stage)

    @rule(minutes=st.integers(0, 30))
    def time_passes(self, minutes: int) -> None:
        self.minute += minutes

    @rule(start=st.integers(0, 120))
    def schedule(self, start: int) -> None:
        plan = replace(PLAN, starts_at=at(start), ends_at=at(start + 30))
        self.give(ScheduleMaintenance("mw-1", plan, at(self.minute)))

    @rule(tenant=st.sampled_from(["acme", "kyoto"]))
    def accept(self, tenant: str) -> None:
        self.give(AcceptMaintenance(tenant, at(self.minute)))

    @rule(start=st.integers(0, 240), tenant=st.sampled_from([None, "acme"]))
    def postpone(self, start: int, tenant: str | None) -> None:
        self.give(PostponeMaintenance(at(start), "later", at(self.minute), tenant))

    @rule(early=st.booleans())
    def start(self, early: bool) -> None:
        self.give(StartMaintenance(at(self.minute), frozenset({"acme", "kyoto"}), early))

    @rule(back=st.sets(st.sampled_from(["n-1", "n-2", "n-9"])))
    def end(self, back: set[str]) -> None:
        self.give(EndMaintenance(frozenset(back), at(self.minute), "done"))

    @rule(really=st.integers(0, 4))
    def cancel(self, really: int) -> None:
        if not really:
            self.give(CancelMaintenance("not needed", at(self.minute)))

    @invariant()
    def it_is_what_its_history_says(self) -> None:
        assert MAINTENANCE.fold(self.history) == self.state

    @invariant()
    def nobody_is_surprised(self) -> None:
        if not isinstance(window := self.state, Window):
            return
        assert window.first_starts_at <= window.plan.starts_at <= window.latest_start
        assert window.postponements <= window.plan.postponements_max
        assert window.plan.ends_at - window.plan.starts_at == timedelta(minutes=30)
        for event in self.history:
            if isinstance(event, MaintenanceStarted):
                agreed = window.accepted >= {"acme", "kyoto"}
                assert agreed or event.started_at >= window.plan.starts_at


TestWindowsLife = WindowsLife.TestCase
TestWindowsLife.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
