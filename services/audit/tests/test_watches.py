"""How much is compared, and when: every position has its turn, within the time that was promised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gpuaas.audit.domain.watches import WINDOW_MAX, Watch, compared, seen, window
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_a_log_kept_as_before_is_not_suspect_and_another_is() -> None:
    first = seen(Watch(), "a", 500)
    assert not first.sweeping
    assert seen(first, "a", 600) == first
    suspect = seen(compared(first, 100, 500, NOON), "b", 600)
    assert (suspect.sweeping, suspect.cursor, suspect.sweep_to) == (True, 0, 600)


def test_an_empty_log_is_never_suspect() -> None:
    assert not seen(seen(Watch(), "a", 0), "b", 0).sweeping


def test_what_was_compared_since_is_told_from_when_the_pass_began() -> None:
    watch = compared(Watch("a"), 100, 250, NOON)
    watch = compared(watch, 200, 260, NOON + timedelta(seconds=10))
    assert (watch.cursor, watch.whole_since) == (200, None)
    watch = compared(watch, 260, 260, NOON + timedelta(seconds=20))
    assert (watch.cursor, watch.whole_since) == (0, NOON)


@given(
    end=st.integers(1, 10**8),
    least=st.integers(1, 5_000),
    pause_s=st.floats(0.5, 30),
    pass_s=st.floats(60, 10**6),
)
def test_a_pass_is_over_in_time_or_the_window_is_at_its_limit(
    end: int, least: int, pause_s: float, pass_s: float
) -> None:
    count = window(end, pause_s, least, pass_s)
    assert count >= least
    assert count >= WINDOW_MAX or end / count * pause_s <= pass_s * 1.000_001


@given(end=st.integers(1, 3_000), steps=st.lists(st.integers(1, 500), min_size=1, max_size=80), grows=st.integers(0, 9))
def test_every_position_is_compared_between_two_ends_of_a_pass(end: int, steps: list[int], grows: int) -> None:
    watch, done = Watch("a"), set[int]()
    for step in steps:
        upto = min(watch.cursor + step, end)
        done |= set(range(watch.cursor + 1, upto + 1))
        before, watch = watch, compared(watch, upto, end, NOON)
        if watch.whole_since is not None and before.whole_since is None:
            assert done == set(range(1, end + 1))
        end += grows
