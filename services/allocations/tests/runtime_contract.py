"""What every runtime must keep: inherit this and give `runtime` and `clock`. One law: a runtime never invents a time.

The clock is any clock on which `wait(seconds)` lets that much world time pass. `short` is a run that ends by itself
well after it starts, `endless` one that does not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from gpuaas.allocations.ports import Run, Runtime
from gpuaas.common.clock import Clock
from gpuaas.common.errors import Rejected
from gpuaas.contracts.allocations import Member

Wait = Callable[[float], Awaitable[None]]
MEMBERS = (Member(member=0, node_id="n0", device_ids=("n0-g0",)),)


class RuntimeContract:
    """Inherit and define fixtures `runtime`, `clock`, `wait`, `short(name) -> Run` and `endless(name) -> Run`."""

    short_s: float = 60.0
    """By then a short run has ended, world seconds."""
    step_s: float = 5.0
    later_s: float = 60.0

    async def test_a_run_starts_now(self, runtime: Runtime, clock: Clock, short: Callable[[str], Run]) -> None:
        before = clock.now()
        await runtime.prepare(short("a"))
        started_at = await runtime.start(short("a"))
        assert before <= started_at <= clock.now()

    async def test_what_ends_by_itself_is_told_with_time_and_code(
        self, runtime: Runtime, clock: Clock, wait: Wait, short: Callable[[str], Run]
    ) -> None:
        started_at = await runtime.start(short("a"))
        runtime.watch(short("a"), started_at)
        assert await runtime.ended(0.01) == ()
        await wait(self.short_s)
        (end,) = await runtime.ended(1)
        assert (end.allocation_id, end.how, end.exit_code) == ("a", "exited", 0)
        assert started_at < end.ended_at <= clock.now()

    async def test_an_end_is_told_once(self, runtime: Runtime, wait: Wait, short: Callable[[str], Run]) -> None:
        started_at = await runtime.start(short("a"))
        runtime.watch(short("a"), started_at)
        runtime.watch(short("a"), started_at)
        await wait(self.short_s)
        assert len(await runtime.ended(1)) == 1
        assert len(await runtime.ended(0.01)) == 0

    async def test_ends_come_in_the_order_of_their_time(
        self, runtime: Runtime, wait: Wait, short: Callable[[str], Run]
    ) -> None:
        starts = {}
        for name in ("a", "b", "c"):
            starts[name] = await runtime.start(short(name))
            await wait(self.step_s / 5)
        for name in ("c", "a", "b"):
            runtime.watch(short(name), starts[name])
        await wait(self.short_s)
        assert [end.allocation_id for end in await runtime.ended(1)] == ["a", "b", "c"]

    async def test_what_is_forgotten_is_not_told(
        self, runtime: Runtime, wait: Wait, short: Callable[[str], Run]
    ) -> None:
        runtime.watch(short("a"), await runtime.start(short("a")))
        runtime.forget("a")
        runtime.forget("never-seen")
        await wait(self.short_s)
        assert len(await runtime.ended(0.01)) == 0

    async def test_a_stop_ends_it_when_it_was_asked_for(
        self, runtime: Runtime, clock: Clock, wait: Wait, endless: Callable[[str], Run]
    ) -> None:
        started_at = await runtime.start(endless("a"))
        await wait(self.step_s)
        at = clock.now()
        await wait(self.step_s)
        end = await runtime.stop(endless("a"), started_at, at)
        assert (end.how, end.exit_code in (None, 137, 143)) == ("stopped", True)
        assert at <= end.ended_at <= clock.now()

    async def test_a_stop_again_says_the_same(
        self, runtime: Runtime, clock: Clock, wait: Wait, endless: Callable[[str], Run]
    ) -> None:
        started_at = await runtime.start(endless("a"))
        at = clock.now()
        first = await runtime.stop(endless("a"), started_at, at)
        await wait(self.step_s)
        assert await runtime.stop(endless("a"), started_at, at) == first

    async def test_a_stop_after_the_natural_end_tells_that_end(
        self, runtime: Runtime, clock: Clock, wait: Wait, short: Callable[[str], Run]
    ) -> None:
        started_at = await runtime.start(short("a"))
        await wait(self.short_s)
        by_then = clock.now()
        await wait(self.step_s)
        end = await runtime.stop(short("a"), started_at, clock.now())
        assert (end.how, end.exit_code) == ("exited", 0)
        assert end.ended_at <= by_then

    async def test_stopping_what_never_started_is_no_error(
        self, runtime: Runtime, clock: Clock, endless: Callable[[str], Run]
    ) -> None:
        at = clock.now()
        end = await runtime.stop(endless("never"), None, at)
        assert (end.how, end.ended_at) == ("stopped", at)

    async def test_a_run_from_before_a_restart_is_watched_on(
        self, runtime: Runtime, clock: Clock, wait: Wait, short: Callable[[str], Run]
    ) -> None:
        started_at = await runtime.start(short("a"))
        await wait(self.short_s)
        by_then = clock.now()
        await wait(self.later_s)
        runtime.watch(short("a"), started_at)
        (end,) = await runtime.ended(1)
        assert end.ended_at <= by_then

    async def test_a_log_is_read_by_ranges_and_beyond_its_end_there_is_nothing(
        self, runtime: Runtime, wait: Wait, short: Callable[[str], Run]
    ) -> None:
        await runtime.start(short("a"))
        await wait(self.short_s)
        whole = await runtime.read_log(short("a"), 0, 10_000)
        assert len(whole.content) == whole.size
        pieces = [(await runtime.read_log(short("a"), offset, 3)).content for offset in range(0, whole.size, 3)]
        assert b"".join(pieces) == whole.content
        assert (await runtime.read_log(short("a"), whole.size + 7, 10)).content == b""

    async def test_a_run_that_nobody_knows_has_said_nothing(
        self, runtime: Runtime, short: Callable[[str], Run]
    ) -> None:
        assert (await runtime.read_log(short("never"), 0, 10)).content == b""

    async def test_no_command_runs_beside_what_does_not_run(
        self, runtime: Runtime, short: Callable[[str], Run]
    ) -> None:
        with pytest.raises(Rejected):
            await runtime.execute(short("never"), ["true"], 1.0)
