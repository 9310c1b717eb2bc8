"""A session: a person who signed in, until it ends. One law: what has ended never goes on, and nobody ends another's.

Times are real time. Which refresh token is the newest is not in the log: a session only begins and ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import SessionEnded, SessionStarted
from gpuaas.iam.domain.names import LABEL_MAX, REASON_MAX, identifier, written

LIFE_MAX: Final = timedelta(days=7)
Method = Literal["password", "device", "provider"]
End = Literal["signed-out", "revoked", "refresh-token-reused", "password-set"]


@dataclass(frozen=True, slots=True)
class StartSession:
    """The person has shown who they are. `approved_in`: the session in which they approved a device."""

    session_id: str
    user_id: str
    method: Method
    client: str
    started_at: datetime
    expires_at: datetime
    approved_in: str | None = None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class EndSession:
    """Refuse everything of that person's session from now on."""

    user_id: str
    cause: End
    reason: str | None = None


SessionCommand = StartSession | EndSession


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such session yet."""


@dataclass(frozen=True, slots=True)
class Open:
    """It goes on until it expires."""

    session_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over."""

    session_id: str
    user_id: str


Session = Unknown | Open | Ended


def decide(command: SessionCommand, session: Session) -> list[Event]:
    match session, command:
        case Unknown(), StartSession() as ask:
            return [_started(ask)]
        case Open() as live, EndSession() as order if live.user_id == order.user_id:
            why = None if order.reason is None else written(order.reason, "reason", REASON_MAX)
            return [SessionEnded(session_id=live.session_id, user_id=live.user_id, cause=order.cause, reason=why)]
        case Ended() as over, EndSession() as order if over.user_id == order.user_id:
            return []
        case _, EndSession():
            raise NotFound("there is no such session, or none that you may see")
        case _:
            raise Rejected("a session with that id was started before; sign in again")


def _started(ask: StartSession) -> SessionStarted:
    if not ask.started_at < ask.expires_at <= ask.started_at + LIFE_MAX:
        raise Invalid(f"a session ends within {LIFE_MAX.days} days and not before it begins", field="expires_at")
    return SessionStarted(
        session_id=identifier(ask.session_id, "session id"),
        user_id=ask.user_id,
        method=ask.method,
        client=written(ask.client, "client", LABEL_MAX),
        approved_in=ask.approved_in,
        provider=ask.provider,
        started_at=ask.started_at,
        expires_at=ask.expires_at,
    )


def evolve(session: Session, event: Event) -> Session:
    match session, event:
        case Unknown(), SessionStarted() as started:
            return Open(session_id=started.session_id, user_id=started.user_id)
        case Open() as live, SessionEnded():
            return Ended(session_id=live.session_id, user_id=live.user_id)
        case _:
            raise Unreadable(f"the history of a session cannot hold {event.TYPE} here")


SESSION: Final[Decider[Session, SessionCommand]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(SessionStarted, SessionEnded)
