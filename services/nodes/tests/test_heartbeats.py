"""When a node counts as lost and as heard again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from gpuaas.nodes.domain.heartbeats import WATCHED_MAX, HeartbeatWatch, Lost, Patience, Receipt, Restored
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
PATIENCE = Patience(silence_s=30, grace_s=60, beat_min_s=0.5)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def watching(**nodes: bool) -> HeartbeatWatch:
    watch = HeartbeatWatch(PATIENCE, started_s=0.0)
    watch.watch(nodes, 0.0, at(0))
    return watch


def test_a_node_that_beats_is_never_lost() -> None:
    watch = watching(a=False)
    for second in range(0, 600, 10):
        assert watch.beat("a", second, at(second)) is Receipt.COUNTED
        assert watch.verdicts(second + 9) == []


def test_silence_past_the_threshold_is_a_loss_with_the_time_it_was_last_heard() -> None:
    watch = watching(a=False)
    watch.beat("a", 90, at(90))
    assert watch.verdicts(119) == []
    assert watch.verdicts(120) == [Lost("a", at(90))]


def test_nothing_is_lost_in_the_grace_after_a_restart() -> None:
    watch = watching(a=False)
    assert watch.verdicts(59) == []
    assert watch.verdicts(60) == [Lost("a", at(0))]


def test_a_node_that_joins_later_gets_its_own_grace() -> None:
    watch = watching()
    watch.watch({"b": False}, 1000, at(1000))
    assert watch.verdicts(1059) == []
    assert watch.verdicts(1060) == [Lost("b", at(1000))]


def test_a_verdict_is_repeated_until_the_log_has_it() -> None:
    watch = watching(a=False)
    assert watch.verdicts(61) == watch.verdicts(62) == [Lost("a", at(0))]
    watch.watch({"a": True}, 63, at(63))
    assert watch.verdicts(64) == []


def test_a_lost_node_is_restored_by_a_beat() -> None:
    watch = watching(a=True)
    assert watch.verdicts(70) == []
    watch.beat("a", 71, at(71))
    assert watch.verdicts(72) == [Restored("a", at(71))]


def test_a_stale_beat_restores_nothing() -> None:
    watch = watching(a=True)
    watch.beat("a", 1, at(1))
    assert watch.verdicts(40) == []


def test_a_flood_costs_no_memory_and_counts_once() -> None:
    watch = watching(a=False)
    receipts = [watch.beat("a", 1 + n / 10_000, at(1)) for n in range(1_000)]
    assert receipts.count(Receipt.COUNTED) == 1
    assert receipts.count(Receipt.TOO_SOON) == 999


def test_beats_of_nodes_that_are_not_watched_leave_nothing_behind() -> None:
    watch = watching(a=False)
    assert {watch.beat(f"ghost-{n}", 1, at(1)) for n in range(1_000)} == {Receipt.NOT_WATCHED}
    assert [v.node_id for v in watch.verdicts(1e6)] == ["a"]


def test_a_retired_node_is_forgotten() -> None:
    watch = watching(a=False)
    watch.watch({}, 10, at(10))
    assert watch.beat("a", 11, at(11)) is Receipt.NOT_WATCHED
    assert watch.verdicts(1e6) == []


def test_a_beat_received_out_of_order_is_old() -> None:
    watch = watching(a=False)
    watch.beat("a", 20, at(20))
    assert watch.beat("a", 10, at(10)) is Receipt.OLD


def test_a_watch_has_a_limit() -> None:
    with pytest.raises(ValueError, match="one watch carries"):
        watching().watch({f"n-{n}": False for n in range(WATCHED_MAX + 1)}, 0, NOON)


@pytest.mark.parametrize("silence_s", [0, -1, 0.5])
def test_senseless_patience_is_refused(silence_s: float) -> None:
    with pytest.raises(ValueError):
        Patience(silence_s=silence_s, grace_s=0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1e4)), max_size=60), st.floats(0, 2e4))
def test_lost_means_silent_and_restored_means_heard(beats: list[tuple[str, float]], now_s: float) -> None:
    watch = watching(a=False, b=True, c=False)
    heard = {"a": 0.0, "b": -1e9, "c": 0.0}
    in_time = sorted(beats, key=lambda beat: beat[1])
    heard |= {n: s for n, s in in_time if watch.beat(n, s, at(s)) is Receipt.COUNTED}
    now_s = max([now_s, *heard.values()])
    for verdict in watch.verdicts(now_s):
        silence_s = now_s - heard[verdict.node_id]
        assert (silence_s >= PATIENCE.silence_s) is isinstance(verdict, Lost)
        assert isinstance(verdict, Lost) is (verdict.node_id != "b")
