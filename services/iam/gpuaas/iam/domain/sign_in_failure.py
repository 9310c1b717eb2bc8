"""Sign-ins that failed, counted. One law: what outsiders do grows the log by time, never by how often they try."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import SignInsFailed


@dataclass(frozen=True, slots=True)
class TellFailures:
    """So many attempts on one account (None: on none that exists) were refused since the last time."""

    user_id: str | None
    attempts: int
    limited: int
    first_at: datetime
    last_at: datetime


def decide(command: TellFailures, said: int) -> list[Event]:
    return [
        SignInsFailed(
            user_id=command.user_id,
            attempts=command.attempts,
            limited=command.limited,
            first_at=command.first_at,
            last_at=command.last_at,
        )
    ]


def evolve(said: int, event: Event) -> int:
    if not isinstance(event, SignInsFailed):
        raise Unreadable(f"the history of failed sign-ins cannot hold {event.TYPE}")
    return said + 1


SIGN_IN_FAILURE: Final[Decider[int, TellFailures]] = Decider(initial=0, decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(SignInsFailed)
