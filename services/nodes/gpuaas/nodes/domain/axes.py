"""The four axes of a node and the steps they can take. One law: every reachable state is named in a table here.

Lifecycle (what is being done with it), health (per component), custody (in whose hands the machine is) and
admission (open, or closed by holds that only their owner or their expiry lifts).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from importlib.resources import files
from typing import Final, TypeAlias

from gpuaas.common.events import Event
from gpuaas.contracts.nodes import (
    Mismatch,
    NodeAllocated,
    NodeBecameAvailable,
    NodeHardwareObserved,
    NodeMaintenanceEnded,
    NodeMaintenanceStarted,
    NodeOnboardingStarted,
    NodeRemedyStarted,
    NodeRetired,
    NodeSanitizingStarted,
    NodeValidationFailed,
    Topology,
)
from gpuaas.nodes.domain.hardware import Hardware
from gpuaas.nodes.domain.proofs import BurnIn, Occasion, Remedy

_MOVING: Final[tuple[type[Event], ...]] = (
    NodeOnboardingStarted,
    NodeHardwareObserved,
    NodeBecameAvailable,
    NodeValidationFailed,
    NodeAllocated,
    NodeSanitizingStarted,
    NodeMaintenanceStarted,
    NodeMaintenanceEnded,
    NodeRemedyStarted,
    NodeRetired,
)
"""The events that can move a lifecycle; the data names no other."""


class Lifecycle(StrEnum):
    """What is being done with the machine."""

    REGISTERED = "registered"
    ONBOARDING = "onboarding"
    VALIDATING = "validating"
    AVAILABLE = "available"
    ALLOCATED = "allocated"
    SANITIZING = "sanitizing"
    MAINTENANCE = "maintenance"
    REPAIR = "repair"
    RETIRED = "retired"


SERVING: Final = frozenset({Lifecycle.AVAILABLE, Lifecycle.ALLOCATED})
"""In service: what falls silent or fails here is a loss."""


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
    TENANT = "tenant"
    REPAIR = "repair"


class Isolation(StrEnum):
    """What keeps tenants apart: each GPU scrubbed by the runtime, or the whole machine wiped and validated."""

    DEVICE = "device"
    MACHINE = "machine"


def _table() -> tuple[dict[tuple[Lifecycle, type[Event]], Lifecycle], dict[Lifecycle, Custody], str]:
    """The steps, the hands and the markdown of `lifecycle.v1.json`."""
    told = json.loads(files(__package__).joinpath("lifecycle.v1.json").read_text("utf-8"))
    moving = {event.TYPE.split(".")[2]: event for event in _MOVING}
    steps = {
        (Lifecycle(start), moving[step["event"]]): Lifecycle(step["to"])
        for step in told["transitions"]
        for start in step["from"]
    }
    rows = [f"| {', '.join(s['from'])} | `{s['event']}` | {s['to']} | {s['because']} |" for s in told["transitions"]]
    page = "\n".join(["| from | event | to | because |", "|---|---|---|---|", *rows])
    return steps, {Lifecycle(name): Custody(hands) for name, hands in told["custody"].items()}, page


TRANSITIONS, CUSTODY, TABLE = _table()
"""Every step a lifecycle can take; who takes the machine over when one is entered (entering one that is not there hands
nothing over); both as the page that the README shows."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What was ordered: the machine that should answer under this id."""

    topology: Topology
    gpu_model: str
    gpu_count: int
    pool_id: str
    isolation: Isolation = Isolation.DEVICE


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
TENANCY_HOLD: Final = "tenancy"
"""Placed when a tenant gets the whole machine, lifted when it has been wiped and validated after its last tenant."""
OWN_HOLDS: Final = frozenset({OWN_HOLD, DRAIN_HOLD, TENANCY_HOLD})


@dataclass(frozen=True, slots=True)
class Occupant:
    """An allocation that has the machine, and whose it is."""

    allocation_id: str
    tenant_id: str


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
        custody: whose it is as far as the lifecycle says; `hands` knows of tenants too.
        occupants: the allocations that have it, where the isolation is `machine`.
        unclean: the newest tenant since whose claim it was not wiped; None: clean.
        claims_seen: position of the newest claim on it that was recorded.
        wiped_at: when it was wiped last.
        look_due: whether the newest look is older than what was done with it since.
        window_id: the maintenance window it is worked on in.
        firmware: component → version, as recorded in maintenance.
        overdue: steps taken because it stayed where it is for too long.
        proof_due: why it has to prove itself before it is available; None: it did.
        burn_in: the one under way.
        burned_in_at: when the newest burn-in that it passed was begun.
        remedy: the reset or reboot under way, or ended and not yet followed by a look.
        remedied: component → the newest remedy that was tried for it.
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
    occupants: tuple[Occupant, ...] = ()
    unclean: Occupant | None = None
    claims_seen: int = 0
    wiped_at: datetime | None = None
    look_due: bool = False
    window_id: str | None = None
    firmware: Mapping[str, str] = field(default_factory=dict)
    overdue: int = 0
    proof_due: Occasion | None = Occasion.NEW
    burn_in: BurnIn | None = None
    burned_in_at: datetime | None = None
    remedy: Remedy | None = None
    remedied: Mapping[str, Remedy] = field(default_factory=dict)

    @property
    def hands(self) -> Custody:
        """In whose hands the machine is: a tenant's as long as one has it, whatever else is done with it."""
        return Custody.TENANT if self.occupants else self.custody

    @property
    def placeable(self) -> bool:
        """Available, healthy and without a hold."""
        return self.lifecycle is Lifecycle.AVAILABLE and self.health.worst is Condition.HEALTHY and not self.holds

    def hold(self, hold_id: str) -> Hold | None:
        return next((hold for hold in self.holds if hold.hold_id == hold_id), None)


NodeState: TypeAlias = Unregistered | Node
