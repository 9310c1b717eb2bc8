"""A requirement: what must be shown before a gate opens. One law: a version never changes; a change is the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Rejected
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.evidence import Profile, ReadbackLevel, RequirementKind, RequirementPublished
from gpuaas.evidence.domain.predicate import read_predicate

VERSIONS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class PublishRequirement:
    """Publish this as the newest version. `max_age_s`: how old a readback may be, in seconds."""

    requirement_id: str
    kind: RequirementKind
    title: str
    predicate: str
    minimum_readback: ReadbackLevel
    max_age_s: int
    profiles: tuple[Profile, ...]


@dataclass(frozen=True, slots=True)
class Unpublished:
    """Nobody has asked for this yet."""


@dataclass(frozen=True, slots=True)
class Published:
    """In force: its newest version."""

    newest: RequirementPublished


Requirement = Unpublished | Published


def decide(command: PublishRequirement, requirement: Requirement) -> Sequence[Event]:
    read_predicate(command.predicate)
    match requirement:
        case Unpublished():
            return [_version(command, 1)]
        case Published(newest=newest) if _version(command, newest.version) == newest:
            return []
        case Published(newest=newest) if newest.kind != command.kind:
            raise Rejected(
                f"{newest.requirement_id} is a {newest.kind} requirement in every version; "
                f"publish the {command.kind} one under another id"
            )
        case Published(newest=newest) if newest.version >= VERSIONS_MAX:
            raise Rejected(f"a requirement has at most {VERSIONS_MAX} versions; publish it under another id")
        case Published(newest=newest):
            return [_version(command, newest.version + 1)]


def evolve(requirement: Requirement, event: Event) -> Requirement:
    match event:
        case RequirementPublished() as published:
            return Published(newest=published)
        case _:
            raise AssertionError(f"{event.TYPE} is not part of a requirement's history")


def _version(command: PublishRequirement, version: int) -> RequirementPublished:
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
    )


DECIDER: Final[Decider[Requirement, PublishRequirement]] = Decider(initial=Unpublished(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(RequirementPublished)
