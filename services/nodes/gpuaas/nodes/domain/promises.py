"""What pools have promised for a time, and whether it could be kept without some machines. One law: in doubt it could
not: GPUs are counted by machine, a claim whose end is unknown stays, and a gang is not moved as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from gpuaas.common.errors import Rejected


@dataclass(frozen=True, slots=True)
class Kept:
    """GPUs of one machine that are kept for one group of a reservation's window.

    Attributes:
        level: rack, pod or site that all groups must share; None: no condition.
    """

    reservation_id: str
    tenant_id: str
    window: int
    starts_at: datetime
    ends_at: datetime
    node_id: str
    gpu_model: str
    gpus: int
    level: str | None


@dataclass(frozen=True, slots=True)
class Offered:
    """A machine that its pool offers; `place` is region, site, pod, rack."""

    node_id: str
    gpu_model: str
    gpus: int
    place: tuple[str, str, str, str]

    def domain(self, level: str | None) -> tuple[str, ...]:
        """What machines of one `level` have in common."""
        return self.place[: DEPTH[level]]


DEPTH = {None: 0, "site": 2, "pod": 3, "rack": 4}
"""Level → how many names of a place it shares."""


@dataclass(frozen=True, slots=True)
class Standing:
    """GPUs that a claim has on one machine; `ends_by` None: not known."""

    node_id: str
    gpus: int
    ends_by: datetime | None
    reservation_id: str | None


@dataclass(frozen=True, slots=True)
class Room:
    """What one pool has, has given and has promised.

    Attributes:
        places: where each machine stands that something is kept on, offered or not.
    """

    machines: Sequence[Offered] = ()
    kept: Sequence[Kept] = ()
    standing: Sequence[Standing] = ()
    places: Sequence[Offered] = ()


@dataclass(frozen=True, slots=True)
class Unkept:
    """A window that would have `gpus` too few."""

    reservation_id: str
    tenant_id: str
    window: int
    starts_at: datetime
    ends_at: datetime
    gpus: int

    def __str__(self) -> str:
        begins = self.starts_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
        return f"reservation {self.reservation_id}, window {self.window} from {begins} on"


def unkept_without(taken: Collection[str], room: Room, since: datetime, work_goes_on: bool) -> list[Unkept]:
    """The windows that would have too few GPUs if the `taken` machines took no new work from `since` on.

    Each group needs as many free GPUs of the model on one other machine, in the same rack, pod or site where the
    reservation says so. With `work_goes_on` what runs in a window that has begun keeps its GPUs.
    """
    at_work = Counter[tuple[str, str]]()
    for claim in room.standing if work_goes_on else ():
        if claim.reservation_id is not None:
            at_work[claim.reservation_id, claim.node_id] += claim.gpus
    there = {each.node_id: each for each in (*room.places, *room.machines)}
    others = [each for each in room.machines if each.node_id not in taken]
    kept = [each for each in room.kept if each.node_id not in taken]
    lost: dict[tuple[str, int], Unkept] = {}
    leaving = (each for each in room.kept if each.node_id in taken and each.ends_at > since)
    for group in sorted(leaving, key=lambda each: (each.starts_at, each.reservation_id, each.window, -each.gpus)):
        missing = group.gpus
        if group.starts_at <= since:
            running = min(missing, at_work[group.reservation_id, group.node_id])
            at_work[group.reservation_id, group.node_id] -= running
            missing -= running
        if missing and (other := _elsewhere(replace(group, gpus=missing), there, others, kept, room, since)):
            kept.append(replace(group, node_id=other, gpus=missing))
        elif missing:
            key = (group.reservation_id, group.window)
            before = lost[key].gpus if key in lost else 0
            lost[key] = Unkept(
                group.reservation_id, group.tenant_id, group.window, group.starts_at, group.ends_at, before + missing
            )
    return list(lost.values())


def _elsewhere(
    group: Kept,
    there: dict[str, Offered],
    others: Sequence[Offered],
    kept: Sequence[Kept],
    room: Room,
    since: datetime,
) -> str | None:
    """The machine that could keep `group` and has the least room beside it; None: there is none."""
    begins = max(group.starts_at, since)
    used = Counter[str]()
    for each in kept:
        if each.starts_at < group.ends_at and begins < each.ends_at:
            used[each.node_id] += each.gpus
    for claim in room.standing:
        if claim.reservation_id is None and (claim.ends_by is None or claim.ends_by > begins):
            used[claim.node_id] += claim.gpus
    if group.level is not None and group.node_id not in there:
        return None
    domain = there[group.node_id].domain(group.level) if group.level is not None else ()
    fitting = [
        (each.gpus - used[each.node_id], each.node_id)
        for each in others
        if each.gpu_model == group.gpu_model
        and each.domain(group.level) == domain
        and each.gpus - used[each.node_id] >= group.gpus
    ]
    return min(fitting)[1] if fitting else None


def told(unkept: Sequence[Unkept]) -> str:
    """The first of these windows in a sentence, and how many more there are."""
    more = f" (and {len(unkept) - 1} more)" if len(unkept) > 1 else ""
    return f"{unkept[0]}, could not be kept elsewhere{more}"


def insist(unkept: Sequence[Unkept], over_promises: bool, thing: str) -> int | None:
    """How many windows an order breaks that is given nevertheless; None: none.

    Raises:
        Rejected: it would break some and does not say that it may.
    """
    if unkept and not over_promises:
        raise Rejected(
            f"{thing} would break a promise: {told(unkept)}; choose another time or machine, or say over_promises"
        )
    return len(unkept) or None
