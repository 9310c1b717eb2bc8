"""Faults, verdicts and guards: the ladder is climbed over a whole life, and no rule can empty a pool."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gpuaas.common.errors import Invalid, NotFound, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.nodes import (
    AutomaticWithdrawalGranted,
    AutomaticWithdrawalWithheld,
    AutomationBreakerOpened,
    NodeFaultReported,
    NodeHealthChanged,
)
from gpuaas.nodes.domain.automation import (
    ANSWERS_MAX,
    AUTOMATION,
    AskWithdrawal,
    Automation,
    AutomationCommand,
    CloseBreaker,
    EndWithdrawal,
    Guard,
)
from gpuaas.nodes.domain.component import COMPONENT, Component, ComponentCommand, RecordRecovery, ReportFault
from gpuaas.nodes.domain.faults import (
    CONDITIONS,
    Action,
    ComponentCondition,
    FaultClass,
    FaultRules,
    Life,
    built_in,
    lived,
    replayed,
)
from gpuaas.nodes.domain.rulebook import RULEBOOK, SwitchOnRules
from hypothesis import given
from hypothesis import strategies as st
from node_facts import at

RULES = built_in()
REPORT = ReportFault("gpu-a", "n-1", "S-1", FaultClass.OFF_THE_BUS, "XID 79", "kernel-log", "lost", at(0), RULES)


def told(*commands: ComponentCommand) -> tuple[list[Event], Component]:
    state = COMPONENT.initial
    events: list[Event] = []
    for command in commands:
        events = list(COMPONENT.decide(command, state))
        state = COMPONENT.fold(events, state)
    return events, state


def verdict(*commands: ComponentCommand) -> NodeHealthChanged:
    (changed,) = [event for event in told(*commands)[0] if isinstance(event, NodeHealthChanged)]
    return changed


@pytest.mark.parametrize(
    ("code", "fault", "action"),
    [
        (79, FaultClass.OFF_THE_BUS, Action.REBOOT),
        (48, FaultClass.MEMORY_UNCORRECTED, Action.RESET),
        (63, FaultClass.ROW_REMAP, Action.WATCH),
        (64, FaultClass.ROW_REMAP_FAILED, Action.REPAIR),
        (74, FaultClass.NVLINK, Action.RESET),
        (13, FaultClass.APPLICATION, Action.NONE),
        (31, FaultClass.APPLICATION, Action.NONE),
        (119, FaultClass.FIRMWARE, Action.RESET),
        (99_999, FaultClass.UNKNOWN, Action.WATCH),
    ],
)
def test_a_driver_code_has_a_class_and_a_first_action(code: int, fault: FaultClass, action: Action) -> None:
    assert RULES.class_of_xid(code) is fault
    assert RULES.judge(fault, Life()).action is action


def test_a_fault_is_recorded_with_its_verdict_and_the_version_of_the_rules() -> None:
    events, state = told(REPORT)
    assert [type(event) for event in events] == [NodeFaultReported, NodeHealthChanged]
    changed = verdict(REPORT)
    assert (changed.condition, changed.action, changed.rule_version) == ("failed", "reboot", RULES.version)
    assert state.serial == "S-1"


def test_the_ladder_is_climbed_over_the_whole_life_also_on_another_machine() -> None:
    commands: list[ComponentCommand] = []
    actions = []
    for number in range(7):
        moved = replace(REPORT, fault=FaultClass.ENGINE, node_id=f"n-{number}", observed_at=at(10 * number))
        commands.append(moved)
        actions.append(verdict(*commands).action)
        commands.append(RecordRecovery("burn-in passed", at(10 * number + 5), RULES.version))
    assert actions == ["reset", "reset", "reboot", "reboot", "inspect", "repair", "repair"]
    assert verdict(*commands[:-1]).fault_count == 7


def test_a_flood_of_one_fault_is_one_line() -> None:
    assert told(REPORT, replace(REPORT, observed_at=at(0.5)))[0] == []
    assert told(REPORT, replace(REPORT, observed_at=at(1)))[0] != []


def test_an_application_fault_is_recorded_and_blames_nothing() -> None:
    changed = verdict(replace(REPORT, fault=FaultClass.APPLICATION, code="XID 13"))
    assert (changed.condition, changed.action) == ("healthy", "none")


def test_what_is_impossible_is_refused() -> None:
    with pytest.raises(Invalid):
        told(replace(REPORT, node_id="NO NAME"))
    with pytest.raises(Rejected, match="serial number S-1"):
        told(REPORT, replace(REPORT, serial="S-2", observed_at=at(9)))
    with pytest.raises(NotFound):
        told(RecordRecovery("fine", at(0), "x"))


@given(st.lists(st.sampled_from(FaultClass), max_size=40))
def test_a_component_never_gets_better_by_a_fault(faults: list[FaultClass]) -> None:
    life = Life()
    for fault in faults:
        judged = RULES.judge(fault, life)
        assert CONDITIONS.index(judged.condition) >= CONDITIONS.index(life.condition)
        if judged.action in (Action.RESET, Action.REBOOT, Action.INSPECT, Action.REPAIR):
            assert judged.condition in (ComponentCondition.DEGRADED, ComponentCondition.FAILED)
        life = lived(life, judged)
    assert life.fault_count == len(faults)


def test_rules_with_one_code_in_two_classes_are_no_rules() -> None:
    with pytest.raises(ValueError, match="XID 79 is in two classes"):
        FaultRules.read('{"version": "x", "classes": {}, "attempts": {}, "xid": {"pcie": [79], "off-the-bus": [79]}}')


def test_a_rule_change_is_shown_over_history_before_it_is_switched_on() -> None:
    stricter = replace(RULES, version="next", attempts={**RULES.attempts, Action.RESET: 1})
    engine, other = FaultClass.ENGINE, FaultClass.APPLICATION
    history = [("a", engine, None), ("b", other, None), ("a", None, None), ("a", engine, None)]
    (difference,) = replayed(history, RULES, stricter)
    assert (difference.component_id, difference.fault_number) == ("a", 2)
    assert (difference.before.action, difference.after.action) == (Action.RESET, Action.REBOOT)
    assert replayed(history, RULES, RULES) == []


def test_a_code_that_moves_to_another_class_is_a_difference_too() -> None:
    moved = replace(RULES, version="next", xid={**RULES.xid, 63: FaultClass.ROW_REMAP_FAILED})
    (difference,) = replayed([("a", FaultClass.ROW_REMAP, "XID 63"), ("b", FaultClass.PCIE, "XID 121")], RULES, moved)
    assert (difference.before.action, difference.after.action) == (Action.WATCH, Action.REPAIR)


def test_rules_are_switched_on_by_who_saw_the_difference_and_a_version_is_never_other_rules() -> None:
    book = RULEBOOK.initial
    stricter = replace(RULES, version="next", attempts={**RULES.attempts, Action.RESET: 1})
    order = SwitchOnRules(stricter, seen=3, found=3, turns=9, reason="fewer resets", now=at(0))
    with pytest.raises(Rejected, match="3 verdicts would differ"):
        RULEBOOK.decide(replace(order, seen=2), book)
    with pytest.raises(Rejected, match="means other rules"):
        RULEBOOK.decide(replace(order, rules=replace(stricter, version=RULES.version)), book)
    after = RULEBOOK.fold(RULEBOOK.decide(order, book), book)
    assert (after.rules, after.since) == (stricter, at(0))
    assert list(RULEBOOK.decide(order, after)) == []
    back = replace(order, rules=RULES)
    assert RULEBOOK.fold(RULEBOOK.decide(back, after), after).rules == RULES, "what was before can come back"


def ask(
    node_id: str, minutes: float = 0, serving: bool = True, in_service: int = 40, **limits: object
) -> AskWithdrawal:
    guard = replace(Guard(), **limits)  # type: ignore[arg-type]
    return AskWithdrawal("pool", node_id, "gpu-a", "r1", "XID 79", at(minutes), in_service, serving, guard)


def given_to(*commands: AutomationCommand) -> tuple[list[Event], Automation]:
    state = AUTOMATION.initial
    events: list[Event] = []
    for command in commands:
        events = list(AUTOMATION.decide(command, state))
        state = AUTOMATION.fold(events, state)
    return events, state


def guard_of(events: list[Event]) -> str:
    assert isinstance(events[-1], AutomaticWithdrawalWithheld)
    return events[-1].guard


def test_withdrawals_stop_at_the_drain_budget_and_go_on_when_one_returns() -> None:
    asked = [ask(f"n-{n}") for n in range(5)]
    events, state = given_to(*asked)
    assert guard_of(events) == "drain-budget"
    assert len(state.withdrawn) == 4
    events, _ = given_to(*asked, EndWithdrawal("pool", "n-0", "healthy"), ask("n-9"))
    assert isinstance(events[0], AutomaticWithdrawalGranted)


def test_a_small_pool_may_lose_one_machine() -> None:
    assert isinstance(given_to(ask("n-0", in_service=2))[0][0], AutomaticWithdrawalGranted)


def test_a_burst_opens_the_breaker_until_a_person_closes_it() -> None:
    burst = [ask(f"n-{n}", budget_share=1.0, burst_max=3) for n in range(4)]
    events, state = given_to(*burst)
    assert isinstance(events[0], AutomationBreakerOpened)
    assert guard_of(events) == "breaker-open"
    assert len(state.withdrawn) == 3
    later = ask("n-9", 600, budget_share=1.0, burst_max=3)
    assert guard_of(given_to(*burst, later)[0]) == "breaker-open"
    assert isinstance(given_to(*burst, CloseBreaker("pool", "looked"), later)[0][0], AutomaticWithdrawalGranted)


def test_automation_can_be_switched_off_and_says_what_it_would_have_done() -> None:
    assert guard_of(given_to(ask("n-0", enabled=False))[0]) == "disabled"


def test_a_machine_that_is_starting_is_not_failing() -> None:
    events, state = given_to(ask("n-0", serving=False))
    assert guard_of(events) == "not-in-service"
    assert (state.withdrawn, state.recent) == (frozenset(), ()), "it costs nothing"


LEASED = "reservation rsv-1, window 0 from 2026-08-04T18:00Z on, could not be kept elsewhere"


def leased(minutes: float = 0, fault_number: int = 1) -> AskWithdrawal:
    return replace(ask("n-0", minutes), leased=LEASED, unkept_windows=2, fault_number=fault_number)


def test_the_budget_is_leased_to_what_tenants_were_promised() -> None:
    (said,), state = given_to(leased())
    assert isinstance(said, AutomaticWithdrawalWithheld)
    assert (said.guard, said.reason, said.unkept_windows, said.attempt) == ("drain-budget", LEASED, 2, 1)
    (granted,), _ = given_to(leased(), ask("n-0", 9))
    assert isinstance(granted, AutomaticWithdrawalGranted), "the promise is kept elsewhere by now"
    assert (granted.fault_number, granted.attempt) == (1, 2)
    assert state.withheld["gpu-a"].leased


def test_what_is_withheld_is_said_once_until_its_reason_or_the_fault_changes() -> None:
    assert given_to(leased(), leased(1))[0] == []
    (full,), state = given_to(leased(), replace(ask("n-0", 2), guard=Guard(enabled=False)))
    assert (guard_of([full]), state.withheld["gpu-a"].attempt) == ("disabled", 2)
    (newer,), state = given_to(leased(), leased(3, fault_number=2))
    assert (guard_of([newer]), state.withheld["gpu-a"].attempt) == ("drain-budget", 1)


def test_answers_about_one_fault_have_an_end_and_a_grant_is_said_whenever_it_comes() -> None:
    back_and_forth = [leased(n) if n % 2 else replace(ask("n-0", n), guard=Guard(enabled=False)) for n in range(60)]
    said = [given_to(*back_and_forth[: n + 1])[0] for n in range(len(back_and_forth))]
    assert sum(map(len, said)) == ANSWERS_MAX
    assert isinstance(given_to(*back_and_forth, ask("n-0", 99))[0][0], AutomaticWithdrawalGranted)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 400)), max_size=80), st.integers(1, 60))
def test_no_order_of_verdicts_withdraws_more_than_the_budget(asks: list[tuple[int, int]], fleet: int) -> None:
    state = AUTOMATION.initial
    for number, minutes in asks:
        events = AUTOMATION.decide(ask(f"n-{number}", minutes, in_service=fleet), state)
        state = AUTOMATION.fold(events, state)
        assert len(state.withdrawn) <= Guard().allowed(fleet)
