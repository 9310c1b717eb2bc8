"""What can be ordered of a node. One law: an order carries everything its decision needs, times included."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from gpuaas.nodes.domain.axes import DrainMode, Expected, Hold
from gpuaas.nodes.domain.hardware import Field, SeenMachine


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
    """


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
    """

    mode: DrainMode
    notice_s: int
    reason: str
    now: datetime
    deadline: datetime | None = None
    window_id: str | None = None


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
    | RecordHeartbeatLost
    | RecordHeartbeatRestored
    | RetireNode
)
