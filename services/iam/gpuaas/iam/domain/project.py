"""A project: where a tenant's people work. One law: it belongs to one tenant, for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import ProjectClosed, ProjectCreated
from gpuaas.iam.domain.names import REASON_MAX, identifier, named, written


@dataclass(frozen=True, slots=True)
class CreateProject:
    """`project_id` is unique inside its tenant."""

    tenant_id: str
    project_id: str
    display_name: str


@dataclass(frozen=True, slots=True)
class CloseProject:
    """End it for good."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such project yet."""


@dataclass(frozen=True, slots=True)
class Open:
    """The project exists."""

    tenant_id: str
    project_id: str


@dataclass(frozen=True, slots=True)
class Closed:
    """It was; its id is never used again in its tenant."""


Project = Unknown | Open | Closed
ProjectCommand = CreateProject | CloseProject


def decide(command: ProjectCommand, project: Project) -> list[Event]:
    match project, command:
        case Unknown(), CreateProject() as ask:
            return [
                ProjectCreated(
                    tenant_id=ask.tenant_id,
                    project_id=identifier(ask.project_id, "project id"),
                    display_name=named(ask.display_name, "display name"),
                )
            ]
        case Open() as standing, CloseProject() as order:
            reason = written(order.reason, "reason", REASON_MAX)
            return [ProjectClosed(tenant_id=standing.tenant_id, project_id=standing.project_id, reason=reason)]
        case Closed(), CloseProject():
            raise Rejected("that project was closed already")
        case Unknown(), CloseProject():
            raise NotFound("there is no such project, or none that you may see")
        case _, CreateProject() as ask:
            raise Rejected(f"tenant {ask.tenant_id} has, or had, a project {ask.project_id}; choose another id")
        case _:
            raise Rejected(f"a project that is {type(project).__name__.lower()} cannot be that")


def evolve(project: Project, event: Event) -> Project:
    match event:
        case ProjectCreated() as created:
            return Open(tenant_id=created.tenant_id, project_id=created.project_id)
        case ProjectClosed():
            return Closed()
        case _:
            raise Unreadable(f"the history of a project cannot hold {event.TYPE}")


PROJECT: Final[Decider[Project, ProjectCommand]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(ProjectCreated, ProjectClosed)
