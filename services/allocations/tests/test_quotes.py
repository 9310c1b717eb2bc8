"""Quoted starts: told from the log alone, told again only when that is news, and judged by the start itself."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from allocations_world import World, world
from gpuaas.allocations.domain.calendar import Calendar, Closure
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.forecast import FUTURES, Quote, Scene, forecast
from gpuaas.allocations.domain.kept import read, written
from gpuaas.allocations.domain.lab import Way
from gpuaas.allocations.domain.lengths import KIND_MIN, Kind, Lengths
from gpuaas.allocations.domain.pool import GrantClaim
from gpuaas.allocations.domain.preemption import Running
from gpuaas.allocations.domain.queue import Waiting
from gpuaas.allocations.domain.quote import QUOTE, QuoteStart, Told
from gpuaas.allocations.domain.shape import Shape
from gpuaas.allocations.domain.stretch import QUOTES_MIN, Stretch, Taught, learnt
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.clock import Pace
from gpuaas.common.testing.running import eventually, fresh_settings
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import StartQuoted
from small_fleet import RECEIPT, fleet, gpus, member, told

NOON = datetime(2026, 8, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOME = "/v1/tenants/acme/projects/research"


def waiting(name: str, shape: Shape, arrival: int = 1, **more: Any) -> Waiting:
    return Waiting(name, "acme", "research", shape, more.pop("priority", 0), arrival, lease_s=3_600, **more)


def held(pool: Pool, name: str, node_id: str, ends_by: datetime | None) -> Pool:
    """The pool after all eight GPUs of a machine went to an allocation."""
    members = (member(0, node_id, range(8)),)
    return told(pool, GrantClaim("main", name, "acme", "research", "h100", members, RECEIPT, NOON - HOUR, ends_by))


def quoted(
    pool: Pool, line: Sequence[Waiting], lengths: Lengths | None = None, now: datetime = NOON
) -> dict[str, Quote]:
    running = {name: Running(0, None, NOON - HOUR) for name in pool.book.claims}
    return forecast(Scene("main", read(written(pool)), line, running, lengths or Lengths([]), Way(), now))


def test_with_nothing_observed_every_lease_is_used_up() -> None:
    pool = held(fleet(1), "a", "n0", NOON + HOUR)
    first, second = waiting("b", gpus(8)), waiting("c", gpus(8), arrival=2)
    found = quoted(pool, [second, first])
    assert found["b"] == Quote(NOON + HOUR, NOON + HOUR, requests_ahead=0)
    assert found["c"] == Quote(NOON + 2 * HOUR, NOON + 2 * HOUR, requests_ahead=1)


def test_what_is_free_starts_now_and_what_has_no_end_is_not_foreseen() -> None:
    pool = held(fleet(2), "a", "n0", None)
    found = quoted(pool, [waiting("b", gpus(8)), waiting("c", gpus(8, 2), arrival=2)])
    assert (found["b"].p50_at, found["b"].p90_at) == (NOON, NOON)
    assert (found["c"].p50_at, found["c"].p90_at) == (None, None)


def test_work_that_really_ends_early_makes_the_quote_earlier_and_the_nine_tenths_later_than_the_half() -> None:
    pool = held(fleet(1), "a", "n0", NOON + 9 * HOUR)
    ran = [(Kind("acme", 8), HOUR + timedelta(minutes=10 * number)) for number in range(KIND_MIN)]
    found = quoted(pool, [waiting("b", gpus(8))], Lengths(ran))["b"]
    assert found.p50_at is not None
    assert found.p90_at is not None
    assert NOON < found.p50_at < found.p90_at < NOON + 4 * HOUR
    assert found == quoted(pool, [waiting("b", gpus(8))], Lengths(ran))["b"]


def test_a_closed_machine_is_no_place_until_it_opens() -> None:
    pool = fleet(1)
    closed = Closure("mw", (0,), NOON, NOON + 3 * HOUR, "burn-in", "after a repair")
    pool = Pool(events=pool.events, gpus=pool.gpus, calendar=Calendar(closures={"mw": closed}))
    assert quoted(pool, [waiting("b", gpus(8))])["b"].p90_at == NOON + 3 * HOUR


def test_who_asked_for_a_later_start_is_quoted_that_and_holds_nobody_up() -> None:
    later, other = waiting("b", gpus(8), start_at=NOON + 5 * HOUR), waiting("c", gpus(8), arrival=2)
    found = quoted(fleet(1), [later, other])
    assert (found["b"].p50_at, found["c"].p50_at) == (NOON + 5 * HOUR, NOON)


def test_what_still_runs_counts_as_longer_than_it_has_run() -> None:
    short = [(Kind("acme", 8), timedelta(minutes=10))] * KIND_MIN
    long = [(Kind("acme", 8), 5 * HOUR)] * KIND_MIN
    kind, none = Kind("acme", 8), timedelta(0)
    assert Lengths(short).draw(kind, none, 9 * HOUR, 0.9) == timedelta(minutes=10)
    assert Lengths(short, long).draw(kind, none, 9 * HOUR, 0.9) == 9 * HOUR
    assert Lengths(short, long).draw(kind, none, 9 * HOUR, 0.1) == timedelta(minutes=10)
    assert Lengths(short).draw(kind, HOUR, 9 * HOUR, 0.1) == 9 * HOUR
    assert Lengths([]).draw(kind, HOUR, None, 0.5) is None


def test_quotes_that_turned_out_late_make_the_next_ones_longer_and_what_still_waits_counts() -> None:
    over = [Taught(600, 1_200, 600 + 60 * number, started=True) for number in range(20)]
    assert learnt(over[: QUOTES_MIN - 1]) == Stretch(1_000, 1_000)
    taught = learnt(over)
    assert taught == Stretch(1_900, 1_400)
    overdue = learnt([*over, *[Taught(600, 1_200, 9_000, started=False)] * 20])
    assert overdue.p50_milli > taught.p50_milli
    bare = Quote(NOON + HOUR, NOON + 2 * HOUR, 3)
    assert taught.of(bare, NOON) == Quote(NOON + 1.9 * HOUR, NOON + 2.8 * HOUR, 3)
    assert taught.of(Quote(NOON, None, 0), NOON) == Quote(NOON, None, 0)


def said(p50_at: datetime | None, p90_at: datetime | None, at: datetime = NOON) -> StartQuoted:
    return StartQuoted(
        allocation_id="b",
        tenant_id="acme",
        project_id="research",
        pool_id="main",
        gpu_count=8,
        quoted_at=at,
        p50_at=p50_at,
        p90_at=p90_at,
        pool_version=1,
        requests_ahead=0,
        observed_runs=0,
        method=f"{FUTURES}",
    )


@pytest.mark.parametrize(
    ("before", "now", "is_news"),
    [
        (None, said(NOON, NOON), True),
        (said(NOON + HOUR, NOON + HOUR), said(NOON + HOUR + timedelta(minutes=11), NOON + HOUR), False),
        (said(NOON + HOUR, NOON + HOUR), said(NOON + HOUR, NOON + HOUR + timedelta(minutes=13)), True),
        (said(NOON, NOON), said(NOON + timedelta(seconds=59), NOON), False),
        (said(NOON, NOON), said(NOON + timedelta(seconds=61), NOON), True),
        (said(None, None), said(None, None), False),
        (said(None, None), said(NOON, None), True),
        (said(NOON, NOON), said(NOON + HOUR, NOON + HOUR, at=NOON - HOUR), False),
    ],
)
def test_a_quote_is_told_again_only_when_that_is_news(before: Told, now: StartQuoted, is_news: bool) -> None:
    assert QUOTE.decide(QuoteStart(now), before) == ([now] if is_news else [])


@pytest.fixture
async def here(stack: TestStack, tmp_path: Path) -> AsyncIterator[World]:
    pace = {"profile": "demo", "clock_pace": Pace(time.time(), NOON, 1).encode()}
    async with (
        fresh_settings(stack, AllocationsSettings, tmp_path / "state") as settings,
        world(settings.model_copy(update=pace)) as opened,
    ):
        yield opened


async def test_who_waits_is_quoted_everywhere_and_judged_when_it_starts(here: World) -> None:
    await here.machines(1)
    holder = await here.ask(command=["sleep", "infinity"], lease_s=7_200)
    await here.until("active", holder)
    body = {"pool_id": "main", "gpus_per_replica": 8, "lease_s": 600}
    me = await here.as_member("acme")
    dry = (await here.client.post(f"{HOME}/allocation-checks", json=body, headers=me)).json()
    ends = datetime.fromisoformat((await here.one(holder))["started_at"]) + timedelta(seconds=7_200)
    foreseen = datetime.fromisoformat(dry["quoted_start"]["p90_at"])
    assert ends <= foreseen <= ends + timedelta(minutes=10)
    waits = await here.ask(lease_s=600)

    async def quoted_start() -> bool:
        here.position = await here.service.log.last_position()
        return (await here.one(waits))["quoted_start"] is not None

    await eventually(quoted_start, 30)
    shown = (await here.one(waits))["quoted_start"]
    assert (shown["requests_ahead"], datetime.fromisoformat(shown["p50_at"]) >= ends) == (0, True)
    for path, who in ((f"{HOME}/queue", me), ("/v1/pools/main/queue", None)):
        assert (await here.get(path, who))["items"][0]["quoted_start"] == shown
    why = await here.get(f"{HOME}/allocations/{waits}/why", me)
    assert "expected to start by" in why["why"]
    before = await here.service.log.last_position()
    here.pace(2_000)
    await here.until("released", waits, within_s=60)
    (told_then,) = (await here.get(f"{HOME}/start-quotes", me))["items"]
    assert (told_then["allocation_id"], told_then["started_at"] is not None) == (waits, True)
    assert (await here.get(f"{HOME}/start-quotes", me, as_of=before))["items"][0]["started_at"] is None
    for path, who in ((f"{HOME}/quote-accuracy", me), ("/v1/pools/main/quote-accuracy", None)):
        (judged,) = (await here.get(path, who, by="tenant", limit=1))["items"]
        assert (judged["tenant_id"], judged["started"], judged["covered_p90"] in (0.0, 1.0)) == ("acme", 1, True)
        assert (await here.get(path, who, as_of=before))["items"] == []
    theirs = await here.get("/v1/tenants/kyoto/projects/research/start-quotes", await here.as_member("kyoto"), limit=1)
    assert theirs["items"] == []
    await here.get("/v1/pools/main/quote-accuracy", status=422, by="colour")
