"""Who am I, and why may I not. One law: a decision is explained to whom it concerns, and to who may read bindings."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from gpuaas.common.access import Access, Decision, Principal, Scope
from gpuaas.common.errors import Invalid, NotFound
from gpuaas.common.http import Body
from gpuaas.common.narrowing import Credential, Narrowing
from gpuaas.common.scopes import Holder
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.asking import SignedIn
from pydantic import Field


class Question(Body):
    """May a principal (default: you) do something somewhere?"""

    permission: str = Field(description="`service.resource.verb`", max_length=128)
    tenant_id: str | None = Field(default=None, max_length=63)
    project_id: str | None = Field(default=None, max_length=63)
    principal_kind: Literal["user", "service-account"] | None = None
    principal_id: str | None = Field(default=None, max_length=63)


class Rights:
    """Routes about rights held."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add = router.add_api_route
        add("/v1/me", self.me, methods=["GET"], summary="Who you are and what you hold.")
        add("/v1/check", self.check, methods=["POST"], summary="Whether somebody may do something, and why.")

    async def me(self, who: SignedIn) -> dict[str, Any]:
        now, rights = self._parts.clock.now(), self._parts.access.rights
        held = [grant for grant in rights.grants_of(who.holder) if grant.in_force(now)]
        return {
            "principal": {"kind": who.kind, "id": who.id, "tenant_id": who.tenant_id},
            "key_id": who.key_id or None,
            "session_id": who.session_id or None,
            "narrowed_by": [layer_told(each) for each in who.narrowings],
            "acting": acting_told(who.credential),
            "token_expires_at": who.expires_at,
            "bindings": [
                {
                    "binding_id": grant.binding_id,
                    "role": grant.role,
                    "scope": _scope(grant.scope),
                    "valid_until": grant.valid_until,
                    "shared_with": grant.receiver,
                    "on_condition": None if grant.condition is None else grant.condition.said,
                    "unmet": grant.unmet(now, who.about),
                    "permissions": list(rights.roles[grant.role].permissions),
                }
                for grant in held
            ],
            "position": self._parts.access.position,
        }

    async def check(self, question: Question, who: SignedIn) -> dict[str, Any]:
        try:
            scope = Scope(question.tenant_id, question.project_id)
            subject = self._subject(question, who, scope)
            decision = self._parts.access.check(subject, question.permission, scope, self._parts.clock.now())
        except ValueError as refused:
            raise Invalid(str(refused)) from refused
        return _told(decision, subject)

    def _subject(self, question: Question, who: Principal, scope: Scope) -> Principal:
        """Whom the question is about. Raises what the asker may not know."""
        if question.principal_id is None or question.principal_kind is None:
            return who
        holder = (question.principal_kind, question.principal_id)
        if holder == who.holder:
            return who
        now, access = self._parts.clock.now(), self._parts.access
        access.check(who, "iam.binding.read", scope, now).enforce()
        home = access.rights.home_of(holder)
        if home is None or not shows(access, who, holder, home, scope, now):
            raise NotFound("there is no such principal, or none that you may see")
        return Principal(
            id=question.principal_id,
            kind=question.principal_kind,
            tenant_id=home,
            key_id="",
            session_id="",
            token_id="",
            expires_at=now,
        )


def shows(access: Access, who: Principal, holder: Holder, home: str, scope: Scope, now: datetime) -> bool:
    """Whether somebody who reads the bindings of `scope` meets that principal there."""
    if home == scope.tenant_id or access.check(who, "iam.binding.read", Scope(), now).allowed:
        return True
    return any(scope.covers(grant.scope) for grant in access.rights.grants_of(holder))


def _told(decision: Decision, subject: Principal) -> dict[str, Any]:
    return {
        "allowed": decision.allowed,
        "decision_id": decision.decision_id,
        "principal": {"kind": subject.kind, "id": subject.id},
        "permission": decision.permission,
        "scope": _scope(decision.scope),
        "reason": decision.reason,
        "sufficient_roles": list(decision.sufficient_roles),
        "stale": decision.stale,
        "position": decision.position,
    }


def layer_told(layer: Narrowing) -> dict[str, Any]:
    """One layer of what a credential may less than its principal."""
    return {"by": layer.by, "permissions": list(layer.permissions), "scope": _scope(layer.scope)}


def acting_told(credential: Credential | None) -> list[dict[str, str]]:
    """Who acts with somebody else's right, the one who asks first."""
    return [] if credential is None else [{"kind": kind, "id": name} for kind, name in credential.actors]


def _scope(scope: Scope) -> dict[str, str | None]:
    return {"tenant_id": scope.tenant_id, "project_id": scope.project_id}
