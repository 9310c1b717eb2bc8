"""How much the platform may close by itself in one pool. One law: a bad rule cannot empty a pool.

Withdrawals count against a drain budget, a share of the machines in service, of which that is leased away which
tenants were promised; too many in a short time open a breaker that only a person closes. A machine that is not in
service is starting or in repair, not failing: it costs nothing. What is held back may be asked again for ever: the same
answer is said once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, TypeAlias

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.nodes import (
    AutomaticRemedyGranted,
    AutomaticRemedyWithheld,
    AutomaticWithdrawalEnded,
    AutomaticWithdrawalGranted,
    AutomaticWithdrawalWithheld,
    AutomationBreakerClosed,
    AutomationBreakerOpened,
)
from gpuaas.nodes.domain.proofs import RemedyAction

VOCABULARY: Final = Vocabulary(
    AutomaticWithdrawalGranted,
    AutomaticWithdrawalWithheld,
    AutomaticWithdrawalEnded,
    AutomationBreakerOpened,
    AutomationBreakerClosed,
    AutomaticRemedyGranted,
    AutomaticRemedyWithheld,
)


ANSWERS_MAX: Final = 16
"""Answers about one fault that are said; a grant is said whenever it comes."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The limits.

    Attributes:
        enabled: whether the platform acts by itself at all.
        budget_share: share of the machines in service that may be withdrawn at once; at least one machine.
        burst_max: withdrawals within `burst_s` that are believed; the next one opens the breaker.
    """

    enabled: bool = True
    budget_share: float = 0.1
    burst_max: int = 20
    burst_s: float = 600.0

    def allowed(self, in_service: int) -> int:
        return max(1, int(in_service * self.budget_share))


@dataclass(frozen=True, slots=True)
class AskWithdrawal:
    """May the platform close this machine?

    Attributes:
        in_service: machines of the pool in service, the withdrawn ones included.
        serving: whether this machine is in service.
        fault_number: the fault of the component's life that it answers.
        leased: what the machine is needed for, in a sentence; None: it is not, or the fault is such that it does not
            matter.
        unkept_windows: promised windows that could not be kept without the machine.
    """

    pool_id: str
    node_id: str
    component_id: str
    rule_version: str
    reason: str
    now: datetime
    in_service: int
    serving: bool
    guard: Guard
    fault_number: int = 1
    leased: str | None = None
    unkept_windows: int = 0


@dataclass(frozen=True, slots=True)
class AskRemedy:
    """May the platform reset or reboot this machine, which was found empty?

    Attributes:
        fault_number: the fault of the component's life that it answers.
        serving: whether the machine is in service, and so must have been withdrawn first.
        enabled: whether the platform resets and reboots here by itself at all.
    """

    pool_id: str
    node_id: str
    component_id: str
    action: RemedyAction
    fault_number: int
    rule_version: str
    reason: str
    now: datetime
    serving: bool
    enabled: bool


@dataclass(frozen=True, slots=True)
class EndWithdrawal:
    pool_id: str
    node_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class CloseBreaker:
    pool_id: str
    reason: str


AutomationCommand: TypeAlias = AskWithdrawal | AskRemedy | EndWithdrawal | CloseBreaker


@dataclass(frozen=True, slots=True)
class Withheld:
    """The newest answer about a component whose machine was not withdrawn; `attempt` counts them for one fault."""

    node_id: str
    fault_number: int
    guard: str
    leased: bool
    attempt: int


@dataclass(frozen=True, slots=True)
class Automation:
    """What the platform did by itself in one pool.

    Attributes:
        withheld: component → the newest answer, until a withdrawal is granted.
        remedies: component → the newest answer about one: (fault number, action, None: granted, else the guard).
    """

    withdrawn: frozenset[str] = frozenset()
    recent: tuple[datetime, ...] = ()
    breaker_open: bool = False
    withheld: Mapping[str, Withheld] = field(default_factory=dict)
    remedies: Mapping[str, tuple[int, RemedyAction, str | None]] = field(default_factory=dict)

    def granted_to(self, component_id: str, fault_number: int, action: RemedyAction) -> bool:
        return self.remedies.get(component_id) == (fault_number, action, None)


def decide(command: AutomationCommand, state: Automation) -> Sequence[Event]:
    match command:
        case AskWithdrawal() as ask:
            return [] if ask.node_id in state.withdrawn else _answered(ask, state)
        case AskRemedy() as ask:
            return _remedy(ask, state)
        case EndWithdrawal() as end:
            if end.node_id not in state.withdrawn:
                return []
            return [AutomaticWithdrawalEnded(pool_id=end.pool_id, node_id=end.node_id, reason=end.reason)]
        case CloseBreaker() as order:
            if not 1 <= len(order.reason) <= 500:
                raise Invalid("say in 1 to 500 characters why the breaker may close")
            return [AutomationBreakerClosed(pool_id=order.pool_id, reason=order.reason)] if state.breaker_open else []
    raise Rejected(f"automation cannot {type(command).__name__}")


def _answered(ask: AskWithdrawal, state: Automation) -> list[Event]:
    """What the guards say, and how often this fault was answered; the same answer again has nothing to add."""
    before = state.withheld.get(ask.component_id)
    if before is None or (before.node_id, before.fault_number) != (ask.node_id, ask.fault_number):
        before = None
    attempt = before.attempt + 1 if before else 1
    if (held := _held_back(ask, state)) is None:
        return [_granted(ask, state, attempt)]
    guard, reason, opens = held
    opened = AutomationBreakerOpened(pool_id=ask.pool_id, reason=reason, opened_at=ask.now)
    leased = guard == "drain-budget" and reason == ask.leased
    told = before is not None and ((before.guard, before.leased) == (guard, leased) or attempt > ANSWERS_MAX)
    said: list[Event] = [] if told else [_withheld(ask, guard, reason, attempt, leased)]
    return [opened, *said] if opens else said


def _held_back(ask: AskWithdrawal, state: Automation) -> tuple[str, str, bool] | None:
    """The guard, why, and whether it opens the breaker; None: nothing holds it back."""
    guard, withdrawn = ask.guard, len(state.withdrawn)
    burst = sum(1 for at in state.recent if (ask.now - at).total_seconds() < guard.burst_s)
    if not guard.enabled:
        return "disabled", "automation is switched off by a setting", False
    if not ask.serving:
        return "not-in-service", "the machine is not in service; it takes no new work anyway", False
    if state.breaker_open:
        return "breaker-open", "the breaker is open until a person closes it", False
    if burst >= guard.burst_max:
        return "breaker-open", f"{burst} withdrawals within {guard.burst_s:g} s", True
    if withdrawn >= guard.allowed(ask.in_service):
        told = f"{withdrawn} of {ask.in_service} machines are withdrawn already, which is the most"
        return "drain-budget", told, False
    return ("drain-budget", ask.leased, False) if ask.leased is not None else None


def _granted(ask: AskWithdrawal, state: Automation, attempt: int) -> AutomaticWithdrawalGranted:
    return AutomaticWithdrawalGranted(
        pool_id=ask.pool_id,
        node_id=ask.node_id,
        component_id=ask.component_id,
        rule_version=ask.rule_version,
        reason=ask.reason,
        decided_at=ask.now,
        withdrawn=len(state.withdrawn) + 1,
        allowed=ask.guard.allowed(ask.in_service),
        fault_number=ask.fault_number,
        attempt=attempt,
    )


def _remedy(ask: AskRemedy, state: Automation) -> list[Event]:
    """Granted once for each fault and action; what holds it back is said once, until it changes."""
    told = {
        "pool_id": ask.pool_id,
        "node_id": ask.node_id,
        "component_id": ask.component_id,
        "action": ask.action.value,
        "fault_number": ask.fault_number,
        "rule_version": ask.rule_version,
        "decided_at": ask.now,
    }
    guard = _guard_of(ask, state)
    if state.remedies.get(ask.component_id) == (ask.fault_number, ask.action, guard):
        return []
    if guard is None:
        return [AutomaticRemedyGranted.model_validate({**told, "reason": ask.reason})]
    return [AutomaticRemedyWithheld.model_validate({**told, "guard": guard, "reason": HELD_BACK[guard]})]


def _guard_of(ask: AskRemedy, state: Automation) -> str | None:
    if not ask.enabled:
        return "disabled"
    if state.breaker_open:
        return "breaker-open"
    return "not-withdrawn" if ask.serving and ask.node_id not in state.withdrawn else None


HELD_BACK: Final[Mapping[str, str]] = {
    "disabled": "resets and reboots are switched off by a setting",
    "breaker-open": "the breaker is open until a person closes it",
    "not-withdrawn": "the platform did not withdraw this machine, so it does not touch it",
}
"""Why a remedy is withheld, by guard."""


def _withheld(ask: AskWithdrawal, guard: str, reason: str, attempt: int, leased: bool) -> AutomaticWithdrawalWithheld:
    return AutomaticWithdrawalWithheld.model_validate(
        {
            "pool_id": ask.pool_id,
            "node_id": ask.node_id,
            "component_id": ask.component_id,
            "rule_version": ask.rule_version,
            "reason": reason[:500],
            "decided_at": ask.now,
            "guard": guard,
            "fault_number": ask.fault_number,
            "attempt": attempt,
            "unkept_windows": ask.unkept_windows or None if leased else None,
        }
    )


def evolve(state: Automation, event: Event) -> Automation:
    match event:
        case AutomaticWithdrawalGranted() as fact:
            recent = (*state.recent, fact.decided_at)[-1_000:]
            waiting = {name: held for name, held in state.withheld.items() if held.node_id != fact.node_id}
            return replace(state, withdrawn=state.withdrawn | {fact.node_id}, recent=recent, withheld=waiting)
        case AutomaticWithdrawalEnded() as fact:
            return replace(state, withdrawn=state.withdrawn - {fact.node_id})
        case AutomationBreakerOpened():
            return replace(state, breaker_open=True)
        case AutomationBreakerClosed():
            return replace(state, breaker_open=False, recent=())
        case (AutomaticRemedyGranted() | AutomaticRemedyWithheld()) as fact:
            guard = fact.guard if isinstance(fact, AutomaticRemedyWithheld) else None
            answer = (fact.fault_number, RemedyAction(fact.action), guard)
            return replace(state, remedies={**state.remedies, fact.component_id: answer})
        case AutomaticWithdrawalWithheld() as fact:
            leased = fact.unkept_windows is not None
            held = Withheld(fact.node_id, fact.fault_number or 0, fact.guard, leased, fact.attempt or 1)
            return replace(state, withheld={**state.withheld, fact.component_id: held})
        case _:
            raise Unreadable(f"{event.TYPE} is no part of a pool's automation")


AUTOMATION: Final[Decider[Automation, AutomationCommand]] = Decider(Automation(), decide, evolve)
