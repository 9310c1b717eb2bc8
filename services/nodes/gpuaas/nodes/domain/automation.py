"""How much the platform may close by itself in one pool. One law: a bad rule cannot empty a pool.

Withdrawals count against a drain budget, a share of the machines in service; too many in a short time open a breaker
that only a person closes. A machine that is not in service is starting or in repair, not failing: it costs nothing.
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
class Automation:
    """What the platform did by itself in one pool.

    Attributes:
        remedies: component → the newest answer about one: (fault number, action, None: granted, else the guard).
    """

    withdrawn: frozenset[str] = frozenset()
    recent: tuple[datetime, ...] = ()
    breaker_open: bool = False
    remedies: Mapping[str, tuple[int, RemedyAction, str | None]] = field(default_factory=dict)

    def granted_to(self, component_id: str, fault_number: int, action: RemedyAction) -> bool:
        return self.remedies.get(component_id) == (fault_number, action, None)


def decide(command: AutomationCommand, state: Automation) -> Sequence[Event]:
    match command:
        case AskWithdrawal() as ask:
            return [] if ask.node_id in state.withdrawn else _asked(ask, state)
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


def _asked(ask: AskWithdrawal, state: Automation) -> list[Event]:
    guard, allowed = ask.guard, ask.guard.allowed(ask.in_service)
    burst = sum(1 for at in state.recent if (ask.now - at).total_seconds() < guard.burst_s)
    if not guard.enabled:
        return [_withheld(ask, "disabled", "automation is switched off by a setting")]
    if not ask.serving:
        return [_withheld(ask, "not-in-service", "the machine is not in service; it takes no new work anyway")]
    if state.breaker_open:
        return [_withheld(ask, "breaker-open", "the breaker is open until a person closes it")]
    if burst >= guard.burst_max:
        told = f"{burst} withdrawals within {guard.burst_s:g} s"
        opened = AutomationBreakerOpened(pool_id=ask.pool_id, reason=told, opened_at=ask.now)
        return [opened, _withheld(ask, "breaker-open", told)]
    if len(state.withdrawn) >= allowed:
        told = f"{len(state.withdrawn)} of {ask.in_service} machines are withdrawn already, which is the most"
        return [_withheld(ask, "drain-budget", told)]
    return [
        AutomaticWithdrawalGranted(
            pool_id=ask.pool_id,
            node_id=ask.node_id,
            component_id=ask.component_id,
            rule_version=ask.rule_version,
            reason=ask.reason,
            decided_at=ask.now,
            withdrawn=len(state.withdrawn) + 1,
            allowed=allowed,
        )
    ]


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


def _withheld(ask: AskWithdrawal, guard: str, reason: str) -> AutomaticWithdrawalWithheld:
    return AutomaticWithdrawalWithheld.model_validate(
        {
            "pool_id": ask.pool_id,
            "node_id": ask.node_id,
            "component_id": ask.component_id,
            "rule_version": ask.rule_version,
            "reason": reason,
            "decided_at": ask.now,
            "guard": guard,
        }
    )


def evolve(state: Automation, event: Event) -> Automation:
    match event:
        case AutomaticWithdrawalGranted() as fact:
            recent = (*state.recent, fact.decided_at)[-1_000:]
            return replace(state, withdrawn=state.withdrawn | {fact.node_id}, recent=recent)
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
        case AutomaticWithdrawalWithheld():
            return state
        case _:
            raise Unreadable(f"{event.TYPE} is no part of a pool's automation")


AUTOMATION: Final[Decider[Automation, AutomationCommand]] = Decider(Automation(), decide, evolve)
