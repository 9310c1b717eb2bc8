"""What every `MachineProvider` must keep: inherit this and give `world`. One law: asked twice is one machine.

A world can make a provider misbehave at chosen calls and can say how often something really changed. Real providers
do the first with a proxy in front and the second by counting at their back end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import pytest
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.ids import new_id
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.nodes.domain.axes import Lifecycle, Node
from gpuaas.nodes.domain.hardware import SeenMachine
from gpuaas.nodes.domain.proofs import Load
from gpuaas.nodes.ports import (
    BurnInReport,
    EnrolsMachines,
    MachineProvider,
    ProviderRefused,
    Unanswered,
    UnknownMachine,
    Wanted,
    WipeReport,
)
from gpuaas.nodes.reactions import NODE_ENTITY, Onlooker, Persistence
from node_facts import MODEL, REGISTER

WANTED = Wanted(gpu_model=MODEL, gpu_count=8)
LOOKS_MAX = 200
PERSISTENCE = Persistence(timeout_s=0.5, attempts_max=4, pause_s=0.001)


class Trouble(StrEnum):
    """What can happen to one call."""

    BEFORE = "timeout-before"
    AFTER = "timeout-after"
    SLOW = "slow"
    CONFLICT = "conflict"
    ERROR = "server-error"
    WRONG_JSON = "wrong-json"
    NONE = "none"


class World(Protocol):
    """A provider under the tester's control.

    Attributes:
        persistence: how long it is asked again.
        look_pause_s: real seconds between two looks at slow work.
    """

    persistence: Persistence
    look_pause_s: float

    def provider(self, **trouble: Sequence[Trouble]) -> MachineProvider:
        """A fresh client of one and the same back end; `adopt=[BEFORE]` troubles its first adoption of `n-1`."""
        ...

    def effects(self, verb: str) -> int:
        """How often `verb` really changed something at the back end, over all clients."""
        ...


class MachineProviderContract:
    """Inherit and define a fixture `world`."""

    async def test_an_unknown_machine_is_not_observed_or_switched(self, world: World) -> None:
        provider = world.provider()
        with pytest.raises(UnknownMachine):
            await provider.observe("n-1")
        with pytest.raises(UnknownMachine):
            await provider.power("n-1", False)

    async def test_an_adopted_machine_is_seen_under_our_id(self, world: World) -> None:
        provider = world.provider()
        await provider.adopt("n-1", WANTED)
        seen = await provider.observe("n-1")
        assert (seen.gpu_model, len(seen.devices), seen.powered) == (MODEL, 8, True)
        assert seen.observed_at.tzinfo is not None
        assert len({device.serial for device in seen.devices}) == 8

    async def test_adopting_twice_is_one_machine(self, world: World) -> None:
        provider = world.provider()
        await provider.adopt("n-1", WANTED)
        first = await provider.observe("n-1")
        await provider.adopt("n-1", WANTED)
        assert _parts(await provider.observe("n-1")) == _parts(first)
        assert world.effects("adopt") == 1

    async def test_an_adopted_machine_is_left_as_it_is(self, world: World) -> None:
        provider = world.provider()
        await provider.adopt("n-1", WANTED)
        await provider.adopt("n-1", Wanted(gpu_model=MODEL, gpu_count=4))
        assert len((await provider.observe("n-1")).devices) == 8

    async def test_two_adoptions_at_once_are_one_machine(self, world: World) -> None:
        provider = world.provider()
        await asyncio.gather(*(provider.adopt("n-1", WANTED) for _ in range(5)))
        assert world.effects("adopt") == 1

    async def test_different_ids_are_different_machines(self, world: World) -> None:
        provider = world.provider()
        seen = []
        for node_id in ("n-1", "n-2"):
            await provider.adopt(node_id, WANTED)
            seen.append(await provider.observe(node_id))
        assert seen[0].machine_serial != seen[1].machine_serial
        assert not {d.serial for d in seen[0].devices} & {d.serial for d in seen[1].devices}

    async def test_observing_changes_nothing(self, world: World) -> None:
        provider = world.provider()
        await provider.adopt("n-1", WANTED)
        looks = [await provider.observe("n-1") for _ in range(3)]
        assert len({_parts(look) for look in looks}) == 1
        assert world.effects("adopt") + world.effects("power") == 1

    async def test_power_is_switched_once(self, world: World) -> None:
        provider = world.provider()
        await provider.adopt("n-1", WANTED)
        await provider.power("n-1", False)
        await provider.power("n-1", False)
        assert (await provider.observe("n-1")).powered is False
        assert world.effects("power") == 1

    async def test_silence_before_the_effect_leaves_nothing(self, world: World) -> None:
        provider = world.provider(adopt=[Trouble.BEFORE])
        with pytest.raises(Unanswered):
            await provider.adopt("n-1", WANTED)
        with pytest.raises(UnknownMachine):
            await provider.observe("n-1")

    async def test_silence_after_the_effect_is_settled_by_looking(self, world: World) -> None:
        provider = world.provider(adopt=[Trouble.AFTER])
        with pytest.raises(Unanswered):
            await provider.adopt("n-1", WANTED)
        assert len((await provider.observe("n-1")).devices) == 8

    async def test_the_machine_outlives_its_client(self, world: World) -> None:
        await world.provider().adopt("n-1", WANTED)
        again = world.provider()
        seen = await again.observe("n-1")
        await again.adopt("n-1", WANTED)
        assert _parts(await again.observe("n-1")) == _parts(seen)
        assert world.effects("adopt") == 1

    @pytest.mark.parametrize(
        "trouble",
        [
            {},
            {"adopt": [Trouble.BEFORE]},
            {"adopt": [Trouble.AFTER]},
            {"adopt": [Trouble.SLOW]},
            {"adopt": [Trouble.AFTER], "observe": [Trouble.BEFORE]},
            {"adopt": [Trouble.BEFORE, Trouble.AFTER], "observe": [Trouble.NONE, Trouble.AFTER]},
            {"observe": [Trouble.BEFORE, Trouble.AFTER, Trouble.SLOW]},
            {"adopt": [Trouble.CONFLICT]},
            {"adopt": [Trouble.ERROR]},
            {"adopt": [Trouble.WRONG_JSON], "observe": [Trouble.ERROR]},
            {"observe": [Trouble.WRONG_JSON, Trouble.CONFLICT]},
        ],
    )
    async def test_enrolment_ends_with_one_machine_whatever_the_trouble(
        self, world: World, trouble: dict[str, list[Trouble]]
    ) -> None:
        node = await _enrolled(world, world.provider(**trouble))
        assert node.lifecycle is Lifecycle.AVAILABLE
        assert world.effects("adopt") == 1

    async def test_after_silence_the_next_call_is_a_look(self, world: World) -> None:
        asked: list[str] = []
        node = await _enrolled(world, _Listening(world.provider(adopt=[Trouble.AFTER]), asked))
        assert node.lifecycle is Lifecycle.AVAILABLE
        assert asked == ["adopt", "observe"]

    async def test_a_machine_that_shows_up_late_is_waited_for(self, world: World) -> None:
        node = await _enrolled(world, _Late(world.provider()))
        assert node.lifecycle is Lifecycle.AVAILABLE
        assert world.effects("adopt") == 1

    async def test_a_restart_between_the_call_and_its_record_makes_no_second_machine(self, world: World) -> None:
        await world.provider().adopt("n-1", WANTED)  # and then the process died before it wrote anything down
        node = await _enrolled(world, world.provider())
        assert node.lifecycle is Lifecycle.AVAILABLE
        assert world.effects("adopt") == 1

    @pytest.mark.parametrize("trouble", [t for t in Trouble if t is not Trouble.NONE])
    async def test_a_wipe_is_begun_once_and_reported_whatever_the_trouble(self, world: World, trouble: Trouble) -> None:
        await world.provider().adopt("n-1", WANTED)
        report = await _reported(world, "order-1", trouble)
        assert report.gpus == 8
        assert len(report.sha256) == 64
        # A second client asks for the same order, as after a crash between the call and its record.
        again = await _reported(world, "order-1")
        assert again.gpus == 8
        assert world.effects("erase") == 1

    async def test_another_order_is_another_wipe(self, world: World) -> None:
        await world.provider().adopt("n-1", WANTED)
        for order_id in ("order-1", "order-2"):
            await _reported(world, order_id)
        assert world.effects("erase") == 2

    @pytest.mark.parametrize("trouble", [Trouble.NONE, Trouble.BEFORE, Trouble.AFTER, Trouble.ERROR])
    async def test_a_load_is_begun_once_and_reported_whatever_the_trouble(self, world: World, trouble: Trouble) -> None:
        await world.provider().adopt("n-1", WANTED)
        report = await _burnt_in(world, "order-1", trouble)
        assert (report.passed, report.slot, len(report.sha256)) == (True, None, 64)
        assert (await _burnt_in(world, "order-1")).passed, "a second client asks for the same order"
        assert world.effects("burn_in") == 1
        await _burnt_in(world, "order-2")
        assert world.effects("burn_in") == 2

    async def test_a_gpu_is_reset_or_it_is_said_that_nobody_can(self, world: World) -> None:
        provider = world.provider()
        await provider.adopt("n-1", WANTED)
        with contextlib.suppress(ProviderRefused):
            looks = [await provider.reset_gpu("n-1", 3, "order-1") for _ in range(5)]
            assert looks[-1] is True
            assert world.effects("reset_gpu") == 1

    @pytest.mark.parametrize("trouble", [Trouble.NONE, Trouble.BEFORE, Trouble.AFTER, Trouble.CONFLICT, Trouble.ERROR])
    async def test_power_is_as_ordered_after_any_trouble(self, world: World, trouble: Trouble) -> None:
        await world.provider().adopt("n-1", WANTED)
        provider = world.provider(power=[trouble])
        if trouble is Trouble.NONE:
            await provider.power("n-1", False)
        else:
            with pytest.raises(Unanswered):
                await provider.power("n-1", False)
            await provider.power("n-1", False)
        assert (await provider.observe("n-1")).powered is False
        assert world.effects("power") == 1

    async def test_what_is_unknown_is_not_wiped(self, world: World) -> None:
        with pytest.raises(UnknownMachine):
            await world.provider().erase("n-9", "order-1")

    async def test_a_provider_that_never_answers_is_a_typed_failure(self, world: World) -> None:
        node = await _enrolled(world, world.provider(adopt=[Trouble.BEFORE] * 9))
        assert node.lifecycle is Lifecycle.REPAIR
        assert [m.field for m in node.mismatches] == ["provider"]


class _Listening:
    """Hands every call on and writes down its name."""

    def __init__(self, inner: EnrolsMachines, asked: list[str]) -> None:
        self._inner = inner
        self._asked = asked

    async def adopt(self, node_id: str, wanted: Wanted) -> None:
        self._asked.append("adopt")
        await self._inner.adopt(node_id, wanted)

    async def observe(self, node_id: str) -> SeenMachine:
        self._asked.append("observe")
        return await self._inner.observe(node_id)


class _Late(_Listening):
    """Does not show a machine the first two times, as a provider does that answers from a cache."""

    def __init__(self, inner: EnrolsMachines) -> None:
        super().__init__(inner, [])

    async def observe(self, node_id: str) -> SeenMachine:
        seen = await super().observe(node_id)
        if self._asked.count("observe") <= 2:
            raise UnknownMachine("not yet in the list")
        return seen


async def _reported(world: World, order_id: str, *trouble: Trouble) -> WipeReport:
    """Asked again and again, as the rounds of the upkeep do."""
    provider = world.provider(erase=trouble)
    for _ in range(LOOKS_MAX):
        with contextlib.suppress(Unanswered):
            if (report := await provider.erase("n-1", order_id)) is not None:
                return report
        await asyncio.sleep(world.look_pause_s)
    raise AssertionError("the wipe never ended")


async def _burnt_in(world: World, order_id: str, *trouble: Trouble) -> BurnInReport:
    provider = world.provider(burn_in=trouble)
    for _ in range(LOOKS_MAX):
        with contextlib.suppress(Unanswered):
            if (report := await provider.burn_in("n-1", Load.CPU, order_id)) is not None:
                return report
        await asyncio.sleep(world.look_pause_s)
    raise AssertionError("the load never ended")


async def _enrolled(world: World, provider: EnrolsMachines) -> Node:
    commands = Commands(MemoryLog(), WallClock(), "nodes", "dev")
    cause = Cause(id=new_id(), actor="tester", actor_kind="user")
    await commands.execute(NODE_ENTITY, "platform", "n-1", REGISTER, cause)
    await Onlooker(provider, commands, world.persistence).enrol("n-1", WANTED, cause.at("enrol"))
    node, _ = await commands.state(NODE_ENTITY, "platform", "n-1")
    assert isinstance(node, Node)
    return node


def _parts(seen: SeenMachine) -> tuple[object, ...]:
    return (seen.machine_serial, seen.gpu_model, seen.devices, seen.powered)
