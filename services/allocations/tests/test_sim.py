"""The simulated runtime keeps the contract, and its times are exact."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from gpuaas.allocations.adapters.sim import SimRuntime, nature_of
from gpuaas.allocations.ports import Ended, Run
from gpuaas.common.clock import FixedClock, Pace, PacedClock
from runtime_contract import MEMBERS, RuntimeContract, Wait

NOON = datetime(2026, 8, 5, 12, tzinfo=UTC)


def sleeper(name: str, seconds: str = "60") -> Run:
    return Run(name, "sim", ("sleep", seconds), MEMBERS)


class TestSim(RuntimeContract):
    @pytest.fixture
    def clock(self) -> FixedClock:
        return FixedClock(NOON)

    @pytest.fixture
    def wait(self, clock: FixedClock) -> Wait:
        async def passing(seconds: float) -> None:
            clock.advance(timedelta(seconds=seconds))

        return passing

    @pytest.fixture
    def runtime(self, clock: FixedClock) -> SimRuntime:
        return SimRuntime(clock)

    @pytest.fixture
    def short(self) -> Callable[[str], Run]:
        return sleeper

    @pytest.fixture
    def endless(self) -> Callable[[str], Run]:
        return lambda name: sleeper(name, "infinity")


@pytest.mark.parametrize(
    ("command", "length", "code"),
    [
        (("sleep", "66.0"), timedelta(seconds=66), 0),
        (("sleep", "0.000001"), timedelta(microseconds=1), 0),
        (("sleep", "0"), timedelta(0), 0),
        (("sleep", "infinity"), None, 0),
        ((), None, 0),
        (("sleep",), timedelta(0), 1),
        (("sleep", "-1"), timedelta(0), 1),
        (("sleep", "soon"), timedelta(0), 1),
        (("sleep", "NaN"), timedelta(0), 1),
        (("sleep", "1e99"), timedelta(0), 1),
        (("sleep", "1", "2"), timedelta(0), 1),
        (("train",), timedelta(0), 127),
    ],
)
def test_a_command_runs_as_long_as_it_says(command: tuple[str, ...], length: timedelta | None, code: int) -> None:
    nature = nature_of(command)
    assert (nature.length, nature.exit_code) == (length, code)


async def test_the_end_is_exact_however_late_it_is_noticed() -> None:
    clock = FixedClock(NOON)
    runtime = SimRuntime(clock)
    runtime.watch(sleeper("a", "66.5"), NOON)
    clock.advance(timedelta(days=3))
    (end,) = await runtime.ended(1)
    assert end.ended_at == NOON + timedelta(seconds=66.5)


async def test_thousands_of_runs_on_a_world_a_hundred_thousand_times_as_fast() -> None:
    clock = PacedClock(Pace(time.time(), NOON, 100_000))
    runtime = SimRuntime(clock)
    starts = {f"a{i}": clock.now() for i in range(5_000)}
    for number, (name, started_at) in enumerate(starts.items()):
        runtime.watch(sleeper(name, str(1 + number * 2)), started_at)
    seen: list[Ended] = []
    async with asyncio.timeout(60):
        while len(seen) < 5_000:
            seen += await runtime.ended(1)
    assert [end.ended_at for end in seen] == sorted(end.ended_at for end in seen)
    assert all(
        end.ended_at - starts[end.allocation_id] == timedelta(seconds=1 + int(end.allocation_id[1:]) * 2)
        for end in seen
    )


async def test_a_shorter_run_that_comes_later_wakes_the_watch() -> None:
    clock = PacedClock(Pace(time.time(), NOON, 1_000))
    runtime = SimRuntime(clock)
    runtime.watch(sleeper("long", "100000"), clock.now())
    waiting = asyncio.create_task(runtime.ended(5))
    await asyncio.sleep(0.01)
    runtime.watch(sleeper("short", "1"), clock.now())
    (end,) = await waiting
    assert end.allocation_id == "short"
