"""The door: commands and questions of iam. One law: each route says who may, or is public on purpose."""

from __future__ import annotations

from fastapi import APIRouter
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.as_of import AsOf
from gpuaas.iam.routes.bindings import Bindings
from gpuaas.iam.routes.decisions import Decisions
from gpuaas.iam.routes.device_page import DevicePage
from gpuaas.iam.routes.devices import Devices
from gpuaas.iam.routes.differences import Differences
from gpuaas.iam.routes.duties import Duties
from gpuaas.iam.routes.endings import Endings
from gpuaas.iam.routes.explain import Explain
from gpuaas.iam.routes.grants import Grants
from gpuaas.iam.routes.groups import Groups
from gpuaas.iam.routes.identity_providers import IdentityProviders
from gpuaas.iam.routes.invitations import Invitations
from gpuaas.iam.routes.keys import Keys
from gpuaas.iam.routes.limits import Limits
from gpuaas.iam.routes.passwords import Passwords
from gpuaas.iam.routes.principals import Principals
from gpuaas.iam.routes.provider_sign_in import ProviderSignIn
from gpuaas.iam.routes.rights import Rights
from gpuaas.iam.routes.scim import Scim
from gpuaas.iam.routes.sessions import Sessions
from gpuaas.iam.routes.shares import Shares
from gpuaas.iam.routes.support import Support
from gpuaas.iam.routes.suspensions import Suspensions
from gpuaas.iam.routes.tenancy import Tenancy
from gpuaas.iam.routes.tenant_roles import TenantRoles
from gpuaas.iam.routes.tokens import Tokens
from gpuaas.iam.routes.workloads import Workloads


def router(parts: Parts) -> APIRouter:
    """All of iam's routes."""
    opened = APIRouter()
    tokens = Tokens(parts)
    tokens.open(opened)
    Scim(parts, tokens).open(opened)
    for way_in in (Passwords, IdentityProviders):
        way_in(parts).open(opened)
    sessions, devices, provided = Sessions(parts), Devices(parts), ProviderSignIn(parts)
    page = DevicePage(parts, sessions, devices, provided)
    provided.to_page = page.sent_here
    for known in (sessions, devices, provided, page, Grants(parts, devices, provided)):
        known.open(opened)
    rights = (Rights, Bindings, TenantRoles, Groups, Limits, Duties, Shares, Invitations)
    lives = (Tenancy, Principals, Keys, Suspensions, Endings, Support, Workloads)
    for door in (*rights, *lives):
        door(parts).open(opened)
    as_of = AsOf(parts.access, parts.log, parts.clock, parts.profile)
    for why in (Explain, Differences, Decisions):
        why(parts, as_of).open(opened)
    return opened
