"""Machines become capacity. One law: a machine is offered by what its neighbours say now, whoever spoke first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from gpuaas.allocations.domain import pool as pools
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.offer import ABOUT_MACHINES, ABOUT_NODES, VOCABULARY, offer_of
from gpuaas.allocations.projections.board import SERVICE
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.envelope import PLATFORM, Fact, subject_of
from gpuaas.common.errors import Rejected
from gpuaas.common.events import Event
from gpuaas.common.log import EventLog
from gpuaas.common.projections import decoded
from gpuaas.common.reactions import Reaction
from gpuaas.contracts.allocations import Topology
from gpuaas.contracts.inventory import MachineAccepted

_log = logging.getLogger(__name__)


class Capacity(Reaction):
    """Offers and withdraws machines, each time by what both neighbours' histories say now."""

    name = "capacity"
    reads = (*ABOUT_MACHINES, *ABOUT_NODES)

    def __init__(self, commands: Commands, log: EventLog, pool: Entity[Pool, pools.PoolCommand]) -> None:
        self._commands = commands
        self._pool = pool
        self._log = log

    def key(self, fact: Fact) -> str:
        """The machine: what inventory and nodes say of it is handled in order."""
        return fact.subject.rpartition(".")[2]

    async def react(self, fact: Fact) -> None:
        node_id = fact.subject.rpartition(".")[2]
        machine, node = await asyncio.gather(
            self._said_of("inventory", "machine", node_id, fact), self._said_of("nodes", "node", node_id, fact)
        )
        offer = offer_of(machine, node)
        if offer is None:
            return
        command: pools.AddCapacity | pools.WithdrawCapacity
        if offer.closed is None:
            command = _offered(offer.machine)
        else:
            command = pools.WithdrawCapacity(offer.machine.pool_id, node_id, offer.closed[:500])
        cause = Cause.of(fact, SERVICE, "capacity")
        try:
            await self._commands.execute(self._pool, PLATFORM, offer.machine.pool_id, command, cause)
        except Rejected as refused:
            _log.warning("capacity of %s stays as it is: %s", node_id, refused.detail)

    async def _said_of(self, service: str, entity: str, node_id: str, fact: Fact) -> Sequence[Event]:
        subject = subject_of(service, entity, PLATFORM, node_id)
        history = await self._log.history(subject, reaching=fact.position if subject == fact.subject else 0)
        return [fact.event for fact in decoded(VOCABULARY, history)]


def _offered(machine: MachineAccepted) -> pools.AddCapacity:
    return pools.AddCapacity(
        pool_id=machine.pool_id,
        node_id=machine.machine_id,
        gpu_model=machine.gpu_model,
        device_ids=tuple(device.device_id for device in machine.devices),
        topology=Topology(**machine.topology.model_dump()),
    )
