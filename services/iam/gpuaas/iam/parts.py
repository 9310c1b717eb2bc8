"""What iam's doors are made of. One law: a door is handed all it needs and looks nothing up."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Final

from gpuaas.common.access import Access
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Commands, Outcome
from gpuaas.common.enforcing import AccessReader
from gpuaas.common.errors import Unavailable
from gpuaas.common.http import Accepted, Caller
from gpuaas.common.log import EventLog
from gpuaas.common.readers import Reader
from gpuaas.common.sealing import Seals
from gpuaas.common.tables import Database
from gpuaas.iam.adapters.argon2id import Argon2id
from gpuaas.iam.adapters.kept_sign_ins import SignInsUnderWay
from gpuaas.iam.adapters.kept_tables import DeviceRequests, Passwords
from gpuaas.iam.adapters.openid import OpenId
from gpuaas.iam.directories import Directories
from gpuaas.iam.exchanging import Exchanging
from gpuaas.iam.failures import Failures
from gpuaas.iam.key_uses import KeyUses
from gpuaas.iam.projections.api_keys import ApiKeys
from gpuaas.iam.projections.bindings import Bindings
from gpuaas.iam.projections.directory import Directory
from gpuaas.iam.projections.groups import Groups
from gpuaas.iam.projections.invitations import Invitations
from gpuaas.iam.projections.principals import Principals
from gpuaas.iam.projections.project_shares import ProjectShares
from gpuaas.iam.projections.projects import Projects
from gpuaas.iam.projections.roles import Roles
from gpuaas.iam.projections.sessions import Sessions
from gpuaas.iam.projections.sign_in_providers import Identities, IdentityProviders
from gpuaas.iam.projections.tenant_roles import TenantRoles
from gpuaas.iam.projections.tenants import Tenants
from gpuaas.iam.projections.workloads import Workloads
from gpuaas.iam.signing import Signer
from gpuaas.iam.signing_in import SETTLE_S, SigningIn
from gpuaas.iam.vouched_people import VouchedPeople

TENANTS: Final = Tenants()
PROJECTS: Final = Projects()
PROJECT_SHARES: Final = ProjectShares()
PRINCIPALS: Final = Principals()
ROLES: Final = Roles()
TENANT_ROLES: Final = TenantRoles()
BINDINGS: Final = Bindings()
API_KEYS: Final = ApiKeys()
GROUPS: Final = Groups()
SESSIONS: Final = Sessions()
PROVIDERS: Final = IdentityProviders()
IDENTITIES: Final = Identities()
DIRECTORY: Final = Directory()
INVITATIONS: Final = Invitations()
WORKLOADS: Final = Workloads()
PROJECTIONS: Final = (
    TENANTS,
    PROJECTS,
    PROJECT_SHARES,
    PRINCIPALS,
    ROLES,
    TENANT_ROLES,
    BINDINGS,
    API_KEYS,
    GROUPS,
    SESSIONS,
    PROVIDERS,
    IDENTITIES,
    DIRECTORY,
    INVITATIONS,
    WORKLOADS,
)


@dataclass(frozen=True, slots=True)
class Parts:
    """The service's parts that its doors use. `clock` is real time, also where the world's runs faster."""

    profile: str
    commands: Commands
    database: Database
    access: Access
    log: EventLog
    access_reader: AccessReader
    api_keys_reader: Reader
    principals_reader: Reader
    directory_reader: Reader
    clock: Clock
    signer: Signer
    seals: Seals
    signing_in: SigningIn
    passwords: Passwords
    argon2id: Argon2id
    devices: DeviceRequests
    openid: OpenId
    vouched: VouchedPeople
    under_way: SignInsUnderWay
    directories: Directories
    failures: Failures
    key_uses: KeyUses
    exchanging: Exchanging
    passwords_allowed: bool
    public_url: str
    plain_http: bool

    async def settled(self, caller: Caller, outcome: Outcome[Any], thing_id: str) -> Accepted:
        """The answer to a command, once iam's own access has read it: the caller's next step finds it in force."""
        with contextlib.suppress(Unavailable):
            await self.access_reader.reached(outcome.position, SETTLE_S)
        return caller.accepted(outcome, thing_id)
