"""A user: a person, known once on the whole platform. One law: a user is in no tenant; bindings say where.

What the person is called stands sealed in the log; nothing here depends on it, and nothing here changes when the key to
it is destroyed, except that it is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from gpuaas.common.decider import Decider
from gpuaas.common.errors import NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import PersonalDataErased, UserDeleted, UserRegistered
from gpuaas.iam.domain.names import REASON_MAX, email, identifier, named, written


@dataclass(frozen=True, slots=True)
class RegisterUser:
    """`user_id` is given by iam, never chosen by the caller: an id cannot be guessed or taken over."""

    user_id: str
    email: str
    display_name: str


@dataclass(frozen=True, slots=True)
class RecordErasure:
    """The key to the person's data is destroyed; `had_key`: there was one."""

    user_id: str
    erasure_id: str
    sealed_by: str
    had_key: bool


@dataclass(frozen=True, slots=True)
class DeleteUser:
    """Refuse the person for good. `by_themselves`: it is the person who asks."""

    user_id: str
    reason: str
    by_themselves: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such user yet."""


@dataclass(frozen=True, slots=True)
class Known:
    """The user is registered."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """The person is refused for good; what is sealed about them may still be erased."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Erased:
    """The person has been forgotten; the id stays and names nobody."""

    user_id: str
    erasure_id: str


User = Unknown | Known | Deleted | Erased
UserCommand: TypeAlias = RegisterUser | DeleteUser | RecordErasure


def decide(command: UserCommand, user: User) -> list[Event]:
    match user, command:
        case Unknown(), RegisterUser() as ask:
            return [
                UserRegistered(
                    user_id=identifier(ask.user_id, "user id"),
                    email=email(ask.email),
                    display_name=named(ask.display_name, "display name"),
                )
            ]
        case Known(), DeleteUser(by_themselves=True):
            raise Rejected("nobody deletes themselves: have somebody else do it")
        case Known() as known, DeleteUser() as order:
            return [UserDeleted(user_id=known.user_id, reason=written(order.reason, "reason", REASON_MAX))]
        case Known() | Unknown() | Deleted(), RecordErasure() as erasure:
            return [
                PersonalDataErased(
                    user_id=identifier(erasure.user_id, "user id"),
                    erasure_id=erasure.erasure_id,
                    sealed_by=erasure.sealed_by,
                    had_key=erasure.had_key,
                )
            ]
        case Erased(), RecordErasure():
            return []
        case ((Unknown() | Deleted()), DeleteUser()):
            raise NotFound("there is no such person, or none that you may see")
        case Erased(), _:
            raise Rejected(f"user {command.user_id} was erased; register the person under a new id")
        case _:
            raise Rejected(f"user {command.user_id} is registered already")


def evolve(user: User, event: Event) -> User:
    match event:
        case UserRegistered() as registered:
            return Known(user_id=registered.user_id)
        case UserDeleted() as deleted:
            return Deleted(user_id=deleted.user_id)
        case PersonalDataErased() as erased:
            return Erased(user_id=erased.user_id, erasure_id=erased.erasure_id)
        case _:
            raise Unreadable(f"the history of a user cannot hold {event.TYPE}")


USER: Final[Decider[User, UserCommand]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(UserRegistered, UserDeleted, PersonalDataErased)
