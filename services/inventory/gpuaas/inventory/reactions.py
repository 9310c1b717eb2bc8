"""What nodes' events mean for the books. One law: every machine is compared before it is sellable, and serials once.

Whether a serial number is taken is answered by the read model and, for what it has not seen yet, by what this process
has entered itself. Two processes that enter two machines with one serial number at the same instant are caught
afterwards: the read model applies the log's one order, and the later machine is told (`Books.settle`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from gpuaas.common.commands import Cause, Commands, Outcome
from gpuaas.common.envelope import PLATFORM, Fact, subject_of
from gpuaas.common.errors import NotFound, Rejected
from gpuaas.common.events import Vocabulary
from gpuaas.common.ids import derived_id, new_id
from gpuaas.common.log import EventLog
from gpuaas.common.projections import Database
from gpuaas.common.reactions import Reaction
from gpuaas.contracts.inventory import Device, MachinePlanned, MachinePlanWithdrawn, Mismatch, Topology
from gpuaas.contracts.nodes import NodeBecameAvailable, NodeHardwareObserved, NodeRetired, NodeValidationFailed
from gpuaas.inventory.domain import gpu_model
from gpuaas.inventory.domain.gpu_model import GpuModel
from gpuaas.inventory.domain.machine import (
    Accepted,
    Claimed,
    EnterMachine,
    FailMachine,
    Found,
    MachineState,
    RemoveMachine,
    taken_serials,
)
from gpuaas.inventory.domain.partitioning import PublishPartitioning
from gpuaas.inventory.domain.plan import Claimable, Plan
from gpuaas.inventory.entities import (
    CLAIM_ENTITY,
    GPU_MODEL_ENTITY,
    MACHINE_ENTITY,
    PARTITIONING_ENTITY,
    PLAN_ENTITY,
)
from gpuaas.inventory.projections.devices import Devices, SerialConflict
from gpuaas.inventory.projections.machines import Machines

OWN_NAME: Final = "inventory"
REMEMBERED_MAX: Final = 20_000
"""Serial numbers and looks kept in memory; older ones are answered by the read model and the log."""
SETTLE_EVERY_S: Final = 1.0
_IN_FLIGHT: Final = 2**63
_NODE: Final = Vocabulary(NodeHardwareObserved, NodeBecameAvailable)
_log = logging.getLogger(__name__)


class Books:
    """Enters machines into the books.

    Args:
        devices: the read model that tells which serial numbers are taken.
        machines: the one that tells which machines wait for one.
        seen: the position it has seen.
    """

    def __init__(
        self,
        commands: Commands,
        log: EventLog,
        database: Database,
        devices: Devices,
        machines: Machines,
        seen: Callable[[], int],
    ) -> None:
        self._commands = commands
        self._log = log
        self._database = database
        self._devices = devices
        self._machines = machines
        self._seen = seen
        self._unseen: dict[str, tuple[str, int]] = {}
        self._models: dict[str, GpuModel] = {}

    async def enter(self, found: Found, cause: Cause) -> Outcome[MachineState]:
        """Compare and enter a machine.

        Raises:
            Rejected: the machine was removed for good.
        """
        taken = await self._devices.claimed(self._database, _serials(found), found.machine_id)
        claimed = self._claimed(found, taken)
        position = 0
        try:
            outcome = await self._compare(found, claimed, cause)
            if isinstance(outcome.state, Accepted):
                position = outcome.position
            return outcome
        finally:
            self._note(found, position)

    async def remove(self, machine_id: str, reason: str, cause: Cause) -> Outcome[MachineState]:
        """Take a machine out of the books. Raises NotFound: it never was in them."""
        return await self._commands.execute(MACHINE_ENTITY, PLATFORM, machine_id, RemoveMachine(reason), cause)

    async def fail(self, machine_id: str, mismatches: Iterable[Mismatch], cause: Cause) -> None:
        """A machine of the books is not what it was; one that is not in them is nodes' business alone."""
        await self._commands.execute(MACHINE_ENTITY, PLATFORM, machine_id, FailMachine(tuple(mismatches)), cause)

    async def found(self, machine_id: str) -> Found:
        """The machine as nodes validated it last, read from its node's history.

        Raises:
            NotFound: nodes never made it available.
        """
        look: NodeHardwareObserved | None = None
        available: NodeBecameAvailable | None = None
        for recorded in await self._log.history(subject_of("nodes", "node", PLATFORM, machine_id)):
            if recorded.type in _NODE:
                match _NODE.read(recorded.type, bytes(recorded.envelope().data)):
                    case NodeHardwareObserved() as event:
                        look = event
                    case NodeBecameAvailable() as event:
                        available = event
        if look is None or available is None:
            raise NotFound(f"nodes has not made {machine_id} available; there is nothing to compare yet")
        return found_in(available, look.machine_serial)

    async def settle_for_ever(self) -> None:
        """Tell the later one of two machines with one serial number, soon after it was entered; and the one that
        waited for a serial number, soon after the other machine gave it up."""
        while True:
            for conflict in await self._devices.conflicts(self._database):
                await self.settle(conflict)
            for machine_id, mismatches in (await self._machines.mismatched(self._database)).items():
                await self._enter_again(machine_id, taken_serials(mismatches))
            await asyncio.sleep(SETTLE_EVERY_S)

    async def _enter_again(self, machine_id: str, waited_for: Sequence[str]) -> None:
        """Compare a machine again when nobody else has any more what it waited for: a GPU was moved."""
        if not waited_for or await self._devices.claimed(self._database, waited_for, machine_id):
            return
        cause = Cause(id=derived_id("given-up", machine_id, new_id()), actor=OWN_NAME, actor_kind="service")
        try:
            await self.enter(await self.found(machine_id), cause)
        except (Rejected, NotFound) as moved_on:
            _log.info("machine %s: %s", machine_id, moved_on.detail)

    async def settle(self, conflict: SerialConflict) -> None:
        """Compare a machine again that was entered with serial numbers of others."""
        state, _ = await self._commands.state(MACHINE_ENTITY, PLATFORM, conflict.machine_id)
        if isinstance(state, Accepted):
            cause_id = derived_id("settle", conflict.machine_id, conflict.position)
            cause = Cause(id=cause_id, actor=OWN_NAME, actor_kind="service")
            await self._compare(state.found, conflict.claimed, cause)

    async def _compare(self, found: Found, claimed: tuple[Claimed, ...], cause: Cause) -> Outcome[MachineState]:
        model = await self._model(found.gpu_model)
        plan, _ = await self._commands.state(PLAN_ENTITY, PLATFORM, found.machine_id)
        serial = Claimable("serial", found.machine_serial)
        taken, _ = await self._commands.state(CLAIM_ENTITY, PLATFORM, serial.claim_id)
        expected = plan if isinstance(plan, Plan) else None
        order = EnterMachine(
            found=replace(found, nvlink_domain=_domain(found, expected, model)),
            model_memory_mib=model.memory_mib if model else None,
            claimed=claimed,
            plan=expected,
            planned_elsewhere=taken.machine_id,
        )
        # Nearly always it is the machine's first entry, so the read is left out; the guard tells where it is not.
        return await self._commands.execute(MACHINE_ENTITY, PLATFORM, found.machine_id, order, cause, fresh=True)

    async def _model(self, name: str) -> GpuModel | None:
        """The model as the catalogue has it; what a device is never changes, so it is asked for once."""
        if (known := self._models.get(name)) is not None:
            return known
        model, _ = await self._commands.state(GPU_MODEL_ENTITY, PLATFORM, name)
        if not isinstance(model, GpuModel):
            return None
        self._models[name] = model
        return model

    def _claimed(self, found: Found, taken: Iterable[Claimed]) -> tuple[Claimed, ...]:
        """Claims of others, and in the same breath ours: nothing else runs between the look and the note."""
        claims = {claim.serial: claim for claim in taken}
        seen = self._seen()
        for serial in _serials(found):
            owner, position = self._unseen.get(serial, (found.machine_id, 0))
            if owner != found.machine_id and position > seen:
                claims[serial] = Claimed(serial, owner)
        if not claims:
            self._note(found, _IN_FLIGHT)
        return tuple(claims.values())

    def _note(self, found: Found, position: int) -> None:
        """Remember the machine's serial numbers until the read model has seen `position` (0: forget them)."""
        seen = self._seen()
        for serial in _serials(found):
            owner, noted = self._unseen.get(serial, (found.machine_id, 0))
            if owner == found.machine_id or noted <= seen:
                self._unseen[serial] = (found.machine_id, position)
        if len(self._unseen) > REMEMBERED_MAX:
            self._unseen = {serial: entry for serial, entry in self._unseen.items() if entry[1] > seen}


def _domain(found: Found, plan: Plan | None, model: GpuModel | None) -> str | None:
    """The NVLink domain: as planned; without a plan a machine whose GPUs are linked is one of its own."""
    if plan is not None:
        return plan.nvlink_domain
    return found.machine_id if model is not None and model.interconnect.startswith("nvlink") else None


def _serials(found: Found) -> list[str]:
    return [found.machine_serial, *(device.serial for device in found.devices)]


def found_in(event: NodeBecameAvailable, machine_serial: str) -> Found:
    """A validated node as a machine, in this service's own words."""
    return Found(
        machine_id=event.node_id,
        machine_serial=machine_serial,
        pool_id=event.pool_id,
        gpu_model=event.gpu_model,
        devices=tuple(Device.model_construct(**dict(device)) for device in event.devices),
        topology=Topology.model_construct(**dict(event.topology)),
    )


class KeepBooks(Reaction):
    """A node that became available is compared and entered, and again when its plan changes; a retired one is out."""

    name = "keep-books"
    reads = (
        NodeHardwareObserved,
        NodeBecameAvailable,
        NodeValidationFailed,
        NodeRetired,
        MachinePlanned,
        MachinePlanWithdrawn,
    )

    def __init__(self, books: Books) -> None:
        self._books = books
        self._serials: OrderedDict[str, str] = OrderedDict()

    def key(self, fact: Fact) -> str:
        """The machine: its node's history and its plan are handled in order."""
        return fact.subject.rpartition(".")[2]

    async def react(self, fact: Fact) -> None:
        try:
            match fact.event:
                case MachinePlanned() | MachinePlanWithdrawn() as event:
                    found = await self._books.found(event.machine_id)
                    await self._books.enter(found, Cause.of(fact, OWN_NAME, "compare"))
                case NodeHardwareObserved() as event:
                    self._serials[event.node_id] = event.machine_serial
                    if len(self._serials) > REMEMBERED_MAX:
                        self._serials.popitem(last=False)
                case NodeBecameAvailable() as event:
                    await self._books.enter(await self._found(event), Cause.of(fact, OWN_NAME, "enter"))
                case NodeValidationFailed() as event:
                    told = [Mismatch.model_construct(**dict(mismatch)) for mismatch in event.mismatches]
                    await self._books.fail(event.node_id, told, Cause.of(fact, OWN_NAME, "fail"))
                case NodeRetired() as event:
                    reason = f"node retired: {event.reason}"
                    await self._books.remove(event.node_id, reason, Cause.of(fact, OWN_NAME, "remove"))
        except (Rejected, NotFound) as moved_on:
            _log.info("position %d: %s", fact.position, moved_on.detail)

    async def _found(self, event: NodeBecameAvailable) -> Found:
        """The chassis' serial is in the look before; after a restart between the two it is read from the log."""
        serial = self._serials.pop(event.node_id, None)
        if serial is not None:
            return found_in(event, serial)
        return await self._books.found(event.node_id)


async def define_built_in(commands: Commands, models: Sequence[GpuModel]) -> None:
    """Define the models this version ships, once; what an operator has refined since is left alone."""
    for model in models:
        known, version = await commands.state(GPU_MODEL_ENTITY, PLATFORM, model.gpu_model)
        if version == 0:
            cause = Cause(id=f"built-in-{model.gpu_model}", actor=OWN_NAME, actor_kind="service")
            order = gpu_model.DefineGpuModel(model)
            await commands.execute(GPU_MODEL_ENTITY, PLATFORM, model.gpu_model, order, cause)
        elif isinstance(known, GpuModel) and known.memory_mib != model.memory_mib:
            told = (model.gpu_model, known.memory_mib, model.memory_mib)
            _log.warning("%s is defined with %d MiB; built in are %d", *told)


async def publish_built_in(commands: Commands, orders: Sequence[PublishPartitioning]) -> None:
    """Publish the tables of instances this version ships, each once; a corrected one is the next version."""
    for order in orders:
        cause_id = derived_id("built-in-partitioning", order.gpu_model, repr(order))
        cause = Cause(id=cause_id, actor=OWN_NAME, actor_kind="service")
        await commands.execute(PARTITIONING_ENTITY, PLATFORM, order.gpu_model, order, cause)
