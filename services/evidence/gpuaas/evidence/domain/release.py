"""A release: the digests of everything that is shipped. One law: other bytes are another release."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.evidence import Component, ReleaseRegistered
from gpuaas.evidence.domain.records import UNSIGNED
from gpuaas.evidence.domain.strict_json import write_json

ID_DIGITS: Final = 40


@dataclass(frozen=True, slots=True)
class RegisterRelease:
    """Name it by its parts. `statement_sha256`: digest of the stored, signed statement that says the same."""

    name: str
    commit: str | None
    components: tuple[Component, ...]
    registered_at: datetime
    statement_sha256: str = UNSIGNED


@dataclass(frozen=True, slots=True)
class Unregistered:
    """Nobody has named it."""


@dataclass(frozen=True, slots=True)
class Registered:
    """Named."""

    said: ReleaseRegistered


Release = Unregistered | Registered


def root_of(components: Sequence[Component]) -> str:
    """The root digest: SHA-256 of `[[name, kind, sha256, size_bytes], …]` sorted by name, as JSON without spaces."""
    listed = [[one.name, one.kind, one.sha256, one.size_bytes] for one in sorted(components, key=lambda one: one.name)]
    return hashlib.sha256(write_json(listed)).hexdigest()


def id_of(root_sha256: str) -> str:
    """The id under which a release is kept: the first digits of its root digest."""
    return root_sha256[:ID_DIGITS]


def registered(command: RegisterRelease) -> ReleaseRegistered:
    """What `command` will say.

    Raises:
        Invalid: no component, or two of one name.
    """
    names = [one.name for one in command.components]
    if not names or len(set(names)) != len(names):
        raise Invalid("a release names each of its components once, and at least one")
    root = root_of(command.components)
    return ReleaseRegistered(
        release_id=id_of(root),
        root_sha256=root,
        name=command.name,
        commit=command.commit,
        # One order, so that the same parts are the same statement.
        components=tuple(sorted(command.components, key=lambda one: one.name)),
        registered_at=command.registered_at,
        statement_sha256=command.statement_sha256,
    )


def decide(command: RegisterRelease, release: Release) -> Sequence[Event]:
    event = registered(command)
    match release:
        case Unregistered():
            return [event]
        case Registered(said=said) if (said.root_sha256, said.name) == (event.root_sha256, event.name):
            return []
        case Registered(said=said):
            raise Rejected(f"these components are registered as {said.name!r} already; a release has one name")


def evolve(_release: Release, event: Event) -> Release:
    match event:
        case ReleaseRegistered() as said:
            return Registered(said=said)
        case _:
            raise AssertionError(f"{event.TYPE} is not part of a release's history")


DECIDER: Final[Decider[Release, RegisterRelease]] = Decider(initial=Unregistered(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(ReleaseRegistered)
