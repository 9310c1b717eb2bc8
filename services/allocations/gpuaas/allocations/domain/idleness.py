"""Whether an allocation uses its GPUs. One law: what was not seen is not idle.

Samples of the whole gang come in order of time. A streak is time in which every GPU was sampled often enough and none
did anything; a gap in the samples ends it like use does. When it has lasted as long as the allocation or its pool says,
that is noticed, its tenant is told, and after the grace it is taken back; use in between calls that off. What was
noticed is on the log; the samples are not, and nothing is billed by them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from gpuaas.allocations.domain.rules import Rules
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Rejected
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.allocations import AllocationIdleEnded, AllocationIdleNoticed, IdlenessEnd

COVERS: Final = timedelta(seconds=180)
"""For so long a sample speaks; beyond that nobody knows."""
BELOW_PERCENT: Final = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """What the busiest GPU of the whole gang did, percent."""

    at: datetime
    percent: int


@dataclass(frozen=True, slots=True)
class Streak:
    """How long it has been idle without a gap; `since` None: it is not."""

    since: datetime | None = None
    last: datetime | None = None
    samples: int = 0

    def after(self, sample: Sample) -> Streak:
        """With one more sample; one from before the last says nothing."""
        if self.last is not None and sample.at <= self.last:
            return self
        if sample.percent >= BELOW_PERCENT:
            return Streak(None, sample.at)
        if self.since is None or self.last is None or sample.at - self.last > COVERS:
            return Streak(sample.at, sample.at, 1)
        return replace(self, last=sample.at, samples=self.samples + 1)


@dataclass(frozen=True, slots=True)
class Limits:
    """After how long without use it counts as idle, and how long after the notice it is taken back."""

    idle_after: timedelta
    grace: timedelta


def limits_of(asked_s: int | None, rules: Rules) -> Limits | None:
    """What counts for an allocation: its own word, else its pool's; None: it is never taken back for that."""
    after = rules.idle_after if asked_s is None else timedelta(seconds=asked_s)
    return Limits(after, rules.idle_grace) if after else None


# -- what is on the log --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NoticeIdle:
    """It was found idle."""

    said: AllocationIdleNoticed


@dataclass(frozen=True, slots=True)
class EndIdle:
    """It is not taken back after all."""

    allocation_id: str
    at: datetime
    why: IdlenessEnd


Idleness = AllocationIdleNoticed | None
IdlenessCommand = NoticeIdle | EndIdle


def decide(command: IdlenessCommand, noticed: Idleness) -> list[Event]:
    """A notice stands until it is ended; a second one meanwhile says nothing new.

    Raises:
        Rejected: the end of a notice before it was given.
    """
    match command, noticed:
        case NoticeIdle() as found, None:
            return [found.said]
        case EndIdle() as end, AllocationIdleNoticed() as standing if end.at < standing.noticed_at:
            raise Rejected(f"it was noticed at {standing.noticed_at}, later than {end.at}")
        case EndIdle() as end, AllocationIdleNoticed():
            return [AllocationIdleEnded(allocation_id=end.allocation_id, ended_at=end.at, why=end.why)]
        case _:
            return []


def evolve(_: Idleness, event: Event) -> Idleness:
    """The notice that stands."""
    match event:
        case AllocationIdleNoticed():
            return event
        case AllocationIdleEnded():
            return None
        case _:
            raise AssertionError(event.TYPE)


IDLENESS: Final[Decider[Idleness, IdlenessCommand]] = Decider(initial=None, decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(AllocationIdleNoticed, AllocationIdleEnded)

# -- what follows from a sample ------------------------------------------------------------------------------------

Verdict = Literal["nothing", "notice", "take-back", "active-again", "not-sampled", "not-asked-for"]


def verdict(streak: Streak, limits: Limits | None, standing: Idleness, now: datetime) -> Verdict:
    """What is to be done about an allocation whose samples are these, at `now`."""
    unseen = streak.last is None or now - streak.last > COVERS
    if standing is not None:
        if limits is None:
            return "not-asked-for"
        if unseen:
            return "not-sampled"
        if streak.since is None:
            return "active-again"
        if streak.since > standing.noticed_at:
            # It was used, or not seen, between two looks.
            return "active-again"
        return "take-back" if streak.last is not None and streak.last >= standing.reclaim_at else "nothing"
    if limits is None or streak.since is None or streak.last is None or unseen:
        return "nothing"
    return "notice" if streak.last - streak.since >= limits.idle_after else "nothing"
