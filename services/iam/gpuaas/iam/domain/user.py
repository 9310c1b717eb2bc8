"""A user: a person, known once on the whole platform. One law: a user is in no tenant; bindings say where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import UserRegistered
from gpuaas.iam.domain.names import email, identifier, written


@dataclass(frozen=True, slots=True)
class RegisterUser:
    """`user_id` is given by iam, never chosen by the caller: an id cannot be guessed or taken over."""

    user_id: str
    email: str
    display_name: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such user yet."""


@dataclass(frozen=True, slots=True)
class Known:
    """The user is registered."""

    user_id: str


User = Unknown | Known


def decide(command: RegisterUser, user: User) -> list[Event]:
    match user, command:
        case Unknown(), RegisterUser() as ask:
            return [
                UserRegistered(
                    user_id=identifier(ask.user_id, "user id"),
                    email=email(ask.email),
                    display_name=written(ask.display_name, "display name"),
                )
            ]
        case _:
            raise Rejected(f"user {command.user_id} is registered already")


def evolve(user: User, event: Event) -> User:
    match event:
        case UserRegistered() as registered:
            return Known(user_id=registered.user_id)
        case _:
            raise Unreadable(f"the history of a user cannot hold {event.TYPE}")


USER: Final[Decider[User, RegisterUser]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(UserRegistered)
