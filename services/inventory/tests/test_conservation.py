"""Where GPU time goes: it adds up to the millisecond, in whatever order the services' histories arrive."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from gpuaas.common.clock import rfc3339
from gpuaas.common.envelope import Envelope, Fact, data_of
from gpuaas.common.errors import Invalid
from gpuaas.common.events import Event
from gpuaas.contracts.allocations import (
    AllocationReleased,
    AllocationStarted,
    BookedWindow,
    ClaimGranted,
    ClaimReturned,
    Member,
    PoolTimeBooked,
    PoolTimeFreed,
    Receipt,
)
from gpuaas.contracts.inventory import MachineAccepted, MachineMismatched, MachineRemoved, Mismatch
from gpuaas.contracts.nodes import (
    NodeHeartbeatLost,
    NodeHeartbeatRestored,
    NodeHoldLifted,
    NodeHoldPlaced,
    NodeSanitizingStarted,
)
from gpuaas.inventory.domain.conservation import WHOLE, GpuTime, Kind, Span, Window, instant_ms, reckon, standing
from gpuaas.inventory.projections.gpu_time import _lives
from gpuaas.inventory.projections.gpu_time_books import GpuTimeBooks
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_facts import NOON, available, device, found

KINDS: tuple[Kind, ...] = ("present", "sale", "claim", "down", "hold")
DAY = Window(0, 40)
SPANS = st.lists(
    st.builds(
        lambda kind, since, length, share, of: Span(
            kind, since, None if length is None else since + length, share if kind in ("sale", "claim") else WHOLE, of
        ),
        st.sampled_from(KINDS),
        st.integers(-5, 40),
        st.one_of(st.none(), st.integers(0, 20)),
        st.sampled_from((100, 250, 500, 1000)),
        st.sampled_from(("a", "b", "c")),
    ),
    max_size=8,
)


def by_hand(spans: Sequence[Span], window: Window) -> dict[str, int]:
    """Millisecond by millisecond, written without looking at the other one."""
    sums = dict.fromkeys(("elapsed", "sold", "idle", "reserved", "held", "down", "outside"), 0)
    for now in range(window.since_ms, window.until_ms):
        here = [s for s in spans if s.since_ms <= now and (s.until_ms is None or now < s.until_ms)]
        sales = [s for s in here if s.kind == "sale"]
        present = any(s.kind == "present" for s in here)
        sums["sold"] += sum(s.share_milli for s in sales)
        if not present and not sales:
            continue
        sums["elapsed"] += 1000
        sold = min(1000, sum(s.share_milli for s in sales))
        left = 1000 - sold
        if not present:
            sums["outside"] += sold
        for bucket in ("down", "reserved", "held", "idle"):
            running = {s.of for s in sales}
            most = {
                "down": left if any(s.kind == "down" for s in here) else 0,
                "reserved": sum(s.share_milli for s in here if s.kind == "claim" and s.of not in running),
                "held": left if any(s.kind == "hold" for s in here) else 0,
                "idle": left,
            }[bucket]
            sums[bucket] += min(left, most)
            left -= min(left, most)
    return sums


@given(SPANS)
def test_the_sweep_and_counting_by_hand_agree(spans: list[Span]) -> None:
    time = reckon(spans, DAY)
    assert {name: getattr(time, f"{name}_us") for name in by_hand(spans, DAY)} == by_hand(spans, DAY)


@given(SPANS, st.integers(0, 40), st.randoms(use_true_random=False))
def test_windows_add_up_and_order_does_not_matter(spans: list[Span], cut: int, dice: random.Random) -> None:
    mixed = list(spans)
    dice.shuffle(mixed)
    assert reckon(mixed, Window(0, cut)) + reckon(spans, Window(cut, 40)) == reckon(spans, DAY)


@given(SPANS)
def test_it_adds_up_unless_more_is_sold_than_there_is(spans: list[Span]) -> None:
    time = reckon(spans, DAY)
    oversold = [
        sum(s.share_milli for s in spans if s.kind == "sale" and s.since_ms <= now < (s.until_ms or 10**9)) - 1000
        for now in range(40)
    ]
    assert -time.difference_us == sum(max(0, more) for more in oversold)


def test_a_gpu_sold_twice_is_shown_and_not_hidden() -> None:
    twice = [Span("present", 0, None), Span("sale", 0, 10, of="a"), Span("sale", 5, 10, of="b")]
    assert reckon(twice, Window(0, 10)).difference_us == -5 * WHOLE


def test_a_moment_is_read_in_thousandths() -> None:
    spans = [Span("present", 0, None), Span("sale", 0, None, 250, "a"), Span("claim", 0, None, 500, "b")]
    assert standing(spans, 7) == GpuTime(elapsed_us=1000, sold_us=250, reserved_us=500, idle_us=250)


def test_a_window_runs_forward() -> None:
    with pytest.raises(Invalid):
        Window(2, 1)


# -- whole histories ------------------------------------------------------------------------------------------------

MACHINES = ("m-0", "m-1")
Told = tuple[str, Event, datetime]


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute, microseconds=137 * minute)


def fact(position: int, subject: str, event: Event, time: datetime) -> Fact:
    envelope = Envelope(
        specversion="1.0",
        id=f"e-{position}",
        source="gpuaas/testing",
        type=event.TYPE,
        subject="thing/platform/x",
        time=rfc3339(time),
        datacontenttype="application/json",
        dataschema=event.SCHEMA,
        tenantid="platform",
        actor="tester",
        actorkind="service",
        causationid="c",
        correlationid="c",
        sequence="0000000001",
        profile="dev",
        data=data_of(event),
    )
    return Fact(position, subject, envelope, event)


def machine_history(name: str, minutes: Sequence[int]) -> list[Told]:
    """Accepted, one GPU swapped, mismatched, accepted, removed: as many of these as there are minutes."""
    machine = found(name)
    said = {"machine_id": name, "machine_serial": "S", "pool_id": machine.pool_id, "gpu_model": machine.gpu_model}
    accepted = MachineAccepted(**said, devices=machine.devices[:2], topology=machine.topology)
    swapped = accepted.model_copy(update={"devices": (device(0, f"NEW-{name}"), machine.devices[1])})
    wrong = MachineMismatched(machine_id=name, mismatches=(Mismatch(field="f", expected="e", observed="o"),))
    events: list[Event] = [accepted, swapped, wrong, swapped, MachineRemoved(machine_id=name, reason="end")]
    subject = f"events.inventory.machine.platform.{name}"
    return [(subject, event, at(minute)) for event, minute in zip(events, minutes, strict=False)]


def node_history(name: str, minutes: Sequence[int]) -> list[Told]:
    events: list[Event] = [
        NodeHoldPlaced(node_id=name, hold_id="h", owner="o", cause="c"),
        NodeHeartbeatLost(node_id=name, last_seen_at=NOON),
        NodeHoldLifted(node_id=name, hold_id="h", reason="r"),
        NodeHeartbeatRestored(node_id=name, seen_at=NOON),
        NodeHoldPlaced(node_id=name, hold_id="h", owner="o", cause="c"),
    ]
    subject = f"events.nodes.node.platform.{name}"
    return [(subject, event, at(minute)) for event, minute in zip(events, minutes, strict=False)]


RECEIPT = Receipt(pool_version=1, policy="p", nodes_considered=1, exclusions=(), score="1")


def allocation_histories(name: str, on: str, slot: int, minutes: Sequence[int]) -> tuple[list[Told], list[Told]]:
    """The pool's claim and the allocation's life, each in order, neither waiting for the other."""
    granted, started, ended, returned = minutes
    member = Member(member=0, node_id=on, device_ids=(found(on).devices[slot].device_id,))
    who = {"allocation_id": name, "tenant_id": "acme", "project_id": "ml", "pool_id": "p", "gpu_model": "g"}
    pool = f"events.allocations.pool.platform.{name}"
    own = f"events.allocations.allocation.acme.{name}"
    claim = ClaimGranted(**who, members=(member,), receipt=RECEIPT)
    back = ClaimReturned(pool_id="p", allocation_id=name, reason="r")
    began: dict[str, Any] = {**who, "gpu_count": 1, "started_at": at(started)}
    start = AllocationStarted(**began, members=(member,))
    stop = AllocationReleased(**began, ended_at=at(ended), end_reason="completed")
    return (
        [(pool, claim, at(granted)), (pool, back, at(returned))],
        [(own, start, at(started + 1)), (own, stop, at(ended + 1))],
    )


@st.composite
def histories(draw: st.DrawFn) -> list[list[Told]]:
    """Several services' histories: each in order of itself, with moments that overlap anyhow."""

    def minutes(count: int) -> list[int]:
        return sorted(draw(st.lists(st.integers(0, 600), min_size=count, max_size=count)))

    told = [machine_history(name, minutes(draw(st.integers(1, 5)))) for name in MACHINES]
    told += [node_history(name, minutes(draw(st.integers(0, 5)))) for name in MACHINES]
    for machine in MACHINES:
        for slot in (0, 1):
            moments = minutes(4 * draw(st.integers(0, 2)))
            for start in range(0, len(moments), 4):
                name = f"a-{machine}-{slot}-{start}"
                told += allocation_histories(name, machine, slot, moments[start : start + 4])
    return told


def interleaved(told: Sequence[Sequence[Told]], dice: random.Random) -> list[Fact]:
    """One log out of histories: each keeps its own order, and any order between them may be."""
    waiting = [list(history) for history in told if history]
    facts: list[Fact] = []
    while waiting:
        history = dice.choice(waiting)
        facts.append(fact(len(facts) + 1, *history.pop(0)))
        waiting = [each for each in waiting if each]
    return facts


def _may_change(row: dict[str, Any]) -> bool:
    return row["until_ms"] is None or row.get("kind") == "booking"


def folded(facts: Iterable[Fact], dice: random.Random) -> GpuTimeBooks:
    """In batches of any size, as the projection does: open spans are handed from one batch to the next."""
    rows: list[dict[tuple[Any, ...], dict[str, Any]]] = [{}, {}, {}]
    keys = [
        ("device_id", "since_position"),
        ("machine_id", "kind", "name", "since_position"),
        ("kind", "allocation_id", "device_id", "since_position"),
    ]
    waiting = list(facts)
    while waiting:
        size = dice.randint(1, 9)
        batch, waiting = waiting[:size], waiting[size:]
        still = [[dict(row) for row in table.values() if _may_change(row)] for table in rows]
        books = GpuTimeBooks(*still)
        for each in batch:
            books.apply(each)
        for table, key, changed in zip(rows, keys, (books.presences, books.closures, books.uses), strict=True):
            table.update({tuple(row[name] for name in key): row for row in changed})
    whole = GpuTimeBooks()
    whole.presences, whole.closures, whole.uses = ([*table.values()] for table in rows)
    return whole


def times(books: GpuTimeBooks, window: Window) -> dict[str, GpuTime]:
    lives = _lives(books.presences, books.uses, books.closures)  # type: ignore[arg-type]
    return {life.device_id: life.time(window) for life in lives}


def test_a_machine_that_is_wiped_is_down_until_it_is_available_again() -> None:
    accepted = machine_history("m-0", [0])
    node = "events.nodes.node.platform.m-0"
    wiped = NodeSanitizingStarted(node_id="m-0", after_allocation_id="a-1")
    steps = [*accepted, (node, wiped, at(10)), (node, available(found("m-0")), at(25))]
    books = folded([fact(number, *step) for number, step in enumerate(steps, 1)], random.Random(1))
    window = Window(instant_ms(at(0)), instant_ms(at(60)))
    assert {gpu.down_us for gpu in times(books, window).values()} == {(instant_ms(at(25)) - instant_ms(at(10))) * WHOLE}


def between_us(since: int, until: int) -> int:
    """All of one GPU between two minutes."""
    return (instant_ms(at(until)) - instant_ms(at(since))) * WHOLE


def booked(start: int, end: int, *slots: int) -> PoolTimeBooked:
    devices = tuple(found("m-0").devices[slot].device_id for slot in slots)
    members = (Member(member=0, node_id="m-0", device_ids=devices),)
    window = BookedWindow(window=0, starts_at=at(start), ends_at=at(end), members=members)
    said = {"pool_id": "p", "reservation_id": "r-1", "tenant_id": "acme", "project_id": "ml", "gpu_model": "g"}
    return PoolTimeBooked(**said, replicas=1, gpus_per_replica=1, windows=(window,), detail="made")


@pytest.mark.parametrize(
    ("steps", "reserved"),
    [
        ([(5, booked(10, 40, 0))], {0: (10, 40), 1: (0, 0)}),
        ([(5, booked(10, 40, 0)), (20, booked(10, 40, 1))], {0: (10, 20), 1: (20, 40)}),
        ([(5, booked(10, 40, 0)), (7, booked(10, 40, 1))], {0: (0, 0), 1: (10, 40)}),
        (
            [(5, booked(10, 40, 0)), (25, PoolTimeFreed(pool_id="p", reservation_id="r-1", reason="given up"))],
            {0: (10, 25)},
        ),
        ([(5, booked(10, 40, 0)), (6, PoolTimeFreed(pool_id="p", reservation_id="r-1", reason="no"))], {0: (0, 0)}),
        (
            [(5, booked(10, 40, 0)), (50, PoolTimeFreed(pool_id="p", reservation_id="r-1", reason="over"))],
            {0: (10, 40)},
        ),
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_kept_for_a_reservation_and_not_used_is_reserved(
    steps: list[tuple[int, Event]], reserved: dict[int, tuple[int, int]], seed: int
) -> None:
    pool = "events.allocations.pool.platform.p"
    told = [*machine_history("m-0", [0]), *((pool, event, at(minute)) for minute, event in steps)]
    books = folded([fact(number, *step) for number, step in enumerate(told, 1)], random.Random(seed))
    spent = times(books, Window(instant_ms(at(0)), instant_ms(at(60))))
    for slot, (since, until) in reserved.items():
        gpu = spent[found("m-0").devices[slot].device_id]
        assert (gpu.reserved_us, gpu.difference_us) == (between_us(since, until), 0)


def test_what_runs_in_a_reservation_is_sold_and_only_the_rest_of_its_window_is_reserved() -> None:
    pool, own = allocation_histories("a-1", "m-0", 0, (10, 12, 30, 31))
    kept = ("events.allocations.pool.platform.p", booked(10, 40, 0), at(5))
    told = [*machine_history("m-0", [0]), kept, *pool, *own]
    books = folded([fact(number, *step) for number, step in enumerate(told, 1)], random.Random(1))
    gpu = times(books, Window(instant_ms(at(0)), instant_ms(at(60))))[found("m-0").devices[0].device_id]
    assert (gpu.sold_us, gpu.reserved_us) == (between_us(12, 30), between_us(10, 12) + between_us(30, 40))
    assert (gpu.elapsed_us, gpu.difference_us) == (between_us(0, 60), 0)


@settings(max_examples=150, deadline=None)
@given(histories(), st.integers(0, 2**32))
def test_late_and_reordered_causes_come_to_the_same_and_every_gpu_adds_up(told: list[list[Told]], seed: int) -> None:
    window = Window(instant_ms(NOON), instant_ms(NOON + timedelta(hours=12)))
    dice = random.Random(seed)
    one, other = (times(folded(interleaved(told, dice), dice), window) for _ in range(2))
    assert one == other
    assert all(gpu.difference_us == 0 for gpu in one.values())
    sold_ms = sum(
        instant_ms(event.ended_at) - instant_ms(event.started_at)
        for history in told
        for _, event, _ in history
        if isinstance(event, AllocationReleased) and event.started_at is not None
    )
    assert sum(gpu.sold_us for gpu in one.values()) == sold_ms * WHOLE
