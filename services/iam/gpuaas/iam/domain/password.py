"""That a person's password was set, and how a new one may be. One law: neither password nor digest is in the log.

Whoever hands out a code can sign in as that person, so it takes whoever holds as much. Times are real time.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Forbidden, Invalid, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import PasswordCodeIssued, PasswordSet

CODE_LIFE: Final = timedelta(hours=24)
PASSWORD_MIN: Final = 12
PASSWORD_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class IssueCode:
    """`beyond_issuer`: permissions that the person holds somewhere and the issuer does not hold there."""

    user_id: str
    asked_at: datetime
    beyond_issuer: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetPassword:
    """The person chose a password."""

    user_id: str


PasswordCommand = IssueCode | SetPassword


def decide(command: PasswordCommand, said: int) -> list[Event]:
    match command:
        case IssueCode(beyond_issuer=(_, *_) as missing):
            raise Forbidden(
                "you cannot let somebody in as a person who may do more than you; ask somebody who holds as much",
                missing_permissions=list(missing),
            )
        case IssueCode() as ask:
            return [PasswordCodeIssued(user_id=ask.user_id, expires_at=ask.asked_at + CODE_LIFE)]
        case SetPassword() as order:
            return [PasswordSet(user_id=order.user_id)]


def evolve(said: int, event: Event) -> int:
    if not isinstance(event, PasswordCodeIssued | PasswordSet):
        raise Unreadable(f"the history of a password cannot hold {event.TYPE}")
    return said + 1


def chosen(password: str, email: str) -> str:
    """`password` as it is hashed (NFKC, so that two keyboards write the same).

    Raises:
        Invalid: too short or too long, of one character, or the person's own address.
    """
    kept = unicodedata.normalize("NFKC", password)
    if not PASSWORD_MIN <= len(kept) <= PASSWORD_MAX:
        raise Invalid(f"a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters; choose another", field="password")
    plain = kept.casefold()
    if len(set(plain)) < 5 or plain in (email.casefold(), email.casefold().partition("@")[0]):
        raise Invalid("that password is among the first that would be tried; choose another", field="password")
    return kept


PASSWORD: Final[Decider[int, PasswordCommand]] = Decider(initial=0, decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(PasswordCodeIssued, PasswordSet)
