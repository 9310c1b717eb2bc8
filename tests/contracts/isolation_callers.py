"""Who knocks at the doors, and what each is to be told. One law: the answer follows from the table, not from a route.

The tenant `acme` has the projects `vision` and `robots`; `umbrella` is another tenant.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.ids import new_id
from gpuaas.common.log import EventLog
from gpuaas.common.testing.neighbours import Identities, tell
from gpuaas.common.tokens import Claims, audience_of, sign
from gpuaas.common.visits import NEVER_FROM_ABOVE
from gpuaas.contracts import iam

Headers = Mapping[str, str]
OPEN: Final = None
"""The door lets them through; what they then hear is the route's business."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks.

    Attributes:
        told: level of the route (`platform`, `tenant`, `project`) → status; OPEN: let through.
        may_read: lets them through where the permission's verb is `read`, whatever `told` says.
        signed_in: what a route for the signed in tells them, where it is about one tenant; OPEN elsewhere.
        in_part: levels of lists at which they hold the permission somewhere below: they see that part.
        is_guest: a share let them in, and no share gives what decides who may do what.
        everywhere: asks at every route; if not, at one of each service and kind, for all go through the same code.
    """

    name: str
    headers: Headers
    told: Mapping[str, int | None]
    may_read: frozenset[str] = frozenset()
    signed_in: int | None = OPEN
    in_part: frozenset[str] = frozenset()
    is_guest: bool = False
    everywhere: bool = True

    def expects(self, permission: str, level: str, in_part: bool = False) -> int | None:
        """The status this caller is to get, or OPEN. `in_part`: the route lists the part that its caller may see."""
        if in_part and level in self.in_part:
            return OPEN
        if self.is_guest and level == "project" and permission.startswith("iam.") and not permission.endswith(".read"):
            return 403
        if permission in NEVER_FROM_ABOVE and self.told["platform"] is OPEN:
            return 403
        if permission == "signed-in":
            return self.signed_in if self.told["platform"] == 401 or level != "platform" else OPEN
        if permission.endswith(".read") and level in self.may_read:
            return OPEN
        return self.told[level]


STRANGER: Final = {"platform": 401, "tenant": 401, "project": 401}
FOREIGN: Final = {"platform": 403, "tenant": 404, "project": 404}
GUEST: Final = {"platform": 403, "tenant": 404, "project": OPEN}
WITHOUT: Final = {"platform": 403, "tenant": 403, "project": 403}
ADMIN: Final = {"platform": 403, "tenant": OPEN, "project": OPEN}
TOP: Final = frozenset({"platform"})
UNSIGNED: Final = '{"alg":"none","typ":"at+jwt","kid":"forged-key"}'
KNOCKING: Final = {"anonymous", "garbage", "an expired token", "a token of a revoked key"}
"""The strangers that every route meets."""
BELOW: Final = frozenset({"tenant", "project"})


async def callers(log: EventLog) -> list[Caller]:
    """Everybody, known to every service that reads `log`."""
    people = await Identities.on(log)
    await people.member("acme", "vision")
    robots = await people.member("acme", "robots")
    everywhere = await people.operator()
    return [
        *[
            Caller(name, headers, STRANGER, signed_in=401, everywhere=name in KNOCKING)
            for name, headers in (await _strangers(log)).items()
        ],
        Caller("another tenant's admin", await people.member("umbrella"), FOREIGN, signed_in=404, in_part=TOP),
        Caller(
            "another tenant's project",
            await people.member("umbrella", "hive"),
            FOREIGN,
            signed_in=404,
            in_part=TOP,
        ),
        Caller(
            "a guest of the project beside",
            await people.guest("umbrella", "acme", "robots"),
            FOREIGN,
            signed_in=404,
            in_part=TOP,
        ),
        Caller(
            "a guest of the project",
            await people.guest("umbrella", "acme", "vision"),
            GUEST,
            signed_in=404,
            in_part=TOP,
            is_guest=True,
        ),
        Caller("a member without the permission", await people.member("acme", None, "nothing.at.all"), WITHOUT),
        Caller("a reader", await people.member("acme", None, "*.*.read"), WITHOUT, may_read=BELOW, in_part=TOP),
        Caller("a member of the project beside", robots, WITHOUT, in_part=TOP | {"tenant"}),
        Caller("a reader of the platform", await people.operator("*.*.read"), WITHOUT, may_read=BELOW | {"platform"}),
        Caller("the tenant's admin", await people.member("acme"), ADMIN, in_part=TOP),
        Caller("the operator", everywhere, {"platform": OPEN, "tenant": OPEN, "project": OPEN}),
    ]


async def _strangers(log: EventLog) -> dict[str, Headers]:
    """Nobody, and tokens of which one thing is wrong."""
    forge = await Forge.on(log)
    good = forge.token()
    head, body, signature = good.split(".")
    return {
        "anonymous": {},
        "garbage": _bearer("garbage"),
        "another scheme": {"Authorization": f"Basic {good}"},
        "a scheme without a token": {"Authorization": "Bearer"},
        "an expired token": _bearer(forge.token(issued=-timedelta(hours=2))),
        "a token of tomorrow": _bearer(forge.token(issued=timedelta(days=1))),
        "a token that lives too long": _bearer(forge.token(life=timedelta(days=1))),
        "a token of another profile": _bearer(forge.token(audience=audience_of("production"))),
        "a token signed by somebody else": _bearer(forge.token(private=Ed25519PrivateKey.generate())),
        "a token with another body": _bearer(f"{head}.{body[:-4]}AAAA.{signature}"),
        "an unsigned token": _bearer(f"{_part(UNSIGNED)}.{body}."),
        "a token of a revoked key": _bearer(forge.token(key_id=await forge.revoked())),
        "a token of an unknown key": _bearer(forge.token(key_id="nobodys-key")),
        "a token of somebody else's key": _bearer(forge.token(subject="somebody-else")),
        "a token of another tenant": _bearer(forge.token(tenant_id="umbrella")),
    }


def _bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


def _part(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


class Forge:
    """Tokens of one operator, who may do everything, each as wrong as it is ordered."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._private = Ed25519PrivateKey.generate()
        self._floor = 0

    @classmethod
    async def on(cls, log: EventLog) -> Forge:
        """The operator `forged` with the API key `forged-key`, and a published signing key of the same name."""
        forge, now = cls(log), datetime.now(UTC)
        everything = {"role": "forged", "version": 1, "description": "for a test", "permissions": ("*.*.*",)}
        bound = {"binding_id": "forged", "principal_id": "forged", "principal_kind": "service-account"}
        public = base64.urlsafe_b64encode(forge._private.public_key().public_bytes_raw()).decode()
        for event in (
            iam.SigningKeyPublished(
                key_id="forged-key",
                algorithm="Ed25519",
                public_key=public.rstrip("="),
                valid_from=now - timedelta(days=1),
                valid_until=now + timedelta(days=3),
            ),
            iam.RoleDefined(**everything),
            iam.ServiceAccountCreated(service_account_id="forged", tenant_id=PLATFORM, display_name="forged"),
            iam.RoleBound(**bound, role="forged", reason="for a test"),
            _key("forged-key", now),
        ):
            await forge._say(event)
        return forge

    async def revoked(self) -> str:
        """The id of a key of theirs that was revoked."""
        key = _key("revoked-key", datetime.now(UTC))
        await self._say(key)
        await self._say(iam.ApiKeyRevoked(key_id=key.key_id, reason="for a test"))
        return key.key_id

    async def _say(self, event: Any) -> None:
        named = getattr(event, "key_id", "forged")
        self._floor = await tell(self._log, event, tenant_id=PLATFORM, entity_id=named)

    def token(
        self,
        *,
        issued: timedelta = timedelta(0),
        life: timedelta = timedelta(minutes=5),
        subject: str = "forged",
        tenant_id: str = PLATFORM,
        key_id: str = "forged-key",
        audience: str = audience_of("dev"),
        private: Ed25519PrivateKey | None = None,
    ) -> str:
        """A token with something else in it than what would be right."""
        now = datetime.now(UTC) + issued
        claims = Claims(
            subject=subject,
            kind="service-account",
            tenant_id=tenant_id,
            key_id=key_id,
            session_id="",
            token_id=new_id(),
            floor=self._floor,
            issued_at=now,
            expires_at=now + life,
        )
        return sign(claims, private or self._private, "forged-key", audience)


def _key(key_id: str, now: datetime) -> iam.ApiKeyIssued:
    return iam.ApiKeyIssued(
        key_id=key_id,
        principal_id="forged",
        principal_kind="service-account",
        tenant_id=PLATFORM,
        secret_sha256="0" * 64,
        label="for a test",
        expires_at=now + timedelta(days=1),
    )
