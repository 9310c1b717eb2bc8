"""What can be ordered of a node. One law: an order carries everything its decision needs, times included."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from gpuaas.nodes.domain.axes import Expected, Hold
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
    | RecordHeartbeatLost
    | RecordHeartbeatRestored
    | RetireNode
)
