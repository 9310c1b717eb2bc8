"""What must stand before anybody can ask: roles, the first operator. One law: a second start says nothing new.

The first operator's API key is made elsewhere (by the command line, at installation); iam is told only its digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Misconfigured, Rejected
from gpuaas.common.ids import derived_id
from gpuaas.iam.domain.api_key import IssueKey
from gpuaas.iam.domain.binding import BindRole
from gpuaas.iam.domain.built_in_roles import BUILT_IN
from gpuaas.iam.domain.role import InstallBuiltInRole
from gpuaas.iam.domain.service_account import CreateServiceAccount
from gpuaas.iam.entities import API_KEY, BINDING, ROLE, SERVICE_ACCOUNT
from gpuaas.iam.settings import IamSettings
from gpuaas.iam.signing import Signer

FIRST_ROLES: Final = ("operator", "security-admin")
"""What the first operator holds on the platform: together everything, so that everything can be handed out."""
_EVERYTHING: Final = frozenset({"*.*.*"})


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Runs once at every start. `clock` is real time."""

    commands: Commands
    signer: Signer
    clock: Clock
    settings: IamSettings

    async def run(self) -> None:
        """Bring roles, signing keys and the first operator into the log.

        Raises:
            Misconfigured: the bootstrap key's id belongs to another key already, or no signing key may be made.
        """
        for name, role in BUILT_IN.items():
            cause = _cause("role", name, role.description, *role.permissions)
            await self.commands.execute(ROLE, PLATFORM, name, InstallBuiltInRole(role=name), cause)
        await self.signer.refresh()
        if self.settings.iam_bootstrap_key_sha256 is not None:
            await self._first_operator(self.settings.iam_bootstrap_key_sha256)

    async def _first_operator(self, secret_sha256: str) -> None:
        account = self.settings.iam_bootstrap_account
        create = CreateServiceAccount(
            service_account_id=account, tenant_id=PLATFORM, project_id=None, display_name="First operator"
        )
        await self.commands.execute(SERVICE_ACCOUNT, PLATFORM, account, create, _cause("account", account))
        for role in FIRST_ROLES:
            await self._bind(account, role)
        await self._issue(account, secret_sha256)

    async def _bind(self, account: str, role: str) -> None:
        cause = _cause("binding", account, role)
        binding_id = derived_id(cause.id, "binding")
        bind = BindRole(
            binding_id=binding_id,
            principal_id=account,
            principal_kind="service-account",
            role=role,
            role_permissions=BUILT_IN[role].permissions,
            held=_EVERYTHING,
            tenant_id=None,
            project_id=None,
            reason="first operator of this installation",
            asked_at=self.clock.now(),
        )
        await self.commands.execute(BINDING, PLATFORM, binding_id, bind, cause)

    async def _issue(self, account: str, secret_sha256: str) -> None:
        key_id, now = self.settings.iam_bootstrap_key_id, self.clock.now()
        issue = IssueKey(
            key_id=key_id,
            principal_id=account,
            principal_kind="service-account",
            tenant_id=PLATFORM,
            secret_sha256=secret_sha256,
            label="first operator",
            asked_at=now,
            expires_at=now + timedelta(days=self.settings.iam_bootstrap_key_days),
            beyond_issuer=(),
        )
        try:
            cause = _cause("key", key_id, secret_sha256)
            await self.commands.execute(API_KEY, PLATFORM, key_id, issue, cause)
        except Rejected as taken:
            raise Misconfigured(
                f"API key {key_id} exists with another secret; set GPUAAS_IAM_BOOTSTRAP_KEY_ID to a new id"
            ) from taken


def _cause(*what: str) -> Cause:
    return Cause(id=derived_id("iam-bootstrap", *what), actor="iam", actor_kind="service")
