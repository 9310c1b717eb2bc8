"""Which key signs tokens now. One law: a key is published before it signs, and is let go before it ends.

A key signs for 90 days and is followed by the next one 30 days before its end, so two are valid side by side. A new
key waits a minute before it signs: by then every service has read that it was published.
"""

from __future__ import annotations

import asyncio
import base64
from datetime import datetime, timedelta
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Unavailable
from gpuaas.common.ids import derived_id, new_id
from gpuaas.common.scopes import Holder
from gpuaas.common.tokens import ALGORITHM, ISSUER, TOKEN_LIFE_S, Claims, audience_of, kind_of, sign
from gpuaas.iam.domain.signing_key import PublishSigningKey
from gpuaas.iam.entities import SIGNING_KEY
from gpuaas.iam.ports import KeyStore, SigningPair

KEY_LIFE: Final = timedelta(days=90)
NEXT_KEY_BEFORE_END: Final = timedelta(days=30)
BECOMES_KNOWN: Final = timedelta(minutes=1)
LOOK_EVERY_S: Final = 3_600.0
TOKEN_LIFE: Final = timedelta(seconds=TOKEN_LIFE_S)


class Signer:
    """Signs tokens with the newest key that everybody knows.

    Args:
        clock: real time, whatever the world's clock does.
    """

    def __init__(self, store: KeyStore, commands: Commands, clock: Clock, profile: str) -> None:
        self._store = store
        self._commands = commands
        self._clock = clock
        self._profile = profile
        self._pairs: list[SigningPair] = []

    async def refresh(self) -> None:
        """Read the kept keys, make the next one when it is time, publish what is not published.

        Raises:
            Misconfigured: no key for now, and none may be made here.
        """
        now = self._clock.now()
        pairs = await asyncio.to_thread(self._store.pairs)
        if not any(pair.valid_from <= now and pair.valid_until - now > NEXT_KEY_BEFORE_END for pair in pairs):
            pairs = await self._next(pairs, now)
        for pair in pairs:
            await self._publish(pair)
        self._pairs = pairs

    async def _next(self, pairs: list[SigningPair], now: datetime) -> list[SigningPair]:
        still_good = any(pair.valid_from <= now and now + TOKEN_LIFE < pair.valid_until for pair in pairs)
        if still_good and not self._store.may_change:
            return pairs
        fresh = SigningPair(
            key_id=new_id(), private=Ed25519PrivateKey.generate(), valid_from=now, valid_until=now + KEY_LIFE
        )
        return await asyncio.to_thread(self._store.keep, fresh)

    async def _publish(self, pair: SigningPair) -> None:
        public = base64.urlsafe_b64encode(pair.private.public_key().public_bytes_raw()).decode().rstrip("=")
        command = PublishSigningKey(
            key_id=pair.key_id, public_key=public, valid_from=pair.valid_from, valid_until=pair.valid_until
        )
        cause = Cause(id=derived_id("iam-signing-key", pair.key_id), actor="iam", actor_kind="service")
        await self._commands.execute(SIGNING_KEY, PLATFORM, pair.key_id, command, cause)

    async def keep_fresh(self) -> None:
        """Look every hour whether it is time for the next key."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.refresh()

    def exchanged(self, claims: Claims) -> str:
        """A token that says just that. Raises Unavailable: there is no key that can sign now."""
        pair = self._signing(self._clock.now())
        return sign(claims, pair.private, pair.key_id, audience_of(self._profile))

    def about_workload(self, subject: str, audience: str, life: timedelta) -> tuple[str, datetime]:
        """iam's own word about a workload that runs here, and when it ends; nobody takes it for an access token."""
        now = self._clock.now()
        pair, ends = self._signing(now), now + life
        said: dict[str, str | int] = {"iss": ISSUER, "aud": audience, "sub": subject, "jti": new_id()}
        said |= {"iat": int(now.timestamp()), "exp": int(ends.timestamp())}
        headers = {"kid": pair.key_id, "typ": "workload+jwt"}
        return jwt.encode(said, pair.private, algorithm=ALGORITHM, headers=headers), ends

    def token(
        self, holder: Holder, tenant_id: str, floor: int, *, key_id: str = "", session_id: str = ""
    ) -> tuple[str, datetime]:
        """A token for a principal that showed an API key or has a session, and when it ends.

        `floor`: the log position of the rights that iam knew when it issued it.

        Raises:
            Unavailable: there is no key that can sign now.
        """
        now = self._clock.now()
        pair = self._signing(now)
        claims = Claims(
            subject=holder[1],
            kind=kind_of(holder[0]),
            tenant_id=tenant_id,
            key_id=key_id,
            session_id=session_id,
            token_id=new_id(),
            floor=floor,
            issued_at=now,
            expires_at=now + TOKEN_LIFE,
        )
        return sign(claims, pair.private, pair.key_id, audience_of(self._profile)), claims.expires_at

    def _signing(self, now: datetime) -> SigningPair:
        good = [pair for pair in self._pairs if pair.valid_from <= now and now + TOKEN_LIFE < pair.valid_until]
        known = [pair for pair in good if pair.valid_from + BECOMES_KNOWN <= now]
        if not good:
            raise Unavailable("iam has no signing key that is valid now; an operator must provide one")
        return (known or good)[-1]
