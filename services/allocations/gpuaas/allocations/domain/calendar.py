"""What of a pool is promised for which time. One law: a GPU is promised to one reservation at a time, and only for a
window in which it is expected to be there and free.

A booking keeps exact GPUs for every window of a reservation, a closure takes whole machines out for a time
(maintenance, burn-in); both are events of the pool, so what is promised and what is held are one history with one
guard. Times are half-open: [starts_at, ends_at).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from gpuaas.allocations.domain.book import Book, Node
from gpuaas.allocations.domain.room import Bits, members
from gpuaas.allocations.domain.shape import Shape
from gpuaas.contracts.allocations import (
    BookedWindow,
    ClosureCause,
    Member,
    PoolTimeBooked,
    PoolTimeClosed,
    PoolTimeFreed,
)

Holdings = tuple[tuple[int, Bits], ...]
"""Per group (node index, mask of devices)."""


@dataclass(frozen=True, slots=True)
class Window:
    """The GPUs kept in one window of a reservation; `number` counts its windows from 0."""

    number: int
    starts_at: datetime
    ends_at: datetime
    holdings: Holdings

    def meets(self, starts_at: datetime, ends_at: datetime) -> bool:
        """Whether the two times have an instant in common."""
        return self.starts_at < ends_at and starts_at < self.ends_at

    @property
    def gpu_count(self) -> int:
        return sum(mask.bit_count() for _, mask in self.holdings)

    def masks(self) -> dict[int, Bits]:
        """The same by node."""
        together: dict[int, Bits] = {}
        for number, mask in self.holdings:
            together[number] = together.get(number, 0) | mask
        return together


@dataclass(frozen=True, slots=True)
class Booking:
    """What a reservation is promised, and the windows that are left of it."""

    reservation_id: str
    tenant_id: str
    project_id: str
    shape: Shape
    windows: tuple[Window, ...]

    def open_at(self, at: datetime) -> Window | None:
        """The window that is open then."""
        return next((window for window in self.windows if window.starts_at <= at < window.ends_at), None)

    def next_after(self, at: datetime) -> Window | None:
        """The first window that is not over then."""
        return next((window for window in self.windows if at < window.ends_at), None)


@dataclass(frozen=True, slots=True)
class Closure:
    """Machines that will not be there for a time."""

    closure_id: str
    nodes: tuple[int, ...]
    starts_at: datetime
    ends_at: datetime
    cause: ClosureCause
    detail: str

    def meets(self, starts_at: datetime, ends_at: datetime) -> bool:
        """Whether the two times have an instant in common."""
        return self.starts_at < ends_at and starts_at < self.ends_at


@dataclass(frozen=True, slots=True)
class Calendar:
    """A pool's bookings and closures. A value."""

    bookings: Mapping[str, Booking] = field(default_factory=dict)
    closures: Mapping[str, Closure] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.bookings or self.closures)

    def windows(self) -> Iterator[tuple[Booking, Window]]:
        """Every window of every booking."""
        for booking in self.bookings.values():
            for window in booking.windows:
                yield booking, window

    def promised(
        self, nodes: list[Node], starts_at: datetime, ends_at: datetime, but: str | None = None
    ) -> dict[int, Bits]:
        """The GPUs promised or closed at any instant of [starts_at, ends_at), by node; those of `but` not counted."""
        taken: dict[int, Bits] = {}
        for booking, window in self.windows():
            if booking.reservation_id != but and window.meets(starts_at, ends_at):
                for number, mask in window.holdings:
                    taken[number] = taken.get(number, 0) | mask
        for closure in self.closures.values():
            if closure.meets(starts_at, ends_at):
                for number in closure.nodes:
                    taken[number] = (1 << len(nodes[number].devices)) - 1
        return taken

    def next_change_after(self, at: datetime) -> datetime | None:
        """The first instant after `at` at which something begins or ends."""
        moments = [moment for _, window in self.windows() for moment in (window.starts_at, window.ends_at)]
        moments += [moment for each in self.closures.values() for moment in (each.starts_at, each.ends_at)]
        return min((moment for moment in moments if moment > at), default=None)


NO_CALENDAR: Final = Calendar()


def mask_in(node: Node, member: Member) -> Bits:
    """The member's devices as bits; those that are gone are left out."""
    return sum(1 << node.devices.index(device) for device in member.device_ids if device in node.devices)


def devices_of(book: Book, number: int, mask: Bits) -> tuple[str, ...]:
    """The names of those GPUs of a machine."""
    return tuple(book.nodes[number].devices[bit] for bit in members(mask))


def as_members(book: Book, holdings: Holdings) -> tuple[Member, ...]:
    """Holdings as an event says them."""
    return tuple(
        Member(member=index, node_id=book.nodes[number].node_id, device_ids=devices_of(book, number, mask))
        for index, (number, mask) in enumerate(holdings)
    )


def holdings_of(book: Book, said: tuple[Member, ...]) -> Holdings:
    """What an event says, as holdings."""
    found: list[tuple[int, Bits]] = []
    for member in said:
        number = book.number[member.node_id]
        found.append((number, mask_in(book.nodes[number], member)))
    return tuple(found)


def booked(calendar: Calendar, book: Book, said: PoolTimeBooked) -> Calendar:
    """The calendar after windows were booked, or booked anew."""
    standing = calendar.bookings.get(said.reservation_id)
    windows = {window.number: window for window in standing.windows} if standing else {}
    windows |= {each.window: _window(book, each) for each in said.windows}
    booking = Booking(
        said.reservation_id,
        said.tenant_id,
        said.project_id,
        Shape(said.gpu_model, said.replicas, said.gpus_per_replica, said.topology_level, said.topology_mode),
        tuple(windows[number] for number in sorted(windows)),
    )
    return replace(calendar, bookings={**calendar.bookings, said.reservation_id: booking})


def _window(book: Book, said: BookedWindow) -> Window:
    return Window(said.window, said.starts_at, said.ends_at, holdings_of(book, said.members))


def freed(calendar: Calendar, said: PoolTimeFreed) -> Calendar:
    """The calendar after windows were given up; a booking without windows is gone."""
    left = dict(calendar.bookings)
    booking = left.pop(said.reservation_id)
    windows = tuple(w for w in booking.windows if said.windows is not None and w.number not in said.windows)
    if windows:
        left[said.reservation_id] = replace(booking, windows=windows)
    return replace(calendar, bookings=left)


def closed(calendar: Calendar, book: Book, said: PoolTimeClosed) -> Calendar:
    """The calendar after machines were closed for a time."""
    nodes = tuple(book.number[node_id] for node_id in said.node_ids)
    closure = Closure(said.closure_id, nodes, said.starts_at, said.ends_at, said.cause, said.detail)
    return replace(calendar, closures={**calendar.closures, said.closure_id: closure})


def opened(calendar: Calendar, closure_id: str) -> Calendar:
    """The calendar after a closure was lifted."""
    return replace(calendar, closures={name: each for name, each in calendar.closures.items() if name != closure_id})
