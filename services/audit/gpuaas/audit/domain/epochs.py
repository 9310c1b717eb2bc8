"""Epochs: the history of what the trail has sealed. One law: each begins where the last ended, and its sum is whole.

Per epoch the positions of the log are leaves or explained gaps, and the two counts add up to the positions covered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.audit import EpochSealed

EPOCH_LOG: Final = "log"
"""The id of the one history that all epochs are in."""


@dataclass(frozen=True, slots=True)
class SealEpoch:
    """Order an epoch over [first_position, last_position].

    Attributes:
        leaf_count: events in it, over all trees.
        gap_count: positions in it that hold none.
        tree_count: trees there are at its end.
        map_root: 32 bytes, over all trees' checkpoints.
        platform_checkpoint: signed note.
    """

    first_position: int
    last_position: int
    leaf_count: int
    gap_count: int
    tree_count: int
    map_root: bytes
    platform_checkpoint: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """The epochs so far: number and last position of the newest (0, 0 before the first), and its map root in hex."""

    epoch: int = 0
    last_position: int = 0
    map_root: str = ""


def decide(command: SealEpoch, sealed: Sealed) -> list[Event]:
    """The next epoch, or a refusal."""
    if command.first_position != sealed.last_position + 1:
        raise Rejected(f"the next epoch begins at {sealed.last_position + 1}, not at {command.first_position}")
    covered = command.last_position - command.first_position + 1
    if covered < 1:
        raise Rejected(f"nothing stands behind position {sealed.last_position}: there is no epoch to seal")
    if command.leaf_count + command.gap_count != covered:
        raise Invalid(
            f"{covered} positions are not {command.leaf_count} leaves and {command.gap_count} gaps: the trail is not "
            "the whole log and is not sealed"
        )
    return [
        EpochSealed(
            epoch=sealed.epoch + 1,
            first_position=command.first_position,
            last_position=command.last_position,
            leaf_count=command.leaf_count,
            gap_count=command.gap_count,
            tree_count=command.tree_count,
            map_root=command.map_root.hex(),
            platform_checkpoint=command.platform_checkpoint,
        )
    ]


def evolve(sealed: Sealed, event: Event) -> Sealed:
    """The history after one more epoch."""
    match event:
        case EpochSealed() as epoch:
            return Sealed(epoch=epoch.epoch, last_position=epoch.last_position, map_root=epoch.map_root)
        case _:
            raise AssertionError(f"{type(event).__name__} is not of an epoch")


EPOCHS: Final[Decider[Sealed, SealEpoch]] = Decider(initial=Sealed(), decide=decide, evolve=evolve)
