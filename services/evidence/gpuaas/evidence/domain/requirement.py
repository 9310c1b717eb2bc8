"""A requirement: what must be shown before a gate opens. One law: a version never changes; a change is the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.evidence import Profile, ReadbackLevel, RequirementKind, RequirementPublished, Strength
from gpuaas.evidence.domain.predicate import read_predicate
from gpuaas.evidence.domain.records import UNSIGNED

VERSIONS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class PublishRequirement:
    """Publish this as the newest version.

    Attributes:
        max_age_s: how old a readback may be, in seconds.
        covers: what a claim's scope must contain.
        strengths: what differs in single profiles.
        version: the one it will be; None lets the requirement count.
    """

    requirement_id: str
    kind: RequirementKind
    title: str
    predicate: str
    minimum_readback: ReadbackLevel
    max_age_s: int
    profiles: tuple[Profile, ...]
    covers: tuple[str, ...] = ()
    waivable: bool = True
    strengths: tuple[Strength, ...] = ()
    version: int | None = None
    statement_sha256: str = UNSIGNED


@dataclass(frozen=True, slots=True)
class Unpublished:
    """Nobody has asked for this yet."""


@dataclass(frozen=True, slots=True)
class Published:
    """In force: its newest version."""

    newest: RequirementPublished


Requirement = Unpublished | Published


def decide(command: PublishRequirement, requirement: Requirement) -> Sequence[Event]:
    _demand_sound(command)
    following = next_version(command, requirement)
    match requirement:
        case Published(newest=newest) if same_words(published(command, newest.version), newest):
            return []
        case Published(newest=newest) if newest.kind != command.kind:
            raise Rejected(
                f"{newest.requirement_id} is a {newest.kind} requirement in every version; "
                f"publish the {command.kind} one under another id"
            )
        case _ if following > VERSIONS_MAX:
            raise Rejected(f"a requirement has at most {VERSIONS_MAX} versions; publish it under another id")
        case _ if command.version not in (None, following):
            raise Rejected("another version was published meanwhile; look at it and publish again")
        case _:
            return [published(command, following)]


def next_version(command: PublishRequirement, requirement: Requirement) -> int:
    """The version that `command` would be; the newest one again when it says the same."""
    match requirement:
        case Published(newest=newest) if same_words(published(command, newest.version), newest):
            return newest.version
        case Published(newest=newest):
            return newest.version + 1
        case Unpublished():
            return 1


def same_words(one: RequirementPublished, other: RequirementPublished) -> bool:
    """Whether both ask for the same; who signed it does not matter."""
    return one.model_copy(update={"statement_sha256": None}) == other.model_copy(update={"statement_sha256": None})


def _demand_sound(command: PublishRequirement) -> None:
    read_predicate(command.predicate)
    named = [strength.profile for strength in command.strengths]
    if len(set(named)) != len(named) or not set(named) <= set(command.profiles):
        raise Invalid("strengths name profiles of the requirement, each once")
    for strength in command.strengths:
        if strength.predicate is not None:
            read_predicate(strength.predicate)


def evolve(requirement: Requirement, event: Event) -> Requirement:
    match event:
        case RequirementPublished() as published:
            return Published(newest=published)
        case _:
            raise AssertionError(f"{event.TYPE} is not part of a requirement's history")


def published(command: PublishRequirement, version: int) -> RequirementPublished:
    """What `command` will say as this version."""
    return RequirementPublished(
        requirement_id=command.requirement_id,
        version=version,
        kind=command.kind,
        title=command.title,
        predicate=command.predicate,
        minimum_readback=command.minimum_readback,
        max_age_s=command.max_age_s,
        # Order carries no meaning, so the same set is the same version.
        profiles=tuple(sorted(command.profiles)),
        covers=tuple(sorted(command.covers)) or None,
        waivable=None if command.waivable else False,
        strengths=tuple(sorted(command.strengths, key=lambda one: one.profile)) or None,
        statement_sha256=command.statement_sha256,
    )


DECIDER: Final[Decider[Requirement, PublishRequirement]] = Decider(initial=Unpublished(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(RequirementPublished)
