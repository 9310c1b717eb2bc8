"""The meter. One law tested: however a holding is cut, its milliseconds add up; what cannot be is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from gpuaas.billing.domain.metering import Began, Ended, Interval, Meter, gpu_us, instant_ms, read
from gpuaas.common.errors import Invalid
from hypothesis import given
from hypothesis import strategies as st

MOMENTS = st.datetimes(
    min_value=datetime(1960, 1, 1),  # noqa: DTZ001 (hypothesis adds the zone)
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def metered(*readings: Began | Ended) -> Meter:
    meter = Meter()
    for reading in readings:
        meter = read(meter, reading)
    return meter


@given(st.lists(MOMENTS, min_size=2, max_size=8).map(sorted))
def test_parts_of_a_split_holding_add_up_to_the_whole(moments: list[datetime]) -> None:
    whole = Interval.between(moments[0], moments[-1])
    parts = [Interval.between(start, end) for start, end in pairwise(moments)]
    assert sum(part.length_ms for part in parts) == whole.length_ms


def test_a_millisecond_belongs_to_the_holding_that_contains_its_start() -> None:
    begin = datetime(2026, 8, 5, 9, 0, 0, 500, tzinfo=UTC)
    assert Interval.between(begin, begin + timedelta(microseconds=499)).length_ms == 0
    assert Interval.between(begin, begin + timedelta(microseconds=500)).length_ms == 1


def test_a_moment_before_1970_is_floored_and_not_truncated() -> None:
    assert instant_ms(datetime(1969, 12, 31, 23, 59, 59, 999_500, tzinfo=UTC)) == -1


def test_one_moment_in_two_zones_is_one_millisecond() -> None:
    local = datetime(2026, 3, 29, 3, 30, tzinfo=timezone(timedelta(hours=2)))
    assert instant_ms(local) == instant_ms(datetime(2026, 3, 29, 1, 30, tzinfo=UTC))


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(Invalid, match="no time zone"):
        instant_ms(datetime(2026, 1, 1))  # noqa: DTZ001 (that is the point)


def test_an_inverted_interval_is_refused() -> None:
    with pytest.raises(Invalid, match=r"cannot end .* before it starts"):
        Interval(2, 1)


@pytest.mark.parametrize("count", [0, -8])
def test_usage_of_no_gpu_is_refused(count: int) -> None:
    with pytest.raises(Invalid, match="at least one GPU"):
        gpu_us(Interval(0, 1), count)
    with pytest.raises(Invalid, match="at least one GPU"):
        metered(Began(at_ms=0, gpu_count=count, event_id="e"))


def test_a_holding_is_what_lies_between_its_two_facts() -> None:
    meter = metered(Began(at_ms=1_000, gpu_count=8, event_id="s"), Ended(at_ms=4_600_000, event_id="r", since_ms=1_000))
    assert meter.gpu_us == 8 * 4_599_000_000
    assert (meter.spans[0].start_event_id, meter.spans[0].end_event_id) == ("s", "r")


def test_what_never_began_costs_nothing() -> None:
    assert metered(Ended(at_ms=5, event_id="r", since_ms=None)) == Meter()


def test_a_holding_that_begins_inside_another_is_refused() -> None:
    with pytest.raises(Invalid, match="overlap"):
        metered(Began(at_ms=0, gpu_count=1, event_id="a"), Began(at_ms=5, gpu_count=1, event_id="b"))
    with pytest.raises(Invalid, match="overlap"):
        metered(
            Began(at_ms=0, gpu_count=1, event_id="a"),
            Ended(at_ms=10, event_id="b", since_ms=0),
            Began(at_ms=9, gpu_count=1, event_id="c"),
        )


def test_holdings_may_touch() -> None:
    meter = metered(
        Began(at_ms=0, gpu_count=1, event_id="a"),
        Ended(at_ms=10, event_id="b", since_ms=0),
        Began(at_ms=10, gpu_count=2, event_id="c"),
        Ended(at_ms=11, event_id="d", since_ms=10),
    )
    assert meter.gpu_us == 12_000


def test_a_release_before_the_start_is_refused() -> None:
    with pytest.raises(Invalid, match="before it starts"):
        metered(Began(at_ms=10, gpu_count=1, event_id="a"), Ended(at_ms=9, event_id="b", since_ms=10))


@pytest.mark.parametrize("since_ms", [11, None])
def test_a_release_that_states_another_start_is_refused(since_ms: int | None) -> None:
    with pytest.raises(Invalid, match="one of the two is wrong"):
        metered(Began(at_ms=10, gpu_count=1, event_id="a"), Ended(at_ms=20, event_id="b", since_ms=since_ms))


def test_a_release_of_a_holding_that_the_log_never_saw_begin_is_refused() -> None:
    with pytest.raises(Invalid, match="the log says never"):
        metered(Ended(at_ms=20, event_id="b", since_ms=11))


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_part_inside_and_the_parts_outside_make_the_whole(a: int, b: int, c: int, d: int) -> None:
    one, other = Interval(min(a, b), max(a, b)), Interval(min(c, d), max(c, d))
    inside = one.within(other)
    walked = sum(other.start_ms <= at < other.end_ms for at in range(one.start_ms, min(one.end_ms, one.start_ms + 50)))
    if one.length_ms <= 50:
        assert (inside.length_ms if inside else 0) == walked
    assert (inside is None) == (max(one.start_ms, other.start_ms) >= min(one.end_ms, other.end_ms))


def test_a_share_of_gpus_is_metered_in_whole_microseconds_and_is_some_of_it() -> None:
    assert gpu_us(Interval(0, 1), 2, 333) == 666
    for share in (0, 1_001):
        with pytest.raises(Invalid, match="thousandths"):
            gpu_us(Interval(0, 1), 1, share)
