"""Requirements. One law: what must be shown is said before it is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound
from gpuaas.common.http import Accepted, Body, Caller, Page, fresh, permit
from gpuaas.common.wire import Unique
from gpuaas.contracts.evidence import Label, Profile, ReadbackLevel, RequirementKind, Strength
from gpuaas.evidence.domain import requirement
from gpuaas.evidence.entities import REQUIREMENT
from gpuaas.evidence.projections import requirements
from gpuaas.evidence.routes.desk import Desk, Id, Pages, accepted
from pydantic import ConfigDict, Field

VERSIONS_SHOWN_MAX: Final = 100
Item = Annotated[str, Field(min_length=1, max_length=256)]


class ProfileStrength(Strength):
    """What differs in one profile; absent fields are as the requirement says in general."""

    model_config = ConfigDict(extra="forbid")


class NewRequirement(Body):
    """A requirement's newest version. `predicate`: CEL over a claim's facts, such as `failed == 0 && tests > 0`."""

    requirement_id: Label
    kind: RequirementKind
    title: Annotated[str, Field(min_length=1, max_length=200)]
    predicate: Annotated[str, Field(min_length=1, max_length=4_096)]
    minimum_readback: ReadbackLevel
    max_age_s: Annotated[int, Field(strict=True, ge=1, le=31_622_400)]
    profiles: Annotated[tuple[Profile, ...], Field(min_length=1, max_length=5), Unique]
    covers: Annotated[
        tuple[Item, ...], Field(max_length=256, description="What a claim's scope must contain."), Unique
    ] = ()
    waivable: Annotated[bool, Field(description="Whether two people may waive it.")] = True
    strengths: Annotated[tuple[ProfileStrength, ...], Field(max_length=5)] = ()


class RequirementAccepted(Accepted):
    """`version`: the one that this request published, or that already said the same."""

    version: int


def open_requirements(routes: APIRouter, desk: Desk) -> None:
    """Add the routes."""
    view = desk.views.requirements
    seen = [Depends(fresh(view))]

    @routes.post("/requirements", status_code=201, summary="Publish a requirement, or its next version.")
    async def publish_requirement(
        body: NewRequirement, caller: Annotated[Caller, Depends(permit("evidence.requirement.publish"))]
    ) -> RequirementAccepted:
        order = requirement.PublishRequirement(**{name: getattr(body, name) for name in NewRequirement.model_fields})
        state, _ = await desk.commands.state(REQUIREMENT, PLATFORM, body.requirement_id)
        version = requirement.next_version(order, state)
        statement = await desk.notary.attest(requirement.published(order, version))
        order = replace(order, version=version, statement_sha256=statement)
        done = await desk.commands.execute(REQUIREMENT, PLATFORM, body.requirement_id, order, caller.cause())
        newest = requirement.DECIDER.fold(done.events, done.state)
        said = newest.newest.version if isinstance(newest, requirement.Published) else 0
        return RequirementAccepted(**accepted(caller, done, body.requirement_id), version=said)

    @routes.get("/requirements", dependencies=seen, summary="Newest versions, by id.")
    async def list_requirements(
        caller: Annotated[Caller, Depends(permit("evidence.requirement.read"))], page: Pages
    ) -> Page:
        rows = await view.newest(desk.database, limit=page.limit + 1, after_id=page.key(str))
        return page.page([requirements.shown(row) for row in rows], ["requirement_id"])

    @routes.get(
        "/requirements/{requirement_id}", dependencies=seen, summary="The versions of a requirement, newest first."
    )
    async def show_requirement(
        requirement_id: Id, caller: Annotated[Caller, Depends(permit("evidence.requirement.read"))]
    ) -> dict[str, Any]:
        rows = await view.versions(desk.database, requirement_id, limit=VERSIONS_SHOWN_MAX)
        if not rows:
            raise NotFound(f"there is no requirement {requirement_id}; GET /v1/requirements lists those there are")
        return {"requirement_id": requirement_id, "versions": [requirements.shown(row) for row in rows]}
