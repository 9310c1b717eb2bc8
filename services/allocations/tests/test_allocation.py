"""What an allocation answers to each command, state by state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gpuaas.allocations.domain.allocation import ALLOCATION, Active, Placed, Released, Releasing
from gpuaas.allocations.domain.orders import (
    AllocationCommand,
    EndAllocation,
    PlaceAllocation,
    PreemptAllocation,
    QueueAllocation,
    RejectAllocation,
    ReleaseAllocation,
    RequestAllocation,
    StartAllocation,
)
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.allocations import (
    AllocationPlaced,
    AllocationQueued,
    AllocationReleased,
    AllocationReleaseRequested,
    AllocationRequested,
    AllocationStarted,
)
from small_fleet import gpus, member

NOON = datetime(2026, 8, 5, 12, tzinfo=UTC)
ASK = RequestAllocation(
    allocation_id="a1",
    tenant_id="acme",
    project_id="research",
    pool_id="main",
    shape=gpus(2, 2),
    priority=10,
    lease_s=3_600,
    image="sim",
    command=("sleep", "60"),
    labels={"team": "x"},
)
QUEUE = QueueAllocation("insufficient-capacity", "none free")
PLACE = PlaceAllocation("main", "h100", (member(0, "n0", [0, 1]), member(1, "n1", [0, 1])))
START = StartAllocation(NOON)
PREEMPT = PreemptAllocation("quota-reclaimed", 120_000)
RELEASE = ReleaseAllocation("tenant-request", NOON + timedelta(seconds=30))
END = EndAllocation(NOON + timedelta(seconds=60), "exited", 0)


def after(*commands: AllocationCommand) -> Any:
    state = ALLOCATION.initial
    for command in commands:
        state = ALLOCATION.fold(ALLOCATION.decide(command, state), state)
    return state


def said(before: Sequence[AllocationCommand], command: AllocationCommand) -> Event:
    (event,) = ALLOCATION.decide(command, after(*before))
    return event


def test_a_whole_life() -> None:
    story: list[AllocationCommand] = [ASK, QUEUE, PLACE, START, RELEASE, END]
    words = [type(said(story[:i], command)) for i, command in enumerate(story)]
    assert words == [
        AllocationRequested,
        AllocationQueued,
        AllocationPlaced,
        AllocationStarted,
        AllocationReleaseRequested,
        AllocationReleased,
    ]


def test_what_is_free_at_once_is_placed_without_being_queued() -> None:
    assert isinstance(after(ASK, PLACE), Placed)


def test_what_ended_says_from_when_to_when_and_how_many_gpus() -> None:
    end = said([ASK, PLACE, START], END)
    assert isinstance(end, AllocationReleased)
    assert (end.started_at, end.ended_at, end.gpu_count, end.end_reason, end.exit_code) == (
        NOON,
        NOON + timedelta(seconds=60),
        4,
        "completed",
        0,
    )


@pytest.mark.parametrize(
    ("end", "asked", "reason"),
    [
        (END, False, "completed"),
        (replace(END, exit_code=1), False, "failed"),
        (END, True, "completed"),
        (replace(END, how="stopped", exit_code=143), True, "tenant-request"),
        (replace(END, how="lost", exit_code=None), True, "tenant-request"),
        (replace(END, how="lost", exit_code=None), False, "runtime-lost"),
    ],
)
def test_the_end_has_a_reason(end: EndAllocation, asked: bool, reason: str) -> None:
    event = said([ASK, PLACE, START, *([RELEASE] if asked else [])], end)
    assert isinstance(event, AllocationReleased)
    assert event.end_reason == reason


def test_a_stop_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(Rejected, match="nobody asked"):
        ALLOCATION.decide(replace(END, how="stopped"), after(ASK, PLACE, START))


def test_nothing_ends_before_it_starts() -> None:
    with pytest.raises(Invalid, match="before it started"):
        ALLOCATION.decide(replace(END, ended_at=NOON - timedelta(seconds=1)), after(ASK, PLACE, START))


@pytest.mark.parametrize("waiting", [[ASK], [ASK, QUEUE]])
def test_calling_off_what_waits_ends_it_as_cancelled(waiting: list[AllocationCommand]) -> None:
    end = said(waiting, RELEASE)
    assert isinstance(end, AllocationReleased)
    assert (end.end_reason, end.gpu_count, end.started_at, end.ended_at) == ("cancelled", 0, None, RELEASE.at)


def test_a_cancelled_request_for_any_model_names_none() -> None:
    end = said([replace(ASK, shape=replace(ASK.shape, gpu_model=None))], RELEASE)
    assert isinstance(end, AllocationReleased)
    assert end.gpu_model == "any"


def test_what_was_placed_and_never_started_costs_nothing() -> None:
    end = said([ASK, PLACE, RELEASE], replace(END, how="stopped", exit_code=None))
    assert isinstance(end, AllocationReleased)
    assert (end.started_at, end.gpu_count, end.end_reason) == (None, 4, "tenant-request")


@pytest.mark.parametrize(
    ("before", "again"),
    [
        ([ASK], ASK),
        ([ASK, QUEUE], QUEUE),
        ([ASK, QUEUE], ASK),
        ([ASK, PLACE], PLACE),
        ([ASK, PLACE, START], PLACE),
        ([ASK, PLACE, START], replace(START, started_at=NOON + timedelta(seconds=5))),
        ([ASK, PLACE, START, RELEASE], RELEASE),
        ([ASK, PLACE, START, RELEASE, END], END),
        ([ASK, PLACE, START, END], replace(END, how="stopped")),
        ([ASK, RejectAllocation("unknown-pool", "")], RejectAllocation("unknown-pool", "")),
    ],
)
def test_an_order_that_was_followed_says_nothing_again(
    before: list[AllocationCommand], again: AllocationCommand
) -> None:
    assert ALLOCATION.decide(again, after(*before)) == []


def test_another_pending_reason_is_said() -> None:
    event = said([ASK, QUEUE], replace(QUEUE, reason="topology-unsatisfied"))
    assert isinstance(event, AllocationQueued)


@pytest.mark.parametrize(
    ("before", "command", "why"),
    [
        ([], PLACE, "no such allocation"),
        ([], RELEASE, "no such allocation"),
        ([ASK], replace(ASK, lease_s=7), "requested again"),
        ([ASK], START, "is requested: it cannot be started"),
        ([ASK], END, "it cannot be ended"),
        ([ASK, PLACE], QUEUE, "is placed: it cannot be queued"),
        ([ASK, PLACE], replace(PLACE, members=PLACE.members[:1]), "is placed"),
        ([ASK, PLACE, START, RELEASE], START, "is releasing"),
        ([ASK, PLACE, START, END], RELEASE, "has ended"),
        ([ASK, RELEASE], PLACE, r"has ended \(cancelled\): it cannot be placed"),
        ([ASK, RejectAllocation("unknown-pool", "")], RELEASE, "is rejected"),
        ([ASK, RejectAllocation("unknown-pool", "")], PLACE, "is rejected"),
        ([ASK, PLACE, START], RejectAllocation("unknown-pool", ""), "is active"),
    ],
)
def test_what_does_not_fit_the_state_is_refused_in_a_sentence(
    before: list[AllocationCommand], command: AllocationCommand, why: str
) -> None:
    with pytest.raises(Rejected, match=why):
        ALLOCATION.decide(command, after(*before))


@pytest.mark.parametrize(
    "ask",
    [
        replace(ASK, shape=gpus(-1)),
        replace(ASK, shape=gpus(1, 0)),
        replace(ASK, lease_s=0),
        replace(ASK, lease_s=-60),
        replace(ASK, lease_s=10**12),
        replace(ASK, priority=-1),
        replace(ASK, priority=1_001),
        replace(ASK, pool_id="Not A Pool"),
        replace(ASK, image=""),
        replace(ASK, command=("x",) * 65),
        replace(ASK, labels={"": "x"}),
        replace(ASK, labels={f"l{i}": "" for i in range(33)}),
    ],
)
def test_an_absurd_request_is_refused(ask: RequestAllocation) -> None:
    with pytest.raises(Invalid):
        ALLOCATION.decide(ask, ALLOCATION.initial)


def test_states_know_what_the_next_step_needs() -> None:
    active = after(ASK, PLACE, START)
    assert isinstance(active, Active)
    releasing = after(ASK, PLACE, START, RELEASE)
    assert isinstance(releasing, Releasing)
    assert (releasing.started_at, releasing.reason) == (NOON, "tenant-request")
    assert isinstance(after(ASK, PLACE, START, END), Released)


def test_of_a_release_and_a_preemption_at_once_the_first_names_the_end() -> None:
    stopped = replace(END, how="stopped", exit_code=143)
    for orders, expected in (
        ((PREEMPT, RELEASE), ("operator", "quota-reclaimed")),
        ((RELEASE, PREEMPT), ("tenant-request", None)),
    ):
        end = said([ASK, PLACE, START, *orders], stopped)
        assert isinstance(end, AllocationReleased)
        assert (end.end_reason, end.because) == expected
    by_itself = said([ASK, PLACE, START, PREEMPT], END)
    assert isinstance(by_itself, AllocationReleased)
    assert (by_itself.end_reason, by_itself.because) == ("completed", None)
    for story in ([ASK], [ASK, PLACE, START, END]):
        with pytest.raises(Rejected):
            ALLOCATION.decide(PREEMPT, after(*story))
