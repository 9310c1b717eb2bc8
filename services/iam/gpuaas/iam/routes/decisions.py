"""A decision, explained afterwards. One law: answered again on the rights it was taken on, to whom it concerns.

The id of a decision holds its question, so nothing is kept per decision and nobody can fill anything with denials. Who
made one up asks about themselves, as they may anyway, or needs to read bindings there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from gpuaas.common.access import Access, Decision, Principal, Scope
from gpuaas.common.conditions import Circumstances
from gpuaas.common.decisions import CAUSES, ID_CHARACTERS_MAX, NOT_BELIEVED_PREFIX, Asked, NotBelieved
from gpuaas.common.errors import Invalid, NotFound
from gpuaas.common.explaining import explain, who_can
from gpuaas.common.tokens import kind_of
from gpuaas.iam.attempts import Attempts
from gpuaas.iam.domain.permissions import beyond, checked
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.as_of import AsOf
from gpuaas.iam.routes.asking import SignedIn
from gpuaas.iam.routes.rights import acting_told, layer_told, shows
from gpuaas.iam.routes.sessions import TooManyAttempts

NONE: Final = "there is no such decision, or none that you may see"
GRANT: Final = "iam.binding.create"
RULED: Final = "nothing that one may hold: the thing itself has a rule against it, which the refusal named"
GRANTERS_MAX: Final = 20
PER_PERSON: Final = (20, 3.0)
"""Explained at once for one principal, and the seconds after which there is one more: each may fold the log."""
DecisionId = Annotated[str, Path(description="From a problem document.", max_length=ID_CHARACTERS_MAX)]


class Decisions:
    """The route of decisions."""

    def __init__(self, parts: Parts, as_of: AsOf) -> None:
        self._parts = parts
        self._as_of = as_of
        self._by_person = Attempts(*PER_PERSON)

    def open(self, router: APIRouter) -> None:
        """Add the route."""
        path = "/v1/decisions/{decision_id}"
        router.add_api_route(path, self.decision, methods=["GET"], summary="Why it was decided so, and what would do.")

    async def decision(self, decision_id: DecisionId, who: SignedIn) -> dict[str, Any]:
        if decision_id.startswith(NOT_BELIEVED_PREFIX):
            return self._not_believed(decision_id)
        asked = self._asked(decision_id, who)
        if wait_s := self._by_person.take(f"{who.kind}/{who.id}"):
            raise TooManyAttempts("too many decisions asked about; wait", retry_after_s=max(1, round(wait_s)))
        access = self._parts.access
        if asked.position != access.position:
            access, _ = await self._as_of.at(asked.position)
        layers, credential = access.credentials.narrowings(asked.credential), asked.credential
        subject = replace(
            who, id=asked.holder[1], kind=kind_of(asked.holder[0]), narrowings=layers, credential=credential
        )
        # Where from it was asked stands in no decision: it says itself which conditions were not met.
        then = replace(subject, about=Circumstances(judged=not asked.unmet))
        again = replace(access.check(then, asked.permission, asked.scope, asked.at), asked=asked)
        subject = subject if asked.holder == who.holder else replace(subject, about=Circumstances())
        now = self._parts.access.check(subject, asked.permission, asked.scope, self._parts.clock.now())
        return {
            "decision_id": decision_id,
            "principal": {"kind": asked.holder[0], "id": asked.holder[1]},
            "acting": acting_told(credential),
            "narrowed_by": [layer_told(each) for each in layers],
            "permission": asked.permission,
            "scope": {"tenant_id": asked.scope.tenant_id, "project_id": asked.scope.project_id},
            "asked_at": asked.at,
            "position": asked.position,
            "allowed": again.allowed and asked.beyond is None,
            "reason": _why(again),
            "suffices": _suffices(again),
            "sufficient_roles": list(again.sufficient_roles),
            "beyond": [self._beyond(access, asked, glob) for glob in asked.beyond or ()],
            "reasons": self._reasons(access, again, who),
            "who_may_grant": self._granters(again, who),
            "allowed_now": now.allowed if asked.beyond is None else None,
        }

    def _not_believed(self, decision_id: str) -> dict[str, Any]:
        """Anybody may hear it: it says nothing about who it may have been."""
        try:
            told = NotBelieved.read(decision_id)
        except (ValueError, RecursionError):
            raise NotFound(NONE) from None
        return {
            "decision_id": decision_id,
            "principal": None,
            "acting": [],
            "narrowed_by": [],
            "permission": None,
            "scope": None,
            "asked_at": told.at,
            "position": told.position,
            "allowed": False,
            "reason": f"who asked was not believed: {told.cause}",
            "suffices": CAUSES[told.cause],
            "sufficient_roles": [],
            "beyond": [],
            "reasons": [],
            "who_may_grant": [],
            "allowed_now": None,
        }

    def _beyond(self, access: Access, asked: Asked, glob: str) -> dict[str, Any]:
        """One permission that was to be handed on, and which of what is held comes near it."""
        held = access.rights.held(asked.holder, asked.scope, asked.at)
        withheld = access.rights.withheld(asked.holder, asked.scope, asked.at)
        lacking = bool(beyond(held, [glob], withheld))
        known = access.rights.roles_in(asked.scope.tenant_id)
        roles = sorted(name for name, role in known if not beyond(role.permissions, [glob]))
        return {"permission": glob, "held_in_scope": not lacking, "sufficient_roles": roles}

    def _asked(self, decision_id: str, who: Principal) -> Asked:
        """The question, if who asks may hear the answer. Raises NotFound: it is none, or about somebody else."""
        access, now = self._parts.access, self._parts.clock.now()
        try:
            asked = Asked.read(decision_id)
            access.check(who, asked.permission, asked.scope, now)  # raises ValueError: it is no permission
            if asked.beyond:
                checked(asked.beyond)
        except (ValueError, RecursionError, Invalid):
            raise NotFound(NONE) from None
        if asked.position > access.position or asked.at > now:
            raise NotFound(NONE)
        if asked.holder != who.holder:
            home = access.rights.home_of(asked.holder)
            reads = access.check(who, "iam.binding.read", asked.scope, now).allowed
            if not reads or home is None or not shows(access, who, asked.holder, home, asked.scope, now):
                raise NotFound(NONE)
        return asked

    def _reasons(self, access: Access, again: Decision, who: Principal) -> list[dict[str, Any]]:
        """All that bore on it; what stands above what who asks reads is there without its name."""
        if again.hidden:
            return []
        asked = again.asked
        told = []
        then = Circumstances(judged=not asked.unmet)
        for each in explain(access.rights, asked.holder, asked.permission, asked.scope, asked.at, then):
            own = asked.holder == who.holder and each.holder == who.holder
            open_to = own or each.kind == "suspension" or self._reads(who, each.scope)
            named = {"id": each.id, "role": each.role, "scope": str(each.scope)} if open_to else {}
            told.append({"kind": each.kind, "counts": each.counts, "why": each.why if open_to else "above you"} | named)
        return told

    def _granters(self, again: Decision, who: Principal) -> list[dict[str, str]]:
        """Some who may bind a role there, today; told to who reads bindings there, for names are not everybody's."""
        if again.allowed or again.hidden or not self._reads(who, again.scope):
            return []
        now = self._parts.clock.now()
        found = who_can(self._parts.access.rights, GRANT, again.scope, now)
        return [{"kind": kind, "id": name} for kind, name in sorted(found)[:GRANTERS_MAX]]

    def _reads(self, who: Principal, scope: Scope) -> bool:
        return self._parts.access.check(who, "iam.binding.read", scope, self._parts.clock.now()).allowed


def _why(again: Decision) -> str:
    match again.asked.beyond:
        case None:
            return again.reason
        case ():
            return f"{again.permission} is held, and a rule of the thing itself was against it"
        case globs:
            return f"{again.permission} is held; what would be handed on is not: {', '.join(globs)}"


def _suffices(again: Decision) -> str | None:
    """What would have let it through, in words."""
    asked = again.asked
    if again.allowed:
        return None if asked.beyond is None else "somebody who holds it all themselves" if asked.beyond else RULED
    if again.hidden:
        return "a name that exists, and a binding there or above; whoever runs the place gives one"
    if not again.sufficient_roles:
        return again.reason
    return f"{' or '.join(again.sufficient_roles)} in {asked.scope}, or above"
