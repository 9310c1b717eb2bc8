"""What one principal may do that another may not. One law: nobody hands on, or gives back, what they do not hold."""

from __future__ import annotations

from datetime import datetime

from gpuaas.common.access import ABSENT, Scope
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound
from gpuaas.common.rights import Rights
from gpuaas.common.scopes import Holder
from gpuaas.iam.domain.permissions import beyond
from gpuaas.iam.domain.service_account import Known
from gpuaas.iam.entities import SERVICE_ACCOUNT
from gpuaas.iam.parts import Parts


def beyond_giver(rights: Rights, giver: Holder, taker: Holder, now: datetime) -> tuple[str, ...]:
    """Permissions that bindings of `taker` name somewhere and that `giver` does not hold there, sorted."""
    missing: set[str] = set()
    for grant in rights.grants_of(taker):
        if grant.in_force(now):
            held = rights.held(giver, grant.scope, now)
            withheld = rights.withheld(giver, grant.scope, now)
            missing.update(beyond(held, rights.roles[grant.role].permissions, withheld))
    return tuple(sorted(missing))


def beyond_lifter(rights: Rights, lifter: Holder, holder: Holder, now: datetime) -> tuple[str, ...]:
    """What is prohibited to `holder` or groups it is in, and `lifter` does not hold there, sorted."""
    missing: set[str] = set()
    for each in rights.limits.standing(rights.groups.circle(holder), now):
        held, withheld = rights.held(lifter, each.scope, now), rights.withheld(lifter, each.scope, now)
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
