"""Which rules judge faults now. One law: a version is one set of rules for ever, and none is switched on unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.nodes import ClassedCodes, FaultMeaning, FaultRulesSwitchedOn, LadderAttempts
from gpuaas.nodes.domain.admission import said
from gpuaas.nodes.domain.faults import Action, ComponentCondition, FaultClass, FaultRules, Meaning, built_in

CURRENT: Final = "current"
VOCABULARY: Final = Vocabulary(FaultRulesSwitchedOn)


@dataclass(frozen=True, slots=True)
class SwitchOnRules:
    """Let `rules` judge from `now` on.

    Attributes:
        seen: the differences that whoever orders it was shown.
        found: those that a replay over `turns` recorded faults and recoveries shows now.
    """

    rules: FaultRules
    seen: int
    found: int
    turns: int
    reason: str
    now: datetime


@dataclass(frozen=True, slots=True)
class RuleBook:
    """The rules in force, and every version that ever was."""

    rules: FaultRules = field(default_factory=built_in)
    since: datetime | None = None
    versions: Mapping[str, FaultRules] = field(default_factory=lambda: {built_in().version: built_in()})


def decide(command: SwitchOnRules, book: RuleBook) -> Sequence[Event]:
    rules = command.rules
    if rules == book.rules:
        return []
    if book.versions.get(rules.version, rules) != rules:
        raise Rejected(f"version {rules.version} means other rules; give these another version")
    if command.seen != command.found:
        raise Rejected(
            f"{command.found} verdicts would differ by now, and not {command.seen}; replay the rules and look again"
        )
    return [
        FaultRulesSwitchedOn(
            rules_id=CURRENT,
            version=rules.version,
            previous_version=book.rules.version,
            classes=tuple(
                FaultMeaning(fault_class=kind.value, condition=means.condition.value, action=means.action.value)
                for kind, means in rules.classes.items()
            ),
            attempts=tuple(LadderAttempts(action=name.value, times=times) for name, times in rules.attempts.items()),
            xid=_classed(rules),
            turns=command.turns,
            differences=command.found,
            reason=said("reason", command.reason),
            switched_on_at=command.now,
        )
    ]


def _classed(rules: FaultRules) -> tuple[ClassedCodes, ...]:
    classes = {kind: tuple(sorted(code for code, of in rules.xid.items() if of is kind)) for kind in FaultClass}
    return tuple(ClassedCodes(fault_class=kind.value, codes=codes) for kind, codes in classes.items() if codes)


def evolve(book: RuleBook, event: Event) -> RuleBook:
    match event:
        case FaultRulesSwitchedOn() as fact:
            rules = FaultRules(
                version=fact.version,
                classes={
                    FaultClass(each.fault_class): Meaning(ComponentCondition(each.condition), Action(each.action))
                    for each in fact.classes
                },
                attempts={Action(each.action): each.times for each in fact.attempts},
                xid={code: FaultClass(each.fault_class) for each in fact.xid for code in each.codes},
            )
            return RuleBook(rules, fact.switched_on_at, {**book.versions, rules.version: rules})
        case _:
            raise Unreadable(f"{event.TYPE} is no part of the history of rules")


RULEBOOK: Final[Decider[RuleBook, SwitchOnRules]] = Decider(initial=RuleBook(), decide=decide, evolve=evolve)
