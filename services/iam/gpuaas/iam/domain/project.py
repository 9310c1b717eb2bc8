"""A project: where a tenant's people work. One law: it belongs to one tenant, for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import ProjectCreated
from gpuaas.iam.domain.names import identifier, named


@dataclass(frozen=True, slots=True)
class CreateProject:
    """`project_id` is unique inside its tenant."""

    tenant_id: str
    project_id: str
    display_name: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such project yet."""


@dataclass(frozen=True, slots=True)
class Open:
    """The project exists."""

    tenant_id: str
    project_id: str


Project = Unknown | Open


def decide(command: CreateProject, project: Project) -> list[Event]:
    match project, command:
        case Unknown(), CreateProject() as ask:
            return [
                ProjectCreated(
                    tenant_id=ask.tenant_id,
                    project_id=identifier(ask.project_id, "project id"),
                    display_name=named(ask.display_name, "display name"),
                )
            ]
        case _:
            raise Rejected(f"tenant {command.tenant_id} has a project {command.project_id} already")


def evolve(project: Project, event: Event) -> Project:
    match event:
        case ProjectCreated() as created:
            return Open(tenant_id=created.tenant_id, project_id=created.project_id)
        case _:
            raise Unreadable(f"the history of a project cannot hold {event.TYPE}")


PROJECT: Final[Decider[Project, CreateProject]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(ProjectCreated)
