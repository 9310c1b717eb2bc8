"""A share as its receiver has it. One law: it says what the owner's history says, in the receiver's own trail.

Each event here is one of a batch with the owner's: the owner's history decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import ReceivedShareAccepted, ReceivedShareDeclined, ReceivedShareEnded
from gpuaas.iam.domain.names import REASON_MAX, written
from gpuaas.iam.domain.project_share import Share, Side


@dataclass(frozen=True, slots=True)
class TakeShare:
    """Say that it is accepted."""

    share: Share
    reason: str


@dataclass(frozen=True, slots=True)
class RefuseShare:
    """Say that the offer is not wanted."""

    share: Share
    reason: str


@dataclass(frozen=True, slots=True)
class LoseShare:
    """Say that it has ended, and by whom."""

    share: Share
    side: Side
    reason: str


ReceivedCommand = TakeShare | RefuseShare | LoseShare
Stage = str
NONE, TAKEN, OVER = "none", "taken", "over"


def decide(command: ReceivedCommand, stage: Stage) -> list[Event]:
    share, reason = command.share, written(command.reason, "reason", REASON_MAX)
    named = {
        "share_id": share.share_id,
        "tenant_id": share.receiver_tenant_id,
        "owner_tenant_id": share.tenant_id,
        "project_id": share.project_id,
    }
    match stage, command:
        case "none", TakeShare():
            return [
                ReceivedShareAccepted(
                    **named,
                    principal_kind=share.principal_kind,
                    principal_id=share.principal_id,
                    role=share.role,
                    role_tenant_id=share.role_tenant_id,
                    valid_until=share.valid_until,
                    reason=reason,
                )
            ]
        case "none", RefuseShare():
            return [ReceivedShareDeclined(**named, reason=reason)]
        case "taken", LoseShare() as loss:
            return [ReceivedShareEnded(**named, ended_by=loss.side, reason=reason)]
        case _:
            raise Rejected("that share was answered or has ended already")


def evolve(stage: Stage, event: Event) -> Stage:
    match event:
        case ReceivedShareAccepted():
            return TAKEN
        case ReceivedShareDeclined() | ReceivedShareEnded():
            return OVER
        case _:
            raise Unreadable(f"the history of a received share cannot hold {event.TYPE}")


RECEIVED_SHARE: Final[Decider[Stage, ReceivedCommand]] = Decider(initial=NONE, decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(ReceivedShareAccepted, ReceivedShareDeclined, ReceivedShareEnded)
