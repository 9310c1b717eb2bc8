"""iam's events as facts, without a log, and tokens: for tests of access. One law: each is one that iam could have said.

A test with a log and a service takes `neighbours.Identities`.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gpuaas.common.clock import rfc3339
from gpuaas.common.envelope import PLATFORM, Envelope, Fact, data_of, schema_uri, subject_of
from gpuaas.common.events import Event
from gpuaas.common.ids import new_id
from gpuaas.common.tokens import TOKEN_LIFE_S, Claims, Kind, audience_of, sign
from gpuaas.contracts import iam

LONG = timedelta(days=30)


class Identity:
    """A small world of tenants, principals and rights.

    Attributes:
        facts: everything said so far, positions from 1; feed them to `Access.apply`.
        private: the key that signs its tokens, published as `signing_key_id`.
    """

    def __init__(self, profile: str = "dev", now: datetime | None = None) -> None:
        self.profile = profile
        self.now = now or datetime.now(UTC)
        self.facts: list[Fact] = []
        self.private = Ed25519PrivateKey.generate()
        self.signing_key_id = "test-key"
        self._versions: dict[str, int] = {}
        self._homes: dict[tuple[str, str], str] = {}
        self.publish_signing_key(self.signing_key_id, self.private)

    # -- what is said ------------------------------------------------------------------------------------------

    def say(self, event: Event, tenant_id: str, entity_id: str) -> Fact:
        """Any event of iam, as the next fact."""
        subject = subject_of("iam", event.ENTITY, tenant_id, entity_id)
        version = self._versions[subject] = self._versions.get(subject, 0) + 1
        cause = new_id()
        envelope = Envelope(
            specversion="1.0",
            id=new_id(),
            source="gpuaas/iam",
            type=event.TYPE,
            subject=f"{event.ENTITY}/{tenant_id}/{entity_id}",
            time=rfc3339(self.now),
            datacontenttype="application/json",
            dataschema=schema_uri(event),
            tenantid=tenant_id,
            actor="iam",
            actorkind="service",
            causationid=cause,
            correlationid=cause,
            sequence=f"{version:010d}",
            profile=self.profile,
            data=data_of(event),
        )
        fact = Fact(len(self.facts) + 1, subject, envelope, event)
        self.facts.append(fact)
        return fact

    def publish_signing_key(self, key_id: str, private: Ed25519PrivateKey, life: timedelta = LONG) -> Fact:
        raw = private.public_key().public_bytes_raw()
        event = iam.SigningKeyPublished(
            key_id=key_id,
            algorithm="Ed25519",
            public_key=base64.urlsafe_b64encode(raw).decode().rstrip("="),
            valid_from=self.now - timedelta(minutes=1),
            valid_until=self.now + life,
        )
        return self.say(event, PLATFORM, key_id)

    def tenant(self, tenant_id: str, *project_ids: str, currency: str = "EUR") -> None:
        """A tenant with projects."""
        event = iam.TenantCreated(tenant_id=tenant_id, display_name=tenant_id, billing_currency=currency)
        self.say(event, tenant_id, tenant_id)
        for project_id in project_ids:
            self.project(tenant_id, project_id)

    def project(self, tenant_id: str, project_id: str) -> Fact:
        event = iam.ProjectCreated(tenant_id=tenant_id, project_id=project_id, display_name=project_id)
        return self.say(event, tenant_id, project_id)

    def role(self, role: str, *permissions: str) -> Fact:
        """The next version of a role."""
        version = self._versions.get(subject_of("iam", "role", PLATFORM, role), 0) + 1
        event = iam.RoleDefined(role=role, version=version, description=role, permissions=permissions)
        return self.say(event, PLATFORM, role)

    def service_account(self, account_id: str, tenant_id: str = PLATFORM) -> str:
        """A program with an account and one API key, `<id>-key`."""
        event = iam.ServiceAccountCreated(service_account_id=account_id, tenant_id=tenant_id, display_name=account_id)
        self.say(event, tenant_id, account_id)
        self._homes["service-account", account_id] = tenant_id
        self.key(f"{account_id}-key", account_id)
        return account_id

    def user(self, user_id: str) -> str:
        """A person with one API key, `<id>-user-key`."""
        event = iam.UserRegistered(user_id=user_id, email=f"{user_id}@example.com", display_name=user_id)
        self.say(event, PLATFORM, user_id)
        self._homes["user", user_id] = PLATFORM
        self.key(f"{user_id}-user-key", user_id, "user")
        return user_id

    def bind(
        self,
        principal_id: str,
        role: str,
        tenant_id: str | None = None,
        project_id: str | None = None,
        *,
        kind: Kind = "service-account",
        valid_until: datetime | None = None,
    ) -> str:
        """The principal holds the role in the scope (none: the platform); the binding's id."""
        binding_id = new_id()
        event = iam.RoleBound(
            binding_id=binding_id,
            principal_id=principal_id,
            principal_kind=kind,
            role=role,
            tenant_id=tenant_id,
            project_id=project_id,
            reason="a test",
            valid_until=valid_until,
        )
        self.say(event, tenant_id or PLATFORM, binding_id)
        return binding_id

    def bind_on(
        self, principal_id: str, role: str, condition: iam.BindingCondition, tenant_id: str, *, kind: Kind = "user"
    ) -> str:
        """The principal holds the role in the tenant on a condition; the binding's id."""
        binding_id = new_id()
        event = iam.RoleBoundUnderCondition(
            binding_id=binding_id,
            holder_kind=kind,
            holder_id=principal_id,
            role=role,
            tenant_id=tenant_id,
            reason="a test",
            condition=condition,
        )
        self.say(event, tenant_id, binding_id)
        return binding_id

    def share(
        self,
        receiver: str,
        principal_id: str,
        role: str,
        tenant_id: str,
        project_id: str,
        *,
        kind: Literal["user", "service-account", "group"] = "service-account",
        valid_until: datetime | None = None,
    ) -> str:
        """A principal of `receiver` holds the role in another tenant's project; the share's id."""
        share_id = new_id()
        event = iam.ProjectShareAccepted(
            share_id=share_id,
            tenant_id=tenant_id,
            project_id=project_id,
            receiver_tenant_id=receiver,
            principal_kind=kind,
            principal_id=principal_id,
            role=role,
            valid_until=valid_until,
        )
        self.say(event, tenant_id, share_id)
        return share_id

    def unshare(self, share_id: str, tenant_id: str, project_id: str) -> Fact:
        named = {"share_id": share_id, "tenant_id": tenant_id, "project_id": project_id}
        return self.say(iam.ProjectShareEnded(**named, ended_by="owner", reason="a test"), tenant_id, share_id)

    def unbind(self, binding_id: str, tenant_id: str | None = None) -> Fact:
        event = iam.RoleUnbound(binding_id=binding_id, reason="a test")
        return self.say(event, tenant_id or PLATFORM, binding_id)

    def key(self, key_id: str, principal_id: str, kind: Kind = "service-account", life: timedelta = LONG) -> Fact:
        home = self._homes[kind, principal_id]
        event = iam.ApiKeyIssued(
            key_id=key_id,
            principal_id=principal_id,
            principal_kind=kind,
            tenant_id=home,
            secret_sha256="0" * 64,
            label="a test",
            expires_at=self.now + life,
        )
        return self.say(event, home, key_id)

    def revoke(self, key_id: str, tenant_id: str = PLATFORM) -> Fact:
        return self.say(iam.ApiKeyRevoked(key_id=key_id, reason="a test"), tenant_id, key_id)

    # -- what comes of it --------------------------------------------------------------------------------------

    def claims(self, principal_id: str, kind: Kind = "service-account", *, floor: int = 0) -> Claims:
        """What a token of the principal's own key says, issued now."""
        return Claims(
            subject=principal_id,
            kind=kind,
            tenant_id=self._homes[kind, principal_id],
            key_id=f"{principal_id}-user-key" if kind == "user" else f"{principal_id}-key",
            session_id="",
            token_id=new_id(),
            floor=floor,
            issued_at=self.now,
            expires_at=self.now + timedelta(seconds=TOKEN_LIFE_S),
        )

    def token(self, principal_id: str, kind: Kind = "service-account", *, floor: int = 0) -> str:
        """A bearer token of the principal's own key, issued now."""
        claims = self.claims(principal_id, kind, floor=floor)
        return sign(claims, self.private, self.signing_key_id, audience_of(self.profile))
