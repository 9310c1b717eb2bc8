"""What this service needs of the outside. One law: ids are ours, so that asking twice can never make two machines.

A provider is anything that owns machines: a bare-metal manager, a cloud, a simulation. Slow work (erasing, firmware) is
an order with an id that is asked for again until it reports, so that nothing waits inside one call for an hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gpuaas.common.errors import NotFound, Rejected, Unavailable
from gpuaas.nodes.domain.hardware import SeenMachine
from gpuaas.nodes.domain.proofs import Load


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


@dataclass(frozen=True, slots=True)
class WipeReport:
    """What a finished erasure did.

    Attributes:
        method: how, as a name: `secure-erase`, `metadata`.
        disks, gpus: how many were erased and cleared.
        finished_at: when, aware.
        sha256: digest of the provider's own report.
    """

    method: str
    disks: int
    gpus: int
    finished_at: datetime
    sha256: str


@dataclass(frozen=True, slots=True)
class FirmwareReport:
    """The version a component has now, and the one it had before (None: unknown)."""

    version: str
    previous: str | None


class ErasesMachines(Protocol):
    async def erase(self, node_id: str, order_id: str) -> WipeReport | None:
        """Erase what tenants may have left, once per `order_id`; the report, or None while it is under way.

        It is asked again with the same order until it reports; an order is begun at most once.

        Raises:
            UnknownMachine: none is bound.
            Unanswered: unknown whether it was begun; ask again.
            ProviderRefused: it ended without success, or cannot be done.
        """
        ...


@dataclass(frozen=True, slots=True)
class BurnInReport:
    """How one step of a burn-in ended.

    Attributes:
        passed: whether nothing was wrong.
        detail: what was measured or what went wrong, in a sentence.
        slot: of the GPU that failed; None: none, or the machine as a whole.
        measured, unit: the number that was measured, as decimal text; None: none.
        sha256: digest of the provider's own report.
    """

    passed: bool
    detail: str
    sha256: str
    slot: int | None = None
    measured: str | None = None
    unit: str | None = None


class BurnsMachinesIn(Protocol):
    @property
    def loads(self) -> frozenset[Load]:
        """What this provider can load machines with."""
        ...

    async def burn_in(self, node_id: str, load: Load, order_id: str) -> BurnInReport | None:
        """Put the machine under `load`, once per `order_id`; the report, or None while it is under way.

        Raises:
            UnknownMachine: none is bound.
            Unanswered: unknown whether it was begun; ask again.
            ProviderRefused: this provider cannot load a machine so.
        """
        ...


class ResetsGpus(Protocol):
    async def reset_gpu(self, node_id: str, slot: int | None, order_id: str) -> bool:
        """Reset the GPU in `slot` (None: all of them), once per `order_id`; whether it is done by now.

        Raises:
            UnknownMachine: none is bound.
            Unanswered: unknown whether it was begun; ask again.
            ProviderRefused: this provider resets no GPUs, or this one would not be reset.
        """
        ...


class UpdatesFirmware(Protocol):
    async def update_firmware(self, node_id: str, component: str, version: str, order_id: str) -> FirmwareReport | None:
        """Bring `component` to `version`, once per `order_id`; the report, or None while it is under way.

        Raises:
            UnknownMachine: none is bound.
            Unanswered: unknown whether it was begun; ask again.
            ProviderRefused: it ended without success, or there is no such component.
        """
        ...


class EnrolsMachines(AdoptsMachines, ObservesMachines, Protocol):
    """What it takes to find out which machine stands behind an id."""


class RemediesMachines(PowersMachines, ResetsGpus, Protocol):
    """What the ladder's own steps need."""


class MachineProvider(EnrolsMachines, RemediesMachines, ErasesMachines, BurnsMachinesIn, UpdatesFirmware, Protocol):
    """Everything a machine's life needs; what a provider cannot do it refuses in a sentence."""
