"""Promising GPUs for a time to come. One law: a promise is made or moved only in the pool's own history, against the
claims that will still stand then and everything promised before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from gpuaas.allocations.domain.calendar import Booking, Holdings, Window, as_members
from gpuaas.allocations.domain.capacity import Pool, per_node
from gpuaas.allocations.domain.foresight import Emptying, Times, fit, refuse_promised, spelled, unsound
from gpuaas.allocations.domain.placement import NoPlacement
from gpuaas.allocations.domain.room import Bits
from gpuaas.allocations.domain.shape import Shape
from gpuaas.common.errors import Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.allocations import (
    BookedWindow,
    ClaimExtended,
    ClosureCause,
    PoolTimeBooked,
    PoolTimeClosed,
    PoolTimeFreed,
    PoolTimeOpened,
)


@dataclass(frozen=True, slots=True)
class BookTime:
    """Keep GPUs for every window of a reservation, or for none of them."""

    pool_id: str
    reservation_id: str
    tenant_id: str
    project_id: str
    shape: Shape
    windows: tuple[Times, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class MendTime:
    """Put others in the place of booked GPUs that will not be there.

    Attributes:
        ahead: windows that begin before this are moved off machines that are withdrawn now; later ones may hope.
    """

    pool_id: str
    reservation_id: str
    at: datetime
    ahead: datetime


@dataclass(frozen=True, slots=True)
class FreeTime:
    """Keep nothing more for these windows; None: for none that is left."""

    pool_id: str
    reservation_id: str
    windows: tuple[int, ...] | None
    reason: str


@dataclass(frozen=True, slots=True)
class CloseTime:
    """These machines will not be there in that time; those that are not of the pool are not meant."""

    pool_id: str
    closure_id: str
    node_ids: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime
    cause: ClosureCause
    detail: str


@dataclass(frozen=True, slots=True)
class OpenTime:
    """A closure is over, or was called off."""

    pool_id: str
    closure_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ExtendClaim:
    """A claim is to stand until `ends_by`; asked at `at`."""

    pool_id: str
    allocation_id: str
    at: datetime
    ends_by: datetime


BookingCommand = BookTime | MendTime | FreeTime | CloseTime | OpenTime | ExtendClaim
BOOKING_EVENTS: Final = (PoolTimeBooked, PoolTimeFreed, PoolTimeClosed, PoolTimeOpened, ClaimExtended)


def decide_booking(command: BookingCommand, pool: Pool) -> list[Event]:
    """What follows from `command`; nothing where it stands so already.

    Raises:
        Rejected: the GPUs are not there for all of the windows, or are promised to others.
    """
    match command:
        case BookTime() as order:
            return _book(order, pool)
        case MendTime() as order:
            return _mend(order, pool)
        case FreeTime() as order:
            return _free(order, pool)
        case CloseTime() as order:
            return _close(order, pool)
        case OpenTime() as order:
            if order.closure_id not in pool.calendar.closures:
                return []
            return [PoolTimeOpened(pool_id=order.pool_id, closure_id=order.closure_id, reason=order.reason)]
        case ExtendClaim() as order:
            return _extend(order, pool)


# -- making a promise -------------------------------------------------------------------------------------------------


def _book(order: BookTime, pool: Pool) -> list[Event]:
    if (standing := pool.calendar.bookings.get(order.reservation_id)) is not None:
        if standing.shape == order.shape:
            return []
        raise Rejected(f"reservation {order.reservation_id} is booked already, with another shape")
    if pool.events == 0:
        raise Rejected(f"there is no pool {order.pool_id}; see the list of pools")
    emptying = Emptying(pool, order.at)
    windows: list[Window] = []
    for number, times in enumerate(order.windows):
        found = fit(order.shape, times, emptying.at(times[0]), order.reservation_id, {})
        if isinstance(found, NoPlacement):
            raise Rejected(
                f"{order.shape} are not to be had from {spelled(times[0])} to {spelled(times[1])}: {found.detail}; "
                "the calendar of the pool says what is free when",
                window=number,
                reason=found.reason,
            )
        windows.append(Window(number, *times, found))
    return [_booked(order.pool_id, _booking_of(order, windows), windows, pool, "reservation made")]


def _booking_of(order: BookTime, windows: Sequence[Window]) -> Booking:
    return Booking(order.reservation_id, order.tenant_id, order.project_id, order.shape, tuple(windows))


def _booked(pool_id: str, booking: Booking, windows: Sequence[Window], pool: Pool, detail: str) -> PoolTimeBooked:
    shape, book = booking.shape, pool.book
    assert shape.gpu_model is not None
    return PoolTimeBooked(
        pool_id=pool_id,
        reservation_id=booking.reservation_id,
        tenant_id=booking.tenant_id,
        project_id=booking.project_id,
        gpu_model=shape.gpu_model,
        replicas=shape.replicas,
        gpus_per_replica=shape.gpus_per_replica,
        topology_level=shape.topology_level,
        topology_mode=shape.topology_mode,
        windows=tuple(
            BookedWindow(
                window=window.number,
                starts_at=window.starts_at,
                ends_at=window.ends_at,
                members=as_members(book, window.holdings),
            )
            for window in windows
        ),
        detail=detail,
    )


# -- when capacity is lost -------------------------------------------------------------------------------------------


def _mend(order: MendTime, pool: Pool) -> list[Event]:
    booking = pool.calendar.bookings.get(order.reservation_id)
    if booking is None:
        return []
    emptying = Emptying(pool, order.at)
    changed: list[Window] = []
    reasons: set[str] = set()
    for window in booking.windows:
        bad = unsound(pool, window, order.ahead)
        if not bad or window.ends_at <= order.at:
            continue
        begins = max(window.starts_at, order.at)
        holdings = _mended(pool, booking, window, set(bad), emptying.at(begins), begins)
        if holdings != window.holdings:
            changed.append(replace(window, holdings=holdings))
            reasons.update(bad.values())
    if not changed:
        return []
    detail = f"moved: {'; '.join(sorted(reasons))}"[:500]
    return [_booked(order.pool_id, booking, changed, pool, detail)]


def _mended(pool: Pool, booking: Booking, window: Window, bad: set[int], then: Pool, begins: datetime) -> Holdings:
    """The window's groups with others for the bad ones, as far as there are any."""
    shape, times, own = booking.shape, (begins, window.ends_at), booking.reservation_id
    if begins == window.starts_at:
        whole = fit(shape, times, then, own, {})
        if not isinstance(whole, NoPlacement):
            return whole
    if shape.topology_mode == "required" and shape.replicas > 1:
        return window.holdings
    groups = list(window.holdings)
    taken: dict[int, Bits] = per_node([group for i, group in enumerate(groups) if i not in bad])
    single = Shape(shape.gpu_model, 1, shape.gpus_per_replica)
    for index in sorted(bad):
        found = fit(single, times, then, own, taken)
        if isinstance(found, NoPlacement):
            break
        number, mask = groups[index] = found[0]
        taken[number] = taken.get(number, 0) | mask
    return tuple(groups)


# -- the rest --------------------------------------------------------------------------------------------------------


def _free(order: FreeTime, pool: Pool) -> list[Event]:
    booking = pool.calendar.bookings.get(order.reservation_id)
    if booking is None:
        return []
    left = {window.number for window in booking.windows}
    numbers = None if order.windows is None else tuple(sorted(left.intersection(order.windows)))
    if numbers == ():
        return []
    return [
        PoolTimeFreed(
            pool_id=order.pool_id, reservation_id=order.reservation_id, windows=numbers, reason=order.reason[:500]
        )
    ]


def _close(order: CloseTime, pool: Pool) -> list[Event]:
    nodes = tuple(node_id for node_id in order.node_ids if node_id in pool.book.number)
    standing = pool.calendar.closures.get(order.closure_id)
    numbers = tuple(pool.book.number[node_id] for node_id in nodes)
    same = standing is not None and (standing.nodes, standing.starts_at, standing.ends_at) == (
        numbers,
        order.starts_at,
        order.ends_at,
    )
    if not nodes or same:
        return []
    return [
        PoolTimeClosed(
            pool_id=order.pool_id,
            closure_id=order.closure_id,
            node_ids=nodes,
            starts_at=order.starts_at,
            ends_at=order.ends_at,
            cause=order.cause,
            detail=order.detail[:500],
        )
    ]


def _extend(order: ExtendClaim, pool: Pool) -> list[Event]:
    claim = pool.book.claims.get(order.allocation_id)
    if claim is None or claim.ends_by is None or order.ends_by <= claim.ends_by:
        return []
    refuse_promised(pool, claim, order.at, order.ends_by)
    return [ClaimExtended(pool_id=order.pool_id, allocation_id=order.allocation_id, ends_by=order.ends_by)]
