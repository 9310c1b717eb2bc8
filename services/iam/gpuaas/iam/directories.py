"""What a tenant's directory orders, carried out. One law: a directory rules over those it made, inside its tenant.

Whom it calls inactive is suspended in the same batch, and their sessions end. Whom it lets in again gets back what they
hold, unless they hold something beyond the tenant: that is for the platform's operators to give back.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from gpuaas.common.access import Access
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands, Order
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Forbidden, Invalid, NotFound, Rejected
from gpuaas.common.ids import derived_id, new_id
from gpuaas.common.scopes import Holder
from gpuaas.iam.adapters.kept_sign_ins import DirectoryNames
from gpuaas.iam.domain.directory import ABSENT, DescribeGroup, DescribeUser, Entry, Remove
from gpuaas.iam.domain.group import AddMember, CreateGroup, RemoveMember, Standing
from gpuaas.iam.domain.names import named
from gpuaas.iam.domain.principal import ResumePrincipal, SuspendPrincipal
from gpuaas.iam.domain.user import RegisterUser
from gpuaas.iam.entities import DIRECTORY_GROUP, DIRECTORY_USER, GROUP, PRINCIPAL, USER
from gpuaas.iam.signing_in import SigningIn

MEMBERS_AT_ONCE_MAX: Final = 1_000
USER_NAME_MAX: Final = 254
NO_ADDRESS: Final = "no-address.invalid"
"""The domain of who has no e-mail address in their directory (RFC 2606)."""


class Taken(Rejected):
    """That user name is somebody else's there (RFC 7644 §3.3)."""

    code = "uniqueness"


@dataclass(frozen=True, slots=True)
class Directory:
    """One tenant's directory, as a service account speaks for it in one request."""

    tenant_id: str
    source_id: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class Directories:
    """Carries out what directories say."""

    commands: Commands
    access: Access
    clock: Clock
    names: DirectoryNames
    signing_in: SigningIn

    # -- people --------------------------------------------------------------------------------------------

    async def add_user(self, at: Directory, attributes: dict[str, Any], active: bool) -> tuple[str, int]:
        """A new person: their id and the position. Raises Taken, Invalid."""
        user_id = new_id()
        if not await self.names.take(at.tenant_id, folded(attributes["userName"]), user_id):
            raise Taken("that userName is taken in this directory")
        register = RegisterUser(user_id, _email(attributes, user_id), _name(attributes))
        try:
            await self.commands.execute(USER, PLATFORM, user_id, register, at.cause.at("person"), fresh=True)
            position = await self._say_user(at, user_id, 0, attributes, active, Entry())
        except BaseException:
            await self.names.leave(at.tenant_id, user_id)
            raise
        return user_id, position

    async def change_user(
        self, at: Directory, user_id: str, based_on: int, attributes: dict[str, Any], active: bool
    ) -> int:
        """Say anew who a person is: the position. Raises Taken, Changed, NotFound, Forbidden."""
        entry, _ = await self.commands.state(DIRECTORY_USER, at.tenant_id, user_id)
        if not entry.stands:
            raise NotFound(ABSENT)
        name = folded(attributes["userName"])
        if not await self.names.take(at.tenant_id, name, user_id):
            raise Taken("that userName is taken in this directory")
        position = await self._say_user(at, user_id, based_on, attributes, active, entry)
        await self.names.leave(at.tenant_id, user_id, but=name)
        return position

    async def _say_user(
        self, at: Directory, user_id: str, based_on: int, attributes: dict[str, Any], active: bool, entry: Entry
    ) -> int:
        stop_or_go = await self._switch(at, user_id, active, entry)
        stopped_here = not active and (bool(stop_or_go) or entry.stopped_here)
        text = json.dumps(attributes, ensure_ascii=False, separators=(",", ":"))
        say = DescribeUser(at.tenant_id, user_id, based_on, active, stopped_here, text, at.source_id)
        orders = [Order(DIRECTORY_USER, at.tenant_id, user_id, say), *stop_or_go]
        outcomes = await self.commands.execute_together(orders, at.cause)
        if not active and (entry.active or not entry.stands):
            await self.signing_in.end_all(user_id, "revoked", at.cause, "deactivated by their directory")
        return max(outcome.position for outcome in outcomes)

    async def remove_user(self, at: Directory, user_id: str) -> int:
        """The directory knows them no longer: the position. Raises NotFound."""
        order = Order(DIRECTORY_USER, at.tenant_id, user_id, Remove(at.tenant_id, user_id, at.source_id))
        orders: list[Order[Any, Any]] = [order, *await self._switch(at, user_id, False, Entry())]
        outcomes = await self.commands.execute_together(orders, at.cause)
        await self.names.leave(at.tenant_id, user_id)
        await self.signing_in.end_all(user_id, "revoked", at.cause, "removed from their directory")
        return max(outcome.position for outcome in outcomes)

    async def _switch(self, at: Directory, user_id: str, active: bool, entry: Entry) -> list[Order[Any, Any]]:
        """The order that stops a person or lets them in again; none where it is so already, or is somebody else's."""
        stopped, _ = await self.commands.state(PRINCIPAL, PLATFORM, user_id)
        reason = f"{'active' if active else 'inactive'} in the directory of tenant {at.tenant_id}"
        if not active and "user" not in stopped:
            stop = SuspendPrincipal(user_id, "user", PLATFORM, reason, by_itself=False)
            return [Order(PRINCIPAL, PLATFORM, user_id, stop)]
        if active and "user" in stopped and entry.stopped_here:
            self.demand_inside(at.tenant_id, ("user", user_id))
            go = ResumePrincipal(user_id, "user", PLATFORM, reason, beyond_resumer=())
            return [Order(PRINCIPAL, PLATFORM, user_id, go)]
        return []

    def demand_inside(self, tenant_id: str, holder: Holder) -> None:
        """Raises Forbidden: bindings in force give the principal something outside the tenant that it was not given as
        one of the tenant's, by a share that the tenant accepted."""
        now = self.clock.now()
        grants = self.access.rights.grants_of(holder)
        if any(grant.in_force(now) and tenant_id not in (grant.scope.tenant_id, grant.receiver) for grant in grants):
            raise Forbidden("this person holds something beyond the tenant; ask the platform's operators")

    # -- groups --------------------------------------------------------------------------------------------

    async def add_group(self, at: Directory, display_name: str, external_id: str | None) -> tuple[str, int]:
        """A new group, at home in the tenant: its id and the position."""
        group_id = new_id()
        orders: list[Order[Any, Any]] = [
            Order(GROUP, at.tenant_id, group_id, CreateGroup(group_id, at.tenant_id, display_name)),
            self._group(at, group_id, 0, display_name, external_id),
        ]
        outcomes = await self.commands.execute_together(orders, at.cause, fresh=True)
        return group_id, max(outcome.position for outcome in outcomes)

    async def change_group(
        self, at: Directory, group_id: str, based_on: int, display_name: str, external_id: str | None
    ) -> int:
        """Say anew what a group is called. Raises Changed, NotFound."""
        order = self._group(at, group_id, based_on, display_name, external_id)
        return (await self.commands.execute_together([order], at.cause))[0].position

    def _group(
        self, at: Directory, group_id: str, based_on: int, display_name: str, external_id: str | None
    ) -> Order[Any, Any]:
        say = DescribeGroup(at.tenant_id, group_id, based_on, display_name, external_id, at.source_id)
        return Order(DIRECTORY_GROUP, at.tenant_id, group_id, say)

    async def members(self, tenant_id: str, group_id: str) -> list[str]:
        """Ids of the people directly in a group, sorted."""
        group, _ = await self.commands.state(GROUP, tenant_id, group_id)
        return sorted(name for kind, name in group.members if kind == "user") if isinstance(group, Standing) else []

    async def set_members(self, at: Directory, group_id: str, wanted: Collection[str]) -> int:
        """Let in and take out until those are the people in the group: the position of the last, 0 if none.

        Whoever bound a role to a directory's group did so knowing that the directory says who is in it, so the
        directory need not hold what the group gives; but a group that gives something beyond the tenant is not its to
        fill.

        Raises:
            Invalid: somebody is none of the directory's, or too many at once.
            Forbidden: the group gives something beyond the tenant.
        """
        have = set(await self.members(at.tenant_id, group_id))
        come, go = sorted(set(wanted) - have), sorted(have - set(wanted))
        if len(come) + len(go) > MEMBERS_AT_ONCE_MAX:
            raise Invalid(f"at most {MEMBERS_AT_ONCE_MAX:,} members change at once; send less", field="members")
        for user_id in come:
            entry, _ = await self.commands.state(DIRECTORY_USER, at.tenant_id, user_id)
            if not entry.stands:
                raise Invalid("a member is nobody of this directory", field="members")
        if come or go:
            self.demand_inside(at.tenant_id, ("group", group_id))
        orders: list[Any] = [AddMember(user_id, "user", ()) for user_id in come]
        orders += [RemoveMember(user_id, "user", "no longer in the directory's group", ()) for user_id in go]
        position = 0
        for order in orders:
            cause = at.cause.at(f"member {order.member_id}")
            outcome = await self.commands.execute(GROUP, at.tenant_id, group_id, order, cause)
            position = max(position, outcome.position)
        return position

    async def remove_group(self, at: Directory, group_id: str) -> int:
        """The directory knows it no longer: nobody is in it any more. Raises NotFound."""
        entry, _ = await self.commands.state(DIRECTORY_GROUP, at.tenant_id, group_id)
        if not entry.stands:
            raise NotFound(ABSENT)
        await self.set_members(at, group_id, ())
        order: Order[Any, Any] = Order(
            DIRECTORY_GROUP, at.tenant_id, group_id, Remove(at.tenant_id, group_id, at.source_id)
        )
        return (await self.commands.execute_together([order], at.cause))[0].position


def folded(user_name: str) -> str:
    """A user name as it is compared: case and form do not count (RFC 7643 §4.1.1). Raises Invalid."""
    kept = named(user_name, "userName", USER_NAME_MAX)
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", kept).casefold())


def _email(attributes: dict[str, Any], user_id: str) -> str:
    emails = [each for each in attributes.get("emails") or () if each.get("value")]
    first = next((each for each in emails if each.get("primary")), emails[0] if emails else None)
    if first is not None:
        return str(first["value"])
    name = str(attributes["userName"])
    return name if "@" in name.strip("@") and " " not in name else f"{derived_id(user_id, 'address')}@{NO_ADDRESS}"


def _name(attributes: dict[str, Any]) -> str:
    name = attributes.get("name") or {}
    both = f"{name.get('givenName') or ''} {name.get('familyName') or ''}".strip()
    return str(attributes.get("displayName") or name.get("formatted") or both or attributes["userName"])
