"""What a request may have of a pool now, by the calendar. One law: nobody is placed where it would still stand when
what was promised to somebody else begins.

The scheduler's one question to the calendar is `Outlook.find`: `place()` on the pool as this request may see it. A
request without a reservation sees no GPU that is promised before it would end; one with a reservation sees what its
reservation keeps, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

from gpuaas.allocations.domain.calendar import Booking, Window
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.choosing import first_of
from gpuaas.allocations.domain.foresight import spelled, without
from gpuaas.allocations.domain.placement import LEAST_FRAGMENTS, NoPlacement, Placement, place
from gpuaas.allocations.domain.room import Bits
from gpuaas.allocations.domain.shape import Form, Shape
from gpuaas.allocations.domain.sharing import Policy

START_MARGIN_S: Final = 300
"""Seconds of this world between the grant and the start that the calendar allows for."""


class Wants(Protocol):
    """What the calendar needs to know of a request in the line."""

    @property
    def tenant_id(self) -> str: ...
    @property
    def project_id(self) -> str: ...
    @property
    def shape(self) -> Shape: ...
    @property
    def lease_s(self) -> int: ...
    @property
    def start_at(self) -> datetime | None: ...
    @property
    def reservation_id(self) -> str | None: ...
    @property
    def choices(self) -> tuple[Form, ...]: ...


@dataclass(frozen=True, slots=True)
class Deferral:
    """Why a request does not start yet, by its time alone.

    Attributes:
        never: waiting will not help: its reservation is over, or never was its own.
    """

    reason: Literal["not-before", "reservation-not-open", "promised-to-others"]
    until: datetime | None
    detail: str
    never: bool = False


@dataclass(frozen=True, slots=True)
class Outlook:
    """The calendar as of `now`; None: nobody asks the time, and nothing is promised to anybody."""

    now: datetime | None = None

    def times(self, wants: Wants, pool: Pool) -> tuple[datetime | None, datetime | None]:
        """From when to when a claim granted now would stand at the latest."""
        if self.now is None:
            return None, None
        ends_by = self.now + timedelta(seconds=wants.lease_s + START_MARGIN_S)
        if (window := self._window(wants, pool)) is not None:
            ends_by = min(ends_by, window.ends_at)
        return self.now, ends_by

    def deferral(self, wants: Wants, pool: Pool) -> Deferral | None:
        """Why it is not its time; None when it is."""
        if self.now is None:
            return None
        if wants.start_at is not None and self.now < wants.start_at:
            return Deferral("not-before", wants.start_at, f"asked to start at {spelled(wants.start_at)} or later")
        if wants.reservation_id is None or self._window(wants, pool) is not None:
            return None
        name, booking = wants.reservation_id, self._booking(wants, pool)
        following = booking.next_after(self.now) if booking is not None else None
        if following is None:
            return Deferral("reservation-not-open", None, f"reservation {name} has no window any more", never=True)
        opens = following.starts_at
        return Deferral("reservation-not-open", opens, f"reservation {name} opens at {spelled(opens)}")

    def find(
        self, pool: Pool, wants: Wants, policy: Policy = LEAST_FRAGMENTS, held_back: Mapping[str, Bits] | None = None
    ) -> Placement | NoPlacement:
        """`place()` for this request, and in time: what is promised to others before it would end is not there.

        Of the shapes that will do, the first that can be had.
        """
        return first_of(wants.choices, lambda shape: self._one(pool, wants, shape, policy, held_back))

    def _one(
        self, pool: Pool, wants: Wants, shape: Shape, policy: Policy, held_back: Mapping[str, Bits] | None
    ) -> Placement | NoPlacement:
        if wants.reservation_id is not None:
            return self._inside(pool, wants, shape, policy)
        sight = self.seen(pool, wants)
        found = place(sight.book, shape, pool.events, policy, held_back)
        if isinstance(found, Placement) or found.forever or sight is pool:
            return found
        if isinstance(place(pool.book, shape, pool.events, policy, held_back), NoPlacement):
            return found
        return NoPlacement(
            "insufficient-capacity",
            f"{shape} are free now, and promised to others before a lease of {wants.lease_s} s would end; "
            "a shorter one may fit",
            promised=True,
        )

    def seen(self, pool: Pool, wants: Wants) -> Pool:
        """The pool as a request without a reservation may use it."""
        if not pool.calendar:
            return pool
        begins, ends = self.times(wants, pool)
        if begins is None or ends is None:
            return pool
        return without(pool, pool.calendar.promised(pool.book.nodes, begins, ends))

    def _inside(self, pool: Pool, wants: Wants, shape: Shape, policy: Policy) -> Placement | NoPlacement:
        """A place on what its reservation keeps."""
        booking, window = self._booking(wants, pool), self._window(wants, pool)
        if booking is None or window is None:
            return NoPlacement("never-satisfiable", f"reservation {wants.reservation_id} has no open window")
        if shape.gpu_count > booking.shape.gpu_count:
            kept = booking.shape.gpu_count
            return NoPlacement("never-satisfiable", f"{shape} are more than the {kept} its reservation keeps")
        book, ours = pool.book, window.masks()
        closed = {number: (1 << len(book.nodes[number].devices)) - 1 & ~mask for number, mask in ours.items()}
        assert self.now is not None
        for number, mask in pool.calendar.promised(
            book.nodes, self.now, window.ends_at, booking.reservation_id
        ).items():
            if number in closed:
                closed[number] |= mask
        model = booking.shape.gpu_model
        assert model is not None
        if shape.gpu_model not in (None, model):
            return NoPlacement("never-satisfiable", f"its reservation keeps GPUs of {model}")
        shape = replace(shape, gpu_model=model)
        elsewhere = ~sum(1 << number for number in ours)
        found = place(without(pool, closed).book, shape, pool.events, policy, {model: elsewhere})
        if isinstance(found, Placement) or found.forever:
            return found
        return NoPlacement("insufficient-capacity", f"{shape} are wanted; its reservation has fewer free now")

    def _booking(self, wants: Wants, pool: Pool) -> Booking | None:
        """Its own project's reservation, if it is one."""
        booking = pool.calendar.bookings.get(wants.reservation_id or "")
        own = booking is not None and (booking.tenant_id, booking.project_id) == (wants.tenant_id, wants.project_id)
        return booking if own else None

    def _window(self, wants: Wants, pool: Pool) -> Window | None:
        booking = self._booking(wants, pool)
        return booking.open_at(self.now) if booking is not None and self.now is not None else None


ANY_TIME: Final = Outlook()
