"""What this service needs of the outside. One law: ids are ours, so that asking twice can never make two machines.

A provider is anything that owns machines: a bare-metal manager, a cloud, a simulation. It is one value that keeps
all three abilities; what it cannot do, it does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gpuaas.common.errors import NotFound, Rejected, Unavailable
from gpuaas.nodes.domain.hardware import SeenMachine


class Unanswered(Unavailable):
    """No answer in time, or the connection broke: whether the order took effect is unknown.

    Only observing may follow; giving the order again is safe for `adopt` because the id is ours.
    """

    code = "provider-unanswered"


class UnknownMachine(NotFound):
    """The provider has no machine under this node id."""

    code = "unknown-machine"


class ProviderRefused(Rejected):
    """The provider understood the order and will not do it; repeating it changes nothing."""

    code = "provider-refused"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The machine that should stand behind a node id.

    Attributes:
        gpu_model: catalogue name.
        gpu_count: GPUs in the machine.
    """

    gpu_model: str
    gpu_count: int


class AdoptsMachines(Protocol):
    async def adopt(self, node_id: str, wanted: Wanted) -> None:
        """Bind a machine to `node_id`; if one is bound already, leave it as it is.

        Raises:
            Unanswered: unknown whether it took effect.
            ProviderRefused: there is no such machine to give.
        """
        ...


class ObservesMachines(Protocol):
    async def observe(self, node_id: str) -> SeenMachine:
        """Look at the machine behind `node_id`; changes nothing.

        Raises:
            UnknownMachine: none is bound.
            Unanswered: no answer.
        """
        ...


class PowersMachines(Protocol):
    async def power(self, node_id: str, on: bool) -> None:
        """Switch the machine on or off; if it is so already, nothing happens.

        Raises:
            UnknownMachine: none is bound.
            Unanswered: unknown whether it took effect; observe before anything else.
        """
        ...


class MachineProvider(AdoptsMachines, ObservesMachines, PowersMachines, Protocol):
    """Everything a real machine's life needs today."""
