"""Duties that are kept apart. One law: a rule counts where it was made and below, whoever made the bindings."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.http import Accepted, Body, Caller, Page, permit
from gpuaas.iam.domain.duty_rule import JoinDuties, SeparateDuties
from gpuaas.iam.entities import DUTY_RULE
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.asking import LEVELS, Paged
from gpuaas.iam.routes.limits import Globs
from pydantic import Field

RuleId = Annotated[str, Path(description="The rule's id.", max_length=63)]


class NewDutyRule(Body):
    """Two duties that nobody may hold together, in the scope that the path says."""

    one: Globs
    other: Globs
    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class EndOfRule(Body):
    """Why a rule ends."""

    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class Duties:
    """Routes of rules on duties (platform and tenant)."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add = router.add_api_route
        for prefix, level in LEVELS[:2]:
            path, at = f"{prefix}/duty-rules", [Depends(level)]
            end = path + "/{rule_id}/end"
            add(path, self.separate, methods=["POST"], status_code=201, dependencies=at, summary="Keep duties apart.")
            add(path, self.rules, methods=["GET"], dependencies=at, summary="Duties that are kept apart here.")
            add(end, self.join, methods=["POST"], dependencies=at, summary="Keep them apart no longer.")

    async def separate(
        self, body: NewDutyRule, caller: Annotated[Caller, Depends(permit("iam.duty-rule.place"))]
    ) -> Accepted:
        rule_id, tenant_id = caller.derived_id("duty-rule"), caller.scope.tenant_id
        command = SeparateDuties(rule_id, tenant_id, tuple(body.one), tuple(body.other), body.reason)
        outcome = await self._parts.commands.execute(
            DUTY_RULE, tenant_id or PLATFORM, rule_id, command, caller.cause(), fresh=True
        )
        return await self._parts.settled(caller, outcome, rule_id)

    async def join(
        self, rule_id: RuleId, body: EndOfRule, caller: Annotated[Caller, Depends(permit("iam.duty-rule.end"))]
    ) -> Accepted:
        home, command = caller.scope.tenant_id or PLATFORM, JoinDuties(body.reason)
        outcome = await self._parts.commands.execute(DUTY_RULE, home, rule_id, command, caller.cause())
        return await self._parts.settled(caller, outcome, rule_id)

    async def rules(self, caller: Annotated[Caller, Depends(permit("iam.duty-rule.read"))], page: Paged) -> Page:
        after, known = page.key(str) or "", self._parts.access.rights.duties.rules
        rows: list[dict[str, Any]] = [
            {
                "rule_id": each.rule_id,
                "tenant_id": each.scope.tenant_id,
                "one": list(each.one.permissions),
                "other": list(each.other.permissions),
            }
            for each in sorted(known.values(), key=lambda rule: rule.rule_id)
            if each.scope == caller.scope and each.rule_id > after
        ]
        return page.page(rows[: page.limit + 1], ["rule_id"])
