"""Invitations by e-mail address. One law: nothing is given before the person of that address says yes, by token."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Response
from gpuaas.common.access import Principal, Scope
from gpuaas.common.commands import Cause, Order
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Invalid, NotFound, Rejected, Unavailable
from gpuaas.common.http import Accepted, Body, Caller, Page, fresh, permit
from gpuaas.common.ids import derived_id, is_name
from gpuaas.common.rights import role_key
from gpuaas.common.scopes import Role
from gpuaas.iam.domain.binding import BindRole
from gpuaas.iam.domain.invitation import (
    NOT_GOOD,
    AcceptInvitation,
    DeclineInvitation,
    Invited,
    SendInvitation,
    Waiting,
    WithdrawInvitation,
    address,
)
from gpuaas.iam.domain.permissions import beyond
from gpuaas.iam.entities import BINDING, INVITATION
from gpuaas.iam.parts import INVITATIONS, PRINCIPALS, Parts
from gpuaas.iam.routes.asking import LEVELS, Paged, SignedIn
from gpuaas.iam.signing_in import SETTLE_S
from pydantic import AwareDatetime, Field

PREFIX: Final = "gpi"
DAYS: Final = 7
InvitationId = Annotated[str, Path(description="The invitation's id.", max_length=63)]


class NewInvitation(Body):
    """A role in the path's scope, for whoever has an e-mail address."""

    email: str = Field(description="The person's address, in ASCII.", max_length=254, examples=["mira@example.com"])
    role: str = Field(description="The role's name; GET /v1/roles lists them.", max_length=63)
    role_tenant_id: str | None = Field(
        default=None, description="For one of the tenant's own roles: the tenant.", max_length=63
    )
    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)
    days: int = Field(default=DAYS, ge=1, le=30, description="For how long it can be accepted.")
    valid_until: AwareDatetime | None = Field(
        default=None, description="When the binding that it makes ends by itself (real time)."
    )


class SentInvitation(Accepted):
    """The token is shown only in this answer, and null where the request was a repeat: hand it to the person."""

    token: str | None
    expires_at: AwareDatetime


class Answer(Body):
    """What the invited person says, signed in themselves."""

    token: str = Field(max_length=300, description="What they were handed.")
    answer: Literal["accept", "decline"]
    reason: str = Field(default="not wanted", description="Why it is declined.", max_length=1_000)


class Withdrawal(Body):
    """Why an invitation is taken back."""

    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class Invitations:
    """Routes of invitations: at a level, and for the invited."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add, seen = router.add_api_route, Depends(fresh(INVITATIONS))
        for prefix, level in LEVELS:
            path, at = f"{prefix}/invitations", Depends(level)
            back = path + "/{invitation_id}/withdraw"
            add(path, self.send, methods=["POST"], status_code=201, dependencies=[at], summary="Invite somebody.")
            add(
                path,
                self.sent,
                methods=["GET"],
                dependencies=[at, seen],
                summary="Who was invited here, and what came.",
            )
            add(back, self.withdraw, methods=["POST"], dependencies=[at], summary="Take an invitation back.")
        add("/v1/invitation-answers", self.answer, methods=["POST"], summary="Accept an invitation, or decline it.")

    async def send(
        self,
        body: NewInvitation,
        caller: Annotated[Caller, Depends(permit("iam.invitation.send"))],
        response: Response,
    ) -> SentInvitation:
        response.headers["Cache-Control"] = "no-store"
        scope, now, rights = caller.scope, self._parts.clock.now(), self._parts.access.rights
        role = self._role(scope, body.role, body.role_tenant_id)
        home, invitation_id = scope.tenant_id or PLATFORM, caller.derived_id("invitation")
        token = f"{PREFIX}_{home}_{invitation_id}_{secrets.token_hex(32)}"
        command = SendInvitation(
            invitation_id=invitation_id,
            email=body.email,
            what=Invited(
                role=body.role,
                role_tenant_id=body.role_tenant_id,
                tenant_id=scope.tenant_id,
                project_id=scope.project_id,
                reason=body.reason,
                binding_valid_until=body.valid_until,
            ),
            invited_by=(caller.principal.kind, caller.principal.id),
            token=token,
            expires_at=now + timedelta(days=body.days),
            role_permissions=role.permissions,
            held=self._parts.access.held(caller.principal, scope, now),
            withheld=rights.withheld(caller.principal.holder, scope, now),
            waiting=await INVITATIONS.waiting(self._parts.database, home, now),
            asked_at=now,
        )
        outcome = await self._parts.commands.execute(
            INVITATION, home, invitation_id, command, caller.cause(), fresh=True
        )
        accepted = caller.accepted(outcome, invitation_id)
        shown = None if outcome.repeated else token
        return SentInvitation(**accepted.model_dump(), token=shown, expires_at=command.expires_at)

    def _role(self, scope: Scope, name: str, role_tenant_id: str | None) -> Role:
        known = self._parts.access.rights.roles.get(role_key(role_tenant_id, name)) if "/" not in name else None
        if known is None or role_tenant_id not in (None, scope.tenant_id):
            raise Rejected(f"there is no role {name!r} here; GET /v1/roles and the tenant's roles list them")
        return known

    async def sent(self, caller: Annotated[Caller, Depends(permit("iam.invitation.read"))], page: Paged) -> Page:
        scope = caller.scope
        rows = await INVITATIONS.sent(
            self._parts.database,
            self._parts.seals,
            scope.tenant_id or PLATFORM,
            scope.project_id,
            page.key(str),
            page.limit + 1,
        )
        now = self._parts.clock.now()
        return page.page([_as_of(row, now) for row in rows], ["invitation_id"])

    async def withdraw(
        self,
        invitation_id: InvitationId,
        body: Withdrawal,
        caller: Annotated[Caller, Depends(permit("iam.invitation.withdraw", relief=True))],
    ) -> Accepted:
        scope = caller.scope
        command = WithdrawInvitation(body.reason, scope.project_id)
        outcome = await self._parts.commands.execute(
            INVITATION, scope.tenant_id or PLATFORM, invitation_id, command, caller.cause()
        )
        return await self._parts.settled(caller, outcome, invitation_id)

    # -- the invited -------------------------------------------------------------------------------------------

    async def answer(self, body: Answer, who: SignedIn) -> Accepted:
        if who.kind != "user" or not who.session_id:
            raise Rejected("only a person who signed in themselves can answer an invitation; sign in first")
        # What who invited holds is looked at now, and must be the newest.
        await self._parts.access_reader.demand_fresh("iam.invitation.accept")
        home, invitation_id = _named(body.token)
        spelt = await self._address_of(who)
        known, _ = await self._parts.commands.state(INVITATION, home, invitation_id)
        if not isinstance(known, Waiting):
            raise NotFound(NOT_GOOD)
        now = self._parts.clock.now()
        orders: list[Order[Any, Any]]
        if body.answer == "decline":
            decline = DeclineInvitation(body.token, spelt, body.reason, now)
            orders = [Order(INVITATION, home, invitation_id, decline)]
        else:
            orders = self._acceptance(body.token, spelt, who, home, known, now)
        cause = Cause(id=derived_id(invitation_id, body.answer, who.id), actor=who.id, actor_kind="user")
        cause = replace(cause, project_id=known.what.project_id)
        outcomes = await self._parts.commands.execute_together(orders, cause)
        position = max(outcome.position for outcome in outcomes)
        with contextlib.suppress(Unavailable):
            await self._parts.access_reader.reached(position, SETTLE_S)
        return Accepted(id=invitation_id, position=position, repeated=any(each.repeated for each in outcomes))

    def _acceptance(
        self, token: str, spelt: str, who: Principal, home: str, known: Waiting, now: datetime
    ) -> list[Order[Any, Any]]:
        """The answer and the binding, in one batch: with what who invited holds by now."""
        rights, what, giver = self._parts.access.rights, known.what, known.invited_by
        scope, taker = Scope(what.tenant_id, what.project_id), who.holder
        held, withheld = rights.held(giver, scope, now), rights.withheld(giver, scope, now)
        wanted = rights.roles[role_key(what.role_tenant_id, what.role)].permissions
        binding_id = derived_id(known.invitation_id, "binding")
        accept = AcceptInvitation(
            token=token,
            spelt=spelt,
            user_id=who.id,
            binding_id=binding_id,
            missing=tuple(beyond(held, wanted, withheld)),
            asked_at=now,
        )
        bind = BindRole(
            binding_id=binding_id,
            principal_id=who.id,
            principal_kind="user",
            role=what.role,
            role_tenant_id=what.role_tenant_id,
            joins=rights.duties.joined_by(scope, rights.held_at_times(taker, scope, now), wanted),
            role_permissions=wanted,
            held=held,
            tenant_id=what.tenant_id,
            project_id=what.project_id,
            reason=what.reason,
            asked_at=now,
            valid_until=what.binding_valid_until,
            withheld=withheld,
        )
        return [Order(INVITATION, home, known.invitation_id, accept), Order(BINDING, home, binding_id, bind)]

    async def _address_of(self, who: Principal) -> str:
        """The registered address of who answers, in its one spelling. Raises NotFound: it is none that is invited."""
        found = await PRINCIPALS.email_of(self._parts.database, self._parts.seals, who.id)
        try:
            return address(found or "")
        except Invalid:
            raise NotFound(NOT_GOOD) from None


def _named(token: str) -> tuple[str, str]:
    """Where the invitation stands, as its token says. Raises NotFound: it is no token."""
    match token.split("_"):
        case [prefix, home, invitation_id, secret] if prefix == PREFIX and len(secret) == 64:
            if is_name(home) and is_name(invitation_id):
                return home, invitation_id
    raise NotFound(NOT_GOOD)


def _as_of(row: dict[str, Any], now: datetime) -> dict[str, Any]:
    over = row["status"] == "waiting" and row["expires_at"] <= now
    return row | {"status": "expired"} if over else row
