"""One component's whole life, by serial number: its faults and the verdicts on them. One law: nothing is forgotten.

A component keeps its history when it moves to another slot or machine. The same fault again within `QUIET_S` is the
same fault: a flood of reports is one line in the history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Literal, TypeAlias

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.ids import is_name
from gpuaas.contracts.nodes import NodeFaultReported, NodeHealthChanged
from gpuaas.nodes.domain.faults import (
    Action,
    ComponentCondition,
    FaultClass,
    FaultRules,
    Life,
    Verdict,
    lived,
    recovered,
)

QUIET_S: Final = 60.0
DETAIL_MAX: Final = 500
VOCABULARY: Final = Vocabulary(NodeFaultReported, NodeHealthChanged)
Source: TypeAlias = Literal["kernel-log", "nvml", "agent", "heartbeat", "operator", "simulation"]


@dataclass(frozen=True, slots=True)
class ReportFault:
    """A source saw a fault of the component at `observed_at` (time of receipt); `rules` judge it."""

    component_id: str
    node_id: str
    serial: str
    fault: FaultClass
    code: str | None
    source: Source
    detail: str
    observed_at: datetime
    rules: FaultRules


@dataclass(frozen=True, slots=True)
class RecordRecovery:
    """Someone proved the component healthy again after what was ordered had been done.

    Attributes:
        fault_number: the fault that was answered; a newer one is not. None: whatever there was.
    """

    reason: str
    recovered_at: datetime
    rule_version: str
    fault_number: int | None = None


ComponentCommand: TypeAlias = ReportFault | RecordRecovery


@dataclass(frozen=True, slots=True)
class Component:
    """What is known of a component; `component_id` is None while nothing is.

    Attributes:
        rule_version, reason: of the newest verdict.
        last_seen: (class, code) → when it was last recorded.
    """

    component_id: str | None = None
    node_id: str = ""
    serial: str = ""
    life: Life = field(default_factory=Life)
    action: Action = Action.NONE
    rule_version: str = ""
    reason: str = ""
    last_seen: Mapping[tuple[FaultClass, str | None], datetime] = field(default_factory=dict)


def decide(command: ComponentCommand, component: Component) -> Sequence[Event]:
    match command:
        case ReportFault() as report:
            return _reported(component, report)
        case RecordRecovery() if component.component_id is None:
            raise NotFound("this component never had a fault")
        case RecordRecovery() as proof:
            return _recovered(component, proof)
    raise Rejected(f"a component cannot {type(command).__name__}")


def _reported(component: Component, report: ReportFault) -> list[Event]:
    for name, value in (("component_id", report.component_id), ("node_id", report.node_id)):
        if not is_name(value):
            raise Invalid(f"{name} {value[:80]!r} is not a name; use 1–63 of a–z, 0–9 and inner hyphens")
    if component.component_id is not None and component.serial != report.serial:
        raise Rejected(f"component {report.component_id} has the serial number {component.serial}; look again")
    last = component.last_seen.get((report.fault, report.code))
    if last is not None and (report.observed_at - last).total_seconds() < QUIET_S:
        return []
    fault = NodeFaultReported(
        component_id=report.component_id,
        node_id=report.node_id,
        serial=report.serial,
        fault_class=report.fault.value,
        code=report.code,
        source=report.source,
        detail=report.detail[:DETAIL_MAX] or "no detail",
        observed_at=report.observed_at,
    )
    verdict = report.rules.judge(report.fault, component.life)
    said = f"{report.fault.value} ({report.code})" if report.code else report.fault.value
    changed = NodeHealthChanged(
        component_id=report.component_id,
        node_id=report.node_id,
        serial=report.serial,
        condition=verdict.condition.value,
        previous=component.life.condition.value,
        action=verdict.action.value,
        fault_class=report.fault.value,
        fault_count=component.life.fault_count + 1,
        rule_version=report.rules.version,
        reason=f"{said}: {verdict.action.value}",
        decided_at=report.observed_at,
    )
    return [fault, changed]


def _recovered(component: Component, proof: RecordRecovery) -> list[Event]:
    if component.life.condition is ComponentCondition.HEALTHY:
        return []
    if proof.fault_number not in (None, component.life.fault_count):
        raise Rejected(f"fault {component.life.fault_count} of {component.component_id} came after what was answered")
    if not 1 <= len(proof.reason) <= DETAIL_MAX:
        raise Invalid(f"reason has {len(proof.reason)} characters; say it in 1 to {DETAIL_MAX}")
    assert component.component_id is not None
    return [
        NodeHealthChanged(
            component_id=component.component_id,
            node_id=component.node_id,
            serial=component.serial,
            condition=ComponentCondition.HEALTHY.value,
            previous=component.life.condition.value,
            action=Action.NONE.value,
            fault_count=component.life.fault_count,
            rule_version=proof.rule_version,
            reason=proof.reason,
            decided_at=proof.recovered_at,
        )
    ]


def evolve(component: Component, event: Event) -> Component:
    match event:
        case NodeFaultReported() as fact:
            seen = {**component.last_seen, (FaultClass(fact.fault_class), fact.code): fact.observed_at}
            return replace(
                component, component_id=fact.component_id, node_id=fact.node_id, serial=fact.serial, last_seen=seen
            )
        case NodeHealthChanged(fault_class=None):
            return replace(component, life=recovered(component.life), action=Action.NONE)
        case NodeHealthChanged() as fact:
            verdict = Verdict(ComponentCondition(fact.condition), Action(fact.action))
            life = lived(component.life, verdict)
            return replace(
                component, life=life, action=verdict.action, rule_version=fact.rule_version, reason=fact.reason
            )
        case _:
            raise Unreadable(f"{event.TYPE} is no part of a component's history")


COMPONENT: Final[Decider[Component, ComponentCommand]] = Decider(initial=Component(), decide=decide, evolve=evolve)
