"""What every runtime must keep: inherit this and give `runtime` and `clock`. One law: a runtime never invents a time.

The clock is any clock on which `wait(seconds)` lets that much world time pass. `short` is a run that ends by itself
well after it starts, `endless` one that does not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from gpuaas.allocations.ports import Run, Runtime
from gpuaas.common.clock import Clock
from gpuaas.contracts.allocations import Member

Wait = Callable[[float], Awaitable[None]]
MEMBERS = (Member(member=0, node_id="n0", device_ids=("n0-g0",)),)


class RuntimeContract:
    """Inherit and define fixtures `runtime`, `clock`, `wait`, `short(name) -> Run` and `endless(name) -> Run`."""

    short_s: float = 60.0

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
            await wait(1)
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
        await wait(5)
        at = clock.now()
        await wait(5)
        end = await runtime.stop(endless("a"), started_at, at)
        assert (end.how, end.exit_code in (None, 137, 143)) == ("stopped", True)
        assert at <= end.ended_at <= clock.now()

    async def test_a_stop_again_says_the_same(
        self, runtime: Runtime, clock: Clock, wait: Wait, endless: Callable[[str], Run]
    ) -> None:
        started_at = await runtime.start(endless("a"))
        at = clock.now()
        first = await runtime.stop(endless("a"), started_at, at)
        await wait(5)
        assert await runtime.stop(endless("a"), started_at, at) == first

    async def test_a_stop_after_the_natural_end_tells_that_end(
        self, runtime: Runtime, clock: Clock, wait: Wait, short: Callable[[str], Run]
    ) -> None:
        started_at = await runtime.start(short("a"))
        await wait(self.short_s + 10)
        end = await runtime.stop(short("a"), started_at, clock.now())
        assert (end.how, end.exit_code) == ("exited", 0)
        assert end.ended_at <= started_at + timedelta(seconds=self.short_s + 1)

    async def test_stopping_what_never_started_is_no_error(
        self, runtime: Runtime, clock: Clock, endless: Callable[[str], Run]
    ) -> None:
        at = clock.now()
        end = await runtime.stop(endless("never"), None, at)
        assert (end.how, end.ended_at) == ("stopped", at)

    async def test_a_run_from_before_a_restart_is_watched_on(
        self, runtime: Runtime, wait: Wait, short: Callable[[str], Run]
    ) -> None:
        started_at = await runtime.start(short("a"))
        await wait(self.short_s + 60)
        runtime.watch(short("a"), started_at)
        (end,) = await runtime.ended(1)
        assert end.ended_at <= started_at + timedelta(seconds=self.short_s + 1)
