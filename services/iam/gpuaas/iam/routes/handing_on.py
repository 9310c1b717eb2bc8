"""What one principal may do that another may not. One law: nobody hands on, or gives back, what they do not hold."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from gpuaas.common.access import ABSENT, Principal, Scope
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Forbidden, NotFound
from gpuaas.common.narrowing import WHOLE, Narrowing, left_by
from gpuaas.common.rights import Rights
from gpuaas.common.scopes import Holder
from gpuaas.iam.domain.permissions import beyond
from gpuaas.iam.domain.service_account import Known
from gpuaas.iam.entities import SERVICE_ACCOUNT
from gpuaas.iam.parts import Parts

ACCEPT_SHARE: Final = "iam.received-share.accept"


def beyond_giver(
    rights: Rights, giver: Principal, taker: Holder, now: datetime, layer: Narrowing = WHOLE
) -> tuple[str, ...]:
    """Permissions that bindings of `taker` name somewhere and that `giver` does not hold there, sorted.

    `layer`: what is handed on is no more than this of them. What another tenant shared is for the receiver to hand
    on: whoever may accept shares there may do that.
    """
    missing: set[str] = set()
    for grant in rights.grants_of(taker):
        place = grant.scope if layer.scope.covers(grant.scope) else layer.scope
        if grant.in_force(now) and grant.scope.covers(place) and not _receives(rights, giver, grant.receiver, now):
            held = left_by(giver.narrowings, rights.held(giver.holder, place, now), place)
            withheld = rights.withheld(giver.holder, place, now)
            missing.update(beyond(held, layer.part_of(rights.roles[grant.role].permissions, place), withheld))
    return tuple(sorted(missing))


def demand_no_wider(giver: Principal, layer: Narrowing) -> None:
    """Return if a credential with that layer may no more than the one that asks for it, now and later.

    Raises:
        Forbidden: it may.
    """
    for mine in giver.narrowings:
        if not mine.covers(layer):
            raise Forbidden(f"{mine.by} is narrower than its principal; what it hands out has to be within it")


def _receives(rights: Rights, giver: Principal, receiver: str | None, now: datetime) -> bool:
    if receiver is None:
        return False
    at, holder = Scope(receiver), giver.holder
    held = left_by(giver.narrowings, rights.held(holder, at, now), at)
    return not beyond(held, (ACCEPT_SHARE,), rights.withheld(holder, at, now))


def beyond_lifter(rights: Rights, lifter: Principal, holder: Holder, now: datetime) -> tuple[str, ...]:
    """What is prohibited to `holder` or groups it is in, and `lifter` does not hold there, sorted."""
    missing: set[str] = set()
    for each in rights.limits.standing(rights.groups.circle(holder), now):
        held = left_by(lifter.narrowings, rights.held(lifter.holder, each.scope, now), each.scope)
        withheld = rights.withheld(lifter.holder, each.scope, now)
        missing.update(beyond(held, each.globs.permissions, withheld))
    return tuple(sorted(missing))


def demand_user(parts: Parts, user_id: str) -> None:
    """Raises NotFound: nobody of that id is registered."""
    if parts.access.rights.standing_home(("user", user_id)) is None:
        raise NotFound(ABSENT)


async def demand_account(parts: Parts, account_id: str, scope: Scope) -> None:
    """A tenant's administrators reach the accounts of its projects, a project's only its own.

    Raises:
        NotFound: no such account is theirs.
    """
    account, _ = await parts.commands.state(SERVICE_ACCOUNT, scope.tenant_id or PLATFORM, account_id)
    if not isinstance(account, Known) or scope.project_id not in (None, account.project_id):
        raise NotFound(ABSENT)
