"""Speak as a neighbour in a test: events on the log, principals with tokens. One law: the log gets real events only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from gpuaas.common.clock import Clock, WallClock
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.decider import Decider
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.ids import new_id
from gpuaas.common.log import EventLog
from gpuaas.common.sealing import Seals, Vault
from gpuaas.common.tokens import Claims, audience_of, sign
from gpuaas.common.vaults.memory import MemoryVault
from gpuaas.contracts import iam


async def tell(
    log: EventLog,
    *events: Event,
    tenant_id: str = PLATFORM,
    entity_id: str,
    cause: Cause | None = None,
    clock: Clock | None = None,
    profile: str = "dev",
    vault: Vault | None = None,
) -> int:
    """Append events to one entity's history as their owner would; the position of the last.

    Whatever its state: the test says what has happened. All events belong to one entity.
    Personal data is sealed with keys in `vault`, by default one that nobody else has.
    """
    first = type(events[0])
    spoken: Entity[None, Sequence[Event]] = Entity(
        first.SERVICE,
        first.ENTITY,
        Decider(None, lambda command, _: command, lambda state, _: state),
        _Anything(),
    )
    seals = Seals(first.SERVICE, vault or MemoryVault())
    commands = Commands(log, clock or WallClock(), first.SERVICE, profile, seals=seals)
    why = cause or Cause(id=new_id(), actor="neighbour", actor_kind="service")
    return (await commands.execute(spoken, tenant_id, entity_id, events, why)).position


class _Anything(Vocabulary):
    """Reads every event as nothing: a teller keeps no state."""

    def read(self, event_type: str, data: bytes) -> Event:
        return Event()


class Identities:
    """A small iam for tests: publishes what every service's access fold needs, and signs tokens.

    Use `await Identities.on(log)`, then `await identities.operator()` or `.member("acme", "vision")`.
    """

    def __init__(self, log: EventLog, profile: str) -> None:
        self._log = log
        self._profile = profile
        self._private = Ed25519PrivateKey.generate()
        self._signing_key_id = f"sig-{new_id()[-12:]}"
        self._tenants: set[str] = set()
        self._projects: set[tuple[str, str]] = set()
        self._roles: set[str] = set()
        self.position = 0

    @classmethod
    async def on(cls, log: EventLog, profile: str = "dev") -> Identities:
        """Publish a signing key on `log`; later calls publish the rest as it is needed."""
        identities = cls(log, profile)
        now = datetime.now(UTC)
        raw = identities._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        import base64

        await identities._say(
            iam.SigningKeyPublished(
                key_id=identities._signing_key_id,
                algorithm="Ed25519",
                public_key=base64.urlsafe_b64encode(raw).decode().rstrip("="),
                valid_from=now - timedelta(minutes=5),
                valid_until=now + timedelta(days=1),
            ),
            PLATFORM,
            identities._signing_key_id,
        )
        return identities

    async def operator(self, *permissions: str) -> dict[str, str]:
        """Headers of an operator who holds `permissions` (default: everything) on the platform."""
        return await self.principal(permissions or ("*.*.*",))

    async def member(self, tenant_id: str, project_id: str | None = None, *permissions: str) -> dict[str, str]:
        """Headers of someone who holds `permissions` (default: everything) in one tenant or project."""
        return await self.principal(permissions or ("*.*.*",), tenant_id, project_id)

    async def principal(
        self, permissions: Sequence[str], tenant_id: str | None = None, project_id: str | None = None
    ) -> dict[str, str]:
        """Headers of a new service account bound to a role with exactly these permissions, in that scope."""
        await self._place(tenant_id, project_id)
        home = tenant_id or PLATFORM
        name = f"sa-{new_id()[-12:]}"
        role = f"role-{new_id()[-12:]}"
        await self._say(
            iam.RoleDefined(role=role, version=1, description="for a test", permissions=tuple(permissions)),
            PLATFORM,
            role,
        )
        await self._say(
            iam.ServiceAccountCreated(service_account_id=name, tenant_id=home, project_id=None, display_name=name),
            home,
            name,
        )
        binding = f"b-{new_id()[-12:]}"
        bound: dict[str, Any] = {"tenant_id": tenant_id, "project_id": project_id}
        await self._say(
            iam.RoleBound(
                binding_id=binding,
                principal_id=name,
                principal_kind="service-account",
                role=role,
                reason="test",
                **{key: value for key, value in bound.items() if value is not None},
            ),
            home,
            binding,
        )
        return await self._headers(name, home)

    async def guest(self, home: str, tenant_id: str, project_id: str, *permissions: str) -> dict[str, str]:
        """Headers of a service account of `home` with which another tenant shares a project, with exactly these."""
        await self._place(home, None)
        await self._place(tenant_id, project_id)
        name, role, share = (f"{kind}-{new_id()[-12:]}" for kind in ("sa", "role", "share"))
        await self._say(
            iam.RoleDefined(role=role, version=1, description="for a test", permissions=permissions or ("*.*.*",)),
            PLATFORM,
            role,
        )
        account = iam.ServiceAccountCreated(service_account_id=name, tenant_id=home, display_name=name)
        await self._say(account, home, name)
        told: dict[str, Any] = {
            "share_id": share,
            "tenant_id": tenant_id,
            "project_id": project_id,
            "receiver_tenant_id": home,
            "principal_kind": "service-account",
            "principal_id": name,
            "role": role,
        }
        by: dict[str, Any] = {"offered_by_kind": "service-account", "offered_by_id": "somebody"}
        await self._say(iam.ProjectShareOffered(**told, **by, reason="test"), tenant_id, share)
        await self._say(iam.ProjectShareAccepted(**told), tenant_id, share)
        return await self._headers(name, home)

    async def _headers(self, name: str, home: str) -> dict[str, str]:
        now = datetime.now(UTC)
        key_id = f"k-{new_id()[-12:]}"
        issued = iam.ApiKeyIssued(
            key_id=key_id,
            principal_id=name,
            principal_kind="service-account",
            tenant_id=home,
            secret_sha256="0" * 64,
            label="test",
            expires_at=now + timedelta(days=1),
        )
        position = await self._say(issued, home, key_id)
        claims = Claims(
            subject=name,
            kind="service-account",
            tenant_id=home,
            key_id=key_id,
            session_id="",
            token_id=new_id(),
            floor=position,
            issued_at=now,
            expires_at=now + timedelta(minutes=5),
        )
        token = sign(claims, self._private, self._signing_key_id, audience_of(self._profile))
        return {"Authorization": f"Bearer {token}", "GPUaaS-At-Least": str(position)}

    async def _place(self, tenant_id: str | None, project_id: str | None) -> None:
        if tenant_id is not None and tenant_id not in self._tenants:
            self._tenants.add(tenant_id)
            event = iam.TenantCreated(tenant_id=tenant_id, display_name=tenant_id, billing_currency="EUR")
            await self._say(event, tenant_id, tenant_id)
        if tenant_id is not None and project_id is not None and (tenant_id, project_id) not in self._projects:
            self._projects.add((tenant_id, project_id))
            opened = iam.ProjectCreated(tenant_id=tenant_id, project_id=project_id, display_name=project_id)
            await self._say(opened, tenant_id, project_id)

    async def _say(self, event: Event, tenant_id: str, entity_id: str) -> int:
        self.position = await tell(self._log, event, tenant_id=tenant_id, entity_id=entity_id, profile=self._profile)
        return self.position
