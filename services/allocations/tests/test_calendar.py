"""The calendar: no GPU promised twice, and nobody placed where it would delay what was promised."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from gpuaas.allocations.domain import kept
from gpuaas.allocations.domain.booking import BookTime, CloseTime, ExtendClaim, FreeTime, MendTime, OpenTime
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.foresight import missing
from gpuaas.allocations.domain.outlook import START_MARGIN_S, Outlook
from gpuaas.allocations.domain.placement import NoPlacement, Placement
from gpuaas.allocations.domain.pool import POOL
from gpuaas.allocations.domain.queue import Line, Plan, Waiting, plan
from gpuaas.allocations.domain.shape import Shape
from gpuaas.common.errors import Rejected
from gpuaas.contracts.allocations import PoolTimeBooked
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from small_fleet import fleet, give_back, gpus, grant, machine, member, told, withdraw

NOON = datetime(2026, 8, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FAR = NOON + timedelta(days=1)


def book(name: str, shape: Shape, *hours: tuple[float, float], at: datetime = NOON) -> BookTime:
    """A reservation with windows in hours from noon."""
    windows = tuple((NOON + HOUR * begins, NOON + HOUR * ends) for begins, ends in hours)
    return BookTime("main", name, "acme", "research", shape, windows, at)


def close(name: str, node_id: str, begins: float, ends: float) -> CloseTime:
    return CloseTime("main", name, (node_id,), NOON + HOUR * begins, NOON + HOUR * ends, "maintenance", "new firmware")


def asks(name: str, shape: Shape, lease_s: int, arrival: int = 0, **more: object) -> Waiting:
    return Waiting(name, "acme", "research", shape, 0, arrival, lease_s=lease_s, **more)  # type: ignore[arg-type]


def planned(pool: Pool, now: datetime, *waiting: Waiting) -> Plan:
    line = Line()
    for each in waiting:
        line.join(each)
    return plan("main", pool, line, {}, outlook=Outlook(now))


def test_the_same_gpus_are_not_promised_twice_at_one_time() -> None:
    pool = told(fleet(2), book("a", gpus(8, 2), (1, 2)))
    with pytest.raises(Rejected, match="not to be had from 2026-08-05 13:30"):
        POOL.decide(book("b", gpus(1), (1.5, 3)), pool)
    assert len(told(pool, book("b", gpus(8, 2), (2, 3), (0, 1))).calendar.bookings) == 2


def test_a_repeated_window_that_does_not_fit_refuses_them_all() -> None:
    pool = told(fleet(1), book("a", gpus(8), (25, 26)))
    with pytest.raises(Rejected) as refused:
        POOL.decide(book("b", gpus(8), (1, 2), (25, 26)), pool)
    assert "2026-08-06 13:00" in refused.value.detail


def test_a_claim_that_will_have_ended_is_no_obstacle_and_one_without_an_end_is() -> None:
    ends = replace(grant("a", member(0, "n0", range(8))), at=NOON, ends_by=NOON + HOUR)
    assert POOL.decide(book("r", gpus(8), (1, 2)), told(fleet(1), ends))
    for stays in (replace(ends, ends_by=NOON + 2 * HOUR), replace(ends, ends_by=None)):
        with pytest.raises(Rejected, match="not to be had"):
            POOL.decide(book("r", gpus(8), (1, 2)), told(fleet(1), stays))


def test_what_would_still_stand_when_a_reservation_begins_is_not_placed_on_its_gpus() -> None:
    pool = told(fleet(1), book("r", gpus(4), (1, 2)))
    longer, shorter = asks("long", gpus(8), 3_600), asks("short", gpus(8), 3_600 - START_MARGIN_S, 1)
    decided = planned(pool, NOON, longer, shorter)
    assert [granted.allocation_id for granted in decided.grants] == ["short"]
    assert "promised to others" in decided.obstacles[longer.lane].detail
    half = planned(pool, NOON, asks("half", gpus(4), 86_400))
    assert [granted.allocation_id for granted in half.grants] == ["half"]
    (half_grant,) = half.grants
    assert POOL.decide(half_grant, pool)


def test_a_grant_that_runs_into_a_promise_is_refused_by_the_pool_itself() -> None:
    pool = told(fleet(1), book("r", gpus(8), (1, 2)))
    wanted = grant("a", member(0, "n0", [0]))
    for late in (wanted, replace(wanted, at=NOON, ends_by=NOON + HOUR + timedelta(seconds=1))):
        with pytest.raises(Rejected, match="promised to others"):
            POOL.decide(late, pool)
    assert POOL.decide(replace(wanted, at=NOON, ends_by=NOON + HOUR), pool)


def test_a_reservation_is_used_by_its_own_project_in_its_window_and_by_nobody_else() -> None:
    pool = told(fleet(2), book("r", gpus(8), (1, 2)))
    inside = asks("in", gpus(8), 7_200, reservation_id="r")
    early = planned(pool, NOON, inside)
    assert early.deferred["in"].until == NOON + HOUR
    (granted,) = planned(pool, NOON + HOUR, inside).grants
    assert (granted.ends_by, granted.reservation_id) == (NOON + 2 * HOUR, "r")
    (window,) = pool.calendar.bookings["r"].windows
    assert {pool.book.number[each.node_id] for each in granted.members} == set(window.masks())
    taken = told(pool, granted)
    assert planned(taken, NOON + HOUR, asks("in2", gpus(1), 60, reservation_id="r")).obstacles
    stranger = Waiting("x", "kyoto", "vision", gpus(8), 0, 1, lease_s=60, reservation_id="r")
    (refused,) = planned(pool, NOON + HOUR, stranger).refusals
    assert "no window any more" in refused.detail


def test_a_request_that_starts_later_waits_and_holds_nobody_up() -> None:
    later = asks("later", gpus(8), 60, start_at=NOON + HOUR)
    decided = planned(fleet(1), NOON, later, asks("now", gpus(8), 60, 1))
    assert [granted.allocation_id for granted in decided.grants] == ["now"]
    assert decided.deferred["later"].reason == "not-before"
    assert planned(fleet(1), NOON + HOUR, later).grants


def test_nobody_is_placed_where_a_maintenance_window_would_find_it() -> None:
    pool = told(fleet(2), close("mw", "n0", 2, 3))
    (granted,) = planned(pool, NOON, asks("a", gpus(8), 86_400)).grants
    assert granted.members[0].node_id == "n1"
    with pytest.raises(Rejected, match="not to be had"):
        POOL.decide(book("r", gpus(8, 2), (2.5, 4)), pool)
    assert POOL.decide(book("r", gpus(8, 2), (2.5, 4)), told(pool, OpenTime("main", "mw", "called off")))


def test_a_lease_is_not_renewed_into_what_was_promised() -> None:
    claim = replace(grant("a", member(0, "n0", range(8))), at=NOON, ends_by=NOON + HOUR)
    pool = told(fleet(1), claim, book("r", gpus(8), (2, 3)))
    with pytest.raises(Rejected, match="promised to others"):
        POOL.decide(ExtendClaim("main", "a", NOON, NOON + HOUR * 2.5), pool)
    longer = told(pool, ExtendClaim("main", "a", NOON, NOON + HOUR * 2))
    assert longer.book.claims["a"].ends_by == NOON + HOUR * 2


def test_a_window_moves_to_other_machines_when_its_own_are_lost_and_counts_what_is_missing() -> None:
    pool = told(fleet(3), book("r", gpus(8, 2), (1, 2)), withdraw("n0"))
    mend = MendTime("main", "r", NOON, FAR)
    (moved,) = POOL.decide(mend, pool)
    assert isinstance(moved, PoolTimeBooked)
    assert {each.node_id for each in moved.windows[0].members} == {"n1", "n2"}
    pool = told(pool, mend, withdraw("n2"))
    assert POOL.decide(mend, pool) == []
    booking = pool.calendar.bookings["r"]
    lacking, why = missing(pool, booking, booking.windows[0], FAR)
    assert (lacking, "n2 is withdrawn" in why) == (8, True)
    pool = told(pool, machine(3), mend)
    booking = pool.calendar.bookings["r"]
    assert missing(pool, booking, booking.windows[0], FAR) == (0, "")


def test_a_far_window_waits_for_a_machine_to_come_back() -> None:
    pool = told(fleet(2), book("r", gpus(8), (24 * 30, 24 * 30 + 1)), withdraw("n0"))
    assert POOL.decide(MendTime("main", "r", NOON, FAR), pool) == []


def test_a_pool_written_down_keeps_its_calendar() -> None:
    claim = replace(grant("a", member(0, "n0", [0, 1])), at=NOON, ends_by=NOON + HOUR)
    pool = told(fleet(2), claim, book("r", gpus(2), (1, 2), (5, 6)), close("mw", "n1", 2, 3))
    again = kept.read(kept.written(pool))
    assert again.calendar == pool.calendar
    assert again.book.claims["a"].ends_by == NOON + HOUR
    assert kept.written(again) == kept.written(pool)


@dataclass
class _Standing:
    begins: datetime
    ends: datetime
    inside: str | None


class CalendarMachine(RuleBasedStateMachine):
    """Any order of requests, reservations, closures and ends, as time passes, by the scheduler's own plan."""

    @initialize()
    def begin(self) -> None:
        self.pool = fleet(3, gpus=4, per_rack=2)
        self.now = NOON
        self.count = 0
        self.standing: dict[str, _Standing] = {}

    def _name(self) -> str:
        self.count += 1
        return f"x{self.count}"

    @rule(
        size=st.sampled_from([1, 2, 4]),
        replicas=st.integers(1, 3),
        begins=st.integers(0, 8),
        hours=st.integers(1, 4),
        again=st.booleans(),
    )
    def reserve(self, size: int, replicas: int, begins: int, hours: int, again: bool) -> None:
        first = (self.now - NOON) / HOUR + begins
        windows = [(first, first + hours)] + ([(first + 12, first + 12 + hours)] if again else [])
        order = book(self._name(), gpus(size, replicas), *windows, at=self.now)
        try:
            self.pool = told(self.pool, order)
        except Rejected:
            return

    @rule(
        size=st.sampled_from([1, 2, 4]),
        replicas=st.integers(1, 2),
        lease_h=st.integers(1, 6),
        pick=st.integers(0, 5),
        share=st.booleans(),
    )
    def request(self, size: int, replicas: int, lease_h: int, pick: int, share: bool) -> None:
        """Several requests, and the scheduler decides."""
        shape = gpus(1, replicas, share_milli=500) if share else gpus(size, replicas)
        reservations = list(self.pool.calendar.bookings)
        inside = reservations[pick] if pick < len(reservations) else None
        lease_s = lease_h * 3_600 - START_MARGIN_S
        decided = planned(self.pool, self.now, asks(self._name(), shape, lease_s, reservation_id=inside))
        for granted in decided.grants:
            assert granted.ends_by is not None
            self.pool = told(self.pool, granted)
            self.standing[granted.allocation_id] = _Standing(self.now, granted.ends_by, inside)

    @rule(node=st.integers(0, 2), begins=st.integers(0, 6), hours=st.integers(1, 3))
    def maintain(self, node: int, begins: int, hours: int) -> None:
        first = (self.now - NOON) / HOUR + begins
        self.pool = told(self.pool, close(self._name(), f"n{node}", first, first + hours))
        for reservation_id in list(self.pool.calendar.bookings):
            self.pool = told(self.pool, MendTime("main", reservation_id, self.now, self.now + timedelta(days=9)))

    @rule(pick=st.integers(0, 9))
    @precondition(lambda self: self.pool.calendar.bookings)
    def give_up(self, pick: int) -> None:
        names = sorted(self.pool.calendar.bookings)
        self.pool = told(self.pool, FreeTime("main", names[pick % len(names)], None, "cancelled"))

    @rule(hours=st.sampled_from([0.5, 1, 2]))
    def pass_time(self, hours: float) -> None:
        """Leases end when they must; windows and closures that are over are taken out."""
        self.now += HOUR * hours
        for name, each in list(self.standing.items()):
            if each.ends <= self.now:
                self.pool = told(self.pool, give_back(name))
                del self.standing[name]
        for booking, window in list(self.pool.calendar.windows()):
            if window.ends_at <= self.now:
                over = FreeTime("main", booking.reservation_id, (window.number,), "over")
                self.pool = told(self.pool, over)

    @invariant()
    def no_gpu_is_promised_twice(self) -> None:
        windows = [(b.reservation_id, w) for b, w in self.pool.calendar.windows()]
        for i, (mine, one) in enumerate(windows):
            for other, two in windows[i + 1 :]:
                if mine != other and one.meets(two.starts_at, two.ends_at):
                    ours, theirs = one.masks(), two.masks()
                    assert not any(mask & theirs.get(number, 0) for number, mask in ours.items())

    @invariant()
    def no_claim_of_others_stands_when_a_window_begins(self) -> None:
        for booking, window in self.pool.calendar.windows():
            for name, claim in self.pool.book.claims.items():
                each = self.standing[name]
                if each.inside == booking.reservation_id or not window.meets(each.begins, each.ends):
                    continue
                ours = window.masks()
                assert not any(mask & ours.get(number, 0) for number, mask in claim.holdings), (name, booking)


TestCalendar = CalendarMachine.TestCase
TestCalendar.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_the_outlook_finds_a_place_beside_what_is_promised() -> None:
    pool = told(fleet(2), book("r", gpus(8), (0.5, 2)))
    found = Outlook(NOON).find(pool, asks("a", gpus(8), 7_200))
    assert isinstance(found, Placement)
    both = Outlook(NOON).find(pool, asks("b", gpus(8, 2), 7_200))
    assert isinstance(both, NoPlacement)
    assert both.promised
