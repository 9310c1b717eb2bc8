"""The four axes of a node and the steps they can take. One law: every reachable state is named in a table here.

Lifecycle (what is being done with it), health (per component), custody (in whose hands the machine is) and
admission (open, or closed by holds that only their owner or their expiry lifts).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

from gpuaas.common.events import Event
from gpuaas.contracts.nodes import (
    Mismatch,
    NodeBecameAvailable,
    NodeHardwareObserved,
    NodeRetired,
    NodeValidationFailed,
    Topology,
)
from gpuaas.nodes.domain.hardware import Hardware


class Lifecycle(StrEnum):
    """What is being done with the machine."""

    REGISTERED = "registered"
    VALIDATING = "validating"
    AVAILABLE = "available"
    REPAIR = "repair"
    RETIRED = "retired"


class Condition(StrEnum):
    """How a component is; from best to worst."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    FAILED = "failed"


class DrainMode(StrEnum):
    """How standing work ends when a machine is to become empty; from the mildest to the strongest."""

    LET_FINISH = "let-finish"
    NOTICE_THEN_STOP = "notice-then-stop"
    NOW = "now"

    @property
    def rank(self) -> int:
        return list(DrainMode).index(self)


class Custody(StrEnum):
    """In whose hands the machine is."""

    PROVIDER = "provider"
    POOL = "pool"
    REPAIR = "repair"


TRANSITIONS: Final[dict[tuple[Lifecycle, type[Event]], Lifecycle]] = {
    (Lifecycle.REGISTERED, NodeHardwareObserved): Lifecycle.VALIDATING,
    (Lifecycle.REGISTERED, NodeValidationFailed): Lifecycle.REPAIR,
    (Lifecycle.REGISTERED, NodeRetired): Lifecycle.RETIRED,
    (Lifecycle.VALIDATING, NodeHardwareObserved): Lifecycle.VALIDATING,
    (Lifecycle.VALIDATING, NodeBecameAvailable): Lifecycle.AVAILABLE,
    (Lifecycle.VALIDATING, NodeValidationFailed): Lifecycle.REPAIR,
    (Lifecycle.VALIDATING, NodeRetired): Lifecycle.RETIRED,
    (Lifecycle.AVAILABLE, NodeHardwareObserved): Lifecycle.VALIDATING,
    (Lifecycle.AVAILABLE, NodeValidationFailed): Lifecycle.REPAIR,
    (Lifecycle.AVAILABLE, NodeRetired): Lifecycle.RETIRED,
    (Lifecycle.REPAIR, NodeHardwareObserved): Lifecycle.VALIDATING,
    (Lifecycle.REPAIR, NodeValidationFailed): Lifecycle.REPAIR,
    (Lifecycle.REPAIR, NodeRetired): Lifecycle.RETIRED,
}
"""Every step a lifecycle can take. An event that is not here leaves the lifecycle alone or is unreadable."""

CUSTODY: Final[dict[Lifecycle, Custody]] = {
    Lifecycle.REGISTERED: Custody.PROVIDER,
    Lifecycle.AVAILABLE: Custody.POOL,
    Lifecycle.REPAIR: Custody.REPAIR,
    Lifecycle.RETIRED: Custody.PROVIDER,
}
"""Who takes the machine over when a lifecycle is entered; entering one that is not here hands nothing over."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What was ordered: the machine that should answer under this id."""

    topology: Topology
    gpu_model: str
    gpu_count: int
    pool_id: str


@dataclass(frozen=True, slots=True)
class Health:
    """The condition of each component; the worst one counts."""

    hardware: Condition = Condition.SUSPECT
    agent: Condition = Condition.HEALTHY

    @property
    def worst(self) -> Condition:
        return max(self.hardware, self.agent, key=list(Condition).index)


@dataclass(frozen=True, slots=True)
class Hold:
    """A reason not to place anything here; `owner` (or its expiry) is the only one to lift it."""

    hold_id: str
    owner: str
    cause: str
    expires_at: datetime | None


OWN_NAME: Final = "nodes"
OWN_HOLD: Final = "hardware-changed"
"""Placed when a node in service turns out to be another machine."""
DRAIN_HOLD: Final = "drain"
"""Placed with a drain, lifted with its end."""
OWN_HOLDS: Final = frozenset({OWN_HOLD, DRAIN_HOLD})


@dataclass(frozen=True, slots=True)
class Drain:
    """An order to become empty.

    Attributes:
        deadline: when standing work is stopped; None: never.
        window_id: the maintenance window that ordered it; None: an operator.
        drained_at: when the machine was found empty; None: not yet.
    """

    mode: DrainMode
    deadline: datetime | None
    window_id: str | None
    drained_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Unregistered:
    """No node has ever had this id."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node that was registered once; it keeps its id forever.

    Attributes:
        hardware: the newest look at the machine, if it was possible.
        in_service: the parts it became available with; None once they failed, or before.
        mismatches: why it is in repair; empty otherwise.
        known_serial: the chassis that became available under this id first; another one is another machine.
        agent_seen_at: the newest sign of life that the log knows, in either direction.
    """

    node_id: str
    expected: Expected
    lifecycle: Lifecycle = Lifecycle.REGISTERED
    health: Health = Health()
    custody: Custody = Custody.PROVIDER
    holds: tuple[Hold, ...] = ()
    hardware: Hardware | None = None
    in_service: Hardware | None = None
    mismatches: tuple[Mismatch, ...] = ()
    known_serial: str | None = None
    agent_seen_at: datetime | None = None
    drain: Drain | None = None

    @property
    def placeable(self) -> bool:
        """Available, healthy and without a hold."""
        return self.lifecycle is Lifecycle.AVAILABLE and self.health.worst is Condition.HEALTHY and not self.holds

    def hold(self, hold_id: str) -> Hold | None:
        return next((hold for hold in self.holds if hold.hold_id == hold_id), None)


NodeState: TypeAlias = Unregistered | Node
