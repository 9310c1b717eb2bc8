"""How a pool's waiting line goes. One law: the newest rules of a pool count, whole; nobody is asked in between."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid
from gpuaas.common.events import Event, Vocabulary, first_complaint
from gpuaas.contracts.allocations import Discipline, Preemption, QueueRulesSet
from pydantic import ValidationError

IDLE_GRACE_S: Final = 600


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules in force.

    Attributes:
        discipline: `best-effort` lets others pass who does not fit, where that does not delay it; `strict-fifo` nobody.
        preemption: what is ended early for other work.
        min_run: nothing is ended before it has run so long.
        half_life: after which past use counts half; zero: it does not count.
        idle_after: without use for so long, an allocation that says nothing of it is taken back; zero: never.
        idle_grace: between the notice of that and the end.
    """

    discipline: Discipline = "best-effort"
    preemption: Preemption = "reclaim-and-priority"
    min_run: timedelta = timedelta(0)
    half_life: timedelta = timedelta(0)
    idle_after: timedelta = timedelta(0)
    idle_grace: timedelta = timedelta(seconds=IDLE_GRACE_S)

    @property
    def strict(self) -> bool:
        return self.discipline == "strict-fifo"


@dataclass(frozen=True, slots=True)
class SetRules:
    """Let the line of a pool go like this from now on."""

    pool_id: str
    discipline: Discipline
    preemption: Preemption
    min_run_s: int
    half_life_s: int
    reason: str
    idle_after_s: int | None = None
    idle_grace_s: int | None = None


Standing = QueueRulesSet | None


def decide(order: SetRules, standing: Standing) -> list[Event]:
    """The rules, or nothing where they stand so already.

    Raises:
        Invalid: a number out of its range.
    """
    try:
        said = QueueRulesSet(
            pool_id=order.pool_id,
            discipline=order.discipline,
            preemption=order.preemption,
            min_run_s=order.min_run_s,
            half_life_s=order.half_life_s,
            idle_after_s=order.idle_after_s or None,
            idle_grace_s=order.idle_grace_s,
            reason=order.reason,
        )
    except ValidationError as refused:
        raise Invalid(first_complaint(refused)) from refused
    return [] if said == standing else [said]


def evolve(_: Standing, event: Event) -> Standing:
    """The newest rules."""
    assert isinstance(event, QueueRulesSet), event.TYPE
    return event


def rules_of(said: Standing) -> Rules:
    """What they mean; without any, the rules that every pool begins with."""
    if said is None:
        return Rules()
    return Rules(
        said.discipline,
        said.preemption,
        timedelta(seconds=said.min_run_s),
        timedelta(seconds=said.half_life_s),
        timedelta(seconds=said.idle_after_s or 0),
        timedelta(seconds=IDLE_GRACE_S if said.idle_grace_s is None else said.idle_grace_s),
    )


RULES: Final[Decider[Standing, SetRules]] = Decider(initial=None, decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(QueueRulesSet)
