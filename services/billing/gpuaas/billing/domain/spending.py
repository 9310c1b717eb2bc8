"""How much more may be spent: the ladder. One law: who may spend less than before is told why, and when it ends.

open → warned (24 h, 4 h, 1 h before credit ends) → blocked (nothing new starts) → stopping (what runs ends at an
announced instant). The stop is announced while credit still covers the time until then, and whoever stops work needs
no further word: that is why nobody spends much that is not covered, even when this service is away for a while.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gpuaas.common.clock import rfc3339
from gpuaas.common.decider import Decider
from gpuaas.common.events import Event
from gpuaas.contracts.billing import SpendingCause, SpendingLevel, SpendingLevelChanged


@dataclass(frozen=True, slots=True)
class Ladder:
    """How many seconds before credit ends what happens.

    Attributes:
        warn_s: longest first; each is said once on the way down.
        block_s: nothing new starts.
        stop_s: the end is announced. At least two renewal intervals, plus how long an outage shall be bridged.
    """

    warn_s: tuple[int, ...] = (86_400, 14_400, 3_600)
    block_s: int = 1_800
    stop_s: int = 900


@dataclass(frozen=True, slots=True)
class SetLevel:
    """Order where a scope stands now. `step`: distinguishes the warnings of one level."""

    scope_id: str
    tenant_id: str
    project_id: str | None
    level: SpendingLevel
    cause: SpendingCause
    detail: str
    runway_s: int | None = None
    grace_until: datetime | None = None
    step: int = 0


@dataclass(frozen=True, slots=True)
class Spending:
    """What was said last. `open` is where everything begins, without a word."""

    level: SpendingLevel = "open"
    cause: SpendingCause | None = None
    runway_s: int | None = None
    grace_until: datetime | None = None


def on_ladder(ladder: Ladder, left_s: int | None, has_credit: bool, now: datetime) -> tuple[SpendingLevel, int]:
    """The level for credit that lasts `left_s` seconds (None: nothing burns), and the rung it stands on.

    The rung counts from 0 (open) and grows as less is left; a change of rung is worth saying.
    """
    if left_s is None:
        return ("open", 0) if has_credit else ("blocked", len(ladder.warn_s) + 1)
    if left_s <= ladder.stop_s:
        return "stopping", len(ladder.warn_s) + 2
    if left_s <= ladder.block_s:
        return "blocked", len(ladder.warn_s) + 1
    rung = sum(left_s <= warn_s for warn_s in ladder.warn_s)
    return ("warned", rung) if rung else ("open", 0)


def rung_of(ladder: Ladder, spending: Spending) -> int:
    """The rung that was said last."""
    match spending.level:
        case "open":
            return 0
        case "warned":
            return sum((spending.runway_s or 0) <= warn_s for warn_s in ladder.warn_s)
        case "blocked":
            return len(ladder.warn_s) + 1
        case "stopping":
            return len(ladder.warn_s) + 2


STOP_MOVES_S: Final = 60
"""A stop that is announced is announced again when its instant moves by more than this."""


def decide(command: SetLevel, spending: Spending) -> list[Event]:
    """The change, or nothing when all of it was said before."""
    if not _is_news(command, spending):
        return []
    return [
        SpendingLevelChanged(
            scope_id=command.scope_id,
            tenant_id=command.tenant_id,
            project_id=command.project_id,
            level=command.level,
            cause=command.cause,
            runway_s=command.runway_s,
            grace_until=command.grace_until,
            detail=command.detail,
        )
    ]


def _is_news(command: SetLevel, spending: Spending) -> bool:
    if command.level != spending.level:
        return True
    if command.level == "warned":
        return command.step != 0
    if command.level == "stopping" and command.grace_until and spending.grace_until:
        return abs(command.grace_until - spending.grace_until) > timedelta(seconds=STOP_MOVES_S)
    return False


def evolve(spending: Spending, event: Event) -> Spending:
    """What was said last."""
    match event:
        case SpendingLevelChanged() as changed:
            return Spending(changed.level, changed.cause, changed.runway_s, changed.grace_until)
        case _:
            raise AssertionError(f"{type(event).__name__} is not of a spending level")


def prepaid_level(
    tenant_id: str, ladder: Ladder, left_s: int | None, has_credit: bool, now: datetime, said: Spending
) -> SetLevel:
    """Where prepaid credit puts a tenant now, given what was said before."""
    level, rung = on_ladder(ladder, left_s, has_credit, now)
    ends = None if left_s is None else now + timedelta(seconds=left_s)
    # A stop that is running out does not creep: the instant stays what was announced unless credit really changed.
    return SetLevel(
        scope_id=tenant_id,
        tenant_id=tenant_id,
        project_id=None,
        level=level,
        cause="prepaid",
        detail=_sentence(level, ends),
        runway_s=left_s,
        grace_until=ends if level == "stopping" else None,
        step=rung if level == "warned" and rung != rung_of(ladder, said) else 0,
    )


def _sentence(level: SpendingLevel, ends: datetime | None) -> str:
    until = "is used up" if ends is None else f"ends at {rfc3339(ends)}"
    return {
        "open": "prepaid credit suffices",
        "warned": f"prepaid credit {until}; grant more",
        "blocked": f"prepaid credit {until}; nothing new starts before more is granted",
        "stopping": f"prepaid credit {until}; what runs stops then unless more is granted",
    }[level]


SPENDING: Final[Decider[Spending, SetLevel]] = Decider(initial=Spending(), decide=decide, evolve=evolve)
