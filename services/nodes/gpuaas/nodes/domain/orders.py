"""What can be ordered of a node. One law: an order carries everything its decision needs, times included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from gpuaas.nodes.domain.axes import DrainMode, Expected, Hold
from gpuaas.nodes.domain.hardware import Field, SeenMachine
from gpuaas.nodes.domain.promises import Unkept
from gpuaas.nodes.domain.proofs import Plan, RemedyAction


@dataclass(frozen=True, slots=True)
class RegisterNode:
    node_id: str
    expected: Expected


@dataclass(frozen=True, slots=True)
class RecordHardware:
    """The provider looked at the machine and saw `seen`."""

    seen: SeenMachine


@dataclass(frozen=True, slots=True)
class ValidateNode:
    """Compare the newest look with the order: available, or failed with every difference named; once per look.

    A command of its own, so that each of the two facts is one plain append and not a batch.

    Attributes:
        burn_in: what it has to pass at `now` before it is available; None: nothing.
    """

    burn_in: Plan | None = None
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecordUnusableHardware:
    """The machine could not be looked at, or what was seen is impossible.

    Attributes:
        field: `OBSERVATION` (seen, but impossible) or `PROVIDER` (no answer within the attempts allowed).
        expected, observed: the two sides of the difference; what is longer than 256 characters is cut.
    """

    field: Field
    expected: str
    observed: str


@dataclass(frozen=True, slots=True)
class PlaceHold:
    hold: Hold


@dataclass(frozen=True, slots=True)
class LiftHold:
    """`by` wants the hold gone."""

    hold_id: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class ExpireHold:
    """The policy lifts a hold whose time is over at `now`."""

    hold_id: str
    now: datetime


@dataclass(frozen=True, slots=True)
class OrderDrain:
    """The machine is to become empty.

    Attributes:
        notice_s: seconds between the order and the earliest deadline; counts for `NOTICE_THEN_STOP` only.
        deadline: when standing work is to be stopped; never before the notice is over. None: as early as that.
        window_id: the maintenance window that orders it; None: an operator.
        unkept: promised windows that could not be kept without the machine.
        over_promises: give the order nevertheless.
    """

    mode: DrainMode
    notice_s: int
    reason: str
    now: datetime
    deadline: datetime | None = None
    window_id: str | None = None
    unkept: Sequence[Unkept] = ()
    over_promises: bool = False


@dataclass(frozen=True, slots=True)
class CancelDrain:
    """The drain is called off, by the window that ordered it or, with None, by an operator."""

    reason: str
    window_id: str | None = None


@dataclass(frozen=True, slots=True)
class RecordDrained:
    """The pool offers the machine no more and no claim stands on it, read up to `pool_position`."""

    now: datetime
    pool_position: int


@dataclass(frozen=True, slots=True)
class BeginOnboarding:
    """The provider is asked for a machine next."""

    now: datetime


@dataclass(frozen=True, slots=True)
class RecordAllocated:
    """The pool granted a claim on the machine, at `pool_position` of the log."""

    allocation_id: str
    tenant_id: str
    project_id: str
    pool_position: int


@dataclass(frozen=True, slots=True)
class RecordAllocationEnded:
    """The claim was returned."""

    allocation_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class RecordWiped:
    """The provider's report: how, how many disks and GPUs, when it was done, and the report's digest."""

    method: str
    disks: int
    gpus: int
    wiped_at: datetime
    report_sha256: str


@dataclass(frozen=True, slots=True)
class BeginNodeMaintenance:
    window_id: str


@dataclass(frozen=True, slots=True)
class RecordFirmware:
    """The provider reports `version` of `component`; `previous_version` None: it did not say."""

    window_id: str
    component: str
    version: str
    previous_version: str | None
    now: datetime


@dataclass(frozen=True, slots=True)
class EndNodeMaintenance:
    """The work is done; `failed` says what did not succeed, None: everything did."""

    window_id: str
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class RecordBurnInStep:
    """How step `number` (from 1) of the burn-in under way ended: passed, failed, refused or late.

    Attributes:
        slot: of the GPU that failed; None: it passed, or the machine as a whole failed.
        measured, unit: what was measured, if anything.
    """

    number: int
    outcome: str
    detail: str
    now: datetime
    slot: int | None = None
    measured: str | None = None
    unit: str | None = None
    report_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class BeginRemedy:
    """The next step of the ladder for a component's fault, on a machine that was found empty."""

    component_id: str
    fault_number: int
    action: RemedyAction
    slot: int | None
    rule_version: str
    reason: str
    now: datetime


@dataclass(frozen=True, slots=True)
class EndRemedy:
    """What came of it: done, refused or late."""

    component_id: str
    fault_number: int
    action: RemedyAction
    outcome: str
    detail: str
    now: datetime


@dataclass(frozen=True, slots=True)
class RecordOverdue:
    """The machine has been `lifecycle` since `since`, which is expected to take `expected_s` seconds before each step.

    Attributes:
        steps: what is done, one after the other.
        enabled: whether the steps are carried out here, or only named.
    """

    lifecycle: str
    since: datetime
    expected_s: int
    steps: tuple[str, ...]
    policy_version: str
    now: datetime
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class RecordHeartbeatLost:
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class RecordHeartbeatRestored:
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class RetireNode:
    reason: str


NodeCommand: TypeAlias = (
    RegisterNode
    | RecordHardware
    | ValidateNode
    | RecordUnusableHardware
    | PlaceHold
    | LiftHold
    | ExpireHold
    | OrderDrain
    | CancelDrain
    | RecordDrained
    | BeginOnboarding
    | RecordAllocated
    | RecordAllocationEnded
    | RecordWiped
    | BeginNodeMaintenance
    | RecordFirmware
    | EndNodeMaintenance
    | RecordBurnInStep
    | BeginRemedy
    | EndRemedy
    | RecordOverdue
    | RecordHeartbeatLost
    | RecordHeartbeatRestored
    | RetireNode
)
