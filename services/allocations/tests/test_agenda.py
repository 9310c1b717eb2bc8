"""What a pool has free when: every GPU once, in the calendar's own words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from gpuaas.allocations.domain.agenda import stretches
from gpuaas.allocations.domain.booking import BookTime, CloseTime
from gpuaas.allocations.domain.pool import POOL
from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import fleet, gpus, grant, member, told, withdraw
from test_calendar import HOUR, NOON, book, close


def test_held_kept_closed_down_and_free_add_up_and_change_when_something_begins_or_ends() -> None:
    claim = replace(grant("a", member(0, "n0", range(8))), at=NOON, ends_by=NOON + HOUR * 2)
    pool = told(fleet(4), claim, book("r", gpus(8), (1, 3)), close("mw", "n2", 4, 5), withdraw("n3"))
    found = list(stretches(pool, "h100", NOON, NOON + HOUR * 6))
    assert [(each.starts_at - NOON) / HOUR for each in found] == [0, 1, 2, 3, 4, 5]
    assert [each.held_gpus for each in found] == [8, 8, 0, 0, 0, 0]
    assert [each.kept_gpus for each in found] == [0, 8, 8, 0, 0, 0]
    assert [each.closed_gpus for each in found] == [0, 0, 0, 0, 8, 0]
    assert [each.down_gpus for each in found] == [8] * 6
    assert [each.free_gpus for each in found] == [16, 8, 16, 24, 16, 24]
    assert [each.reservation_ids for each in found] == [(), ("r",), ("r",), (), (), ()]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 8), st.integers(0, 5), st.integers(1, 5))
def test_what_the_calendar_calls_free_can_be_reserved_gpu_by_gpu(
    nodes: int, size: int, begins: int, hours: int
) -> None:
    pool = told(fleet(nodes), book("r", gpus(size), (begins, begins + hours)), close("mw", "n0", 20, 21))
    for each in stretches(pool, "h100", NOON, NOON + timedelta(days=1)):
        assert each.free_gpus + each.kept_gpus + each.held_gpus + each.closed_gpus + each.down_gpus == each.gpus
        if not each.free_gpus:
            continue
        times = ((each.starts_at, each.ends_at),)
        whole = BookTime("main", "all", "acme", "research", gpus(1, each.free_gpus), times, NOON)
        assert told(pool, whole).calendar.bookings["all"].windows[0].gpu_count == each.free_gpus


def test_a_closure_of_a_machine_that_is_not_in_the_pool_says_nothing() -> None:
    other = CloseTime("main", "mw", ("n9",), NOON, NOON + HOUR, "maintenance", "somewhere else")
    assert POOL.decide(other, fleet(1)) == []
