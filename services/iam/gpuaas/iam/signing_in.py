"""Sessions begin, go on and end here. One law: a refresh token works once; a second use ends the session it belongs to.

A session's tokens carry its id, so its end is enforced wherever iam's events are read. What a refresh token is good for
is decided by one statement in iam's own database, so two requests cannot both renew with it.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gpuaas.common.access import Access
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Unauthenticated, Unavailable
from gpuaas.common.ids import derived_id, new_id
from gpuaas.common.readers import Reader
from gpuaas.iam.adapters.kept_tables import RefreshTokens, digest_of
from gpuaas.iam.domain.session import End, EndSession, Method, StartSession
from gpuaas.iam.entities import SESSION
from gpuaas.iam.signing import Signer

REFRESH_PREFIX: Final = "gpr_"
REFRESH_CHARACTERS_MAX: Final = 100
SETTLE_S: Final = 1.0
"""Longest wait for what iam itself has just written to be read back."""
NOT_GOOD: Final = (
    "this refresh token is not good here: unknown, used before, or of a session that is over; sign in again"
)


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a person's program gets: a token for five minutes, and the next refresh token."""

    session_id: str
    user_id: str
    access_token: str
    expires_at: datetime
    refresh_token: str
    position: int


@dataclass(frozen=True, slots=True)
class SigningIn:
    """`life`: how long a session lasts at most. `clock` is real time."""

    commands: Commands
    access: Access
    access_reader: Reader
    clock: Clock
    signer: Signer
    refresh_tokens: RefreshTokens
    life: timedelta

    async def start(
        self, user_id: str, method: Method, client: str, *, approved_in: str | None = None, provider: str | None = None
    ) -> Renewed:
        """A new session of somebody who has just shown who they are.

        Raises:
            Unauthenticated: they are suspended, or no longer known.
        """
        holder = ("user", user_id)
        if self.access.rights.home_of(holder) is None or self.access.rights.stopped(holder) is not None:
            raise Unauthenticated("this account cannot sign in for now; ask the platform's operators")
        session_id, now = new_id(), self.clock.now()
        command = StartSession(
            session_id=session_id,
            user_id=user_id,
            method=method,
            client=client,
            started_at=now,
            expires_at=now + self.life,
            approved_in=approved_in,
            provider=provider,
        )
        cause = Cause(id=session_id, actor=user_id, actor_kind="user")
        outcome = await self.commands.execute(SESSION, PLATFORM, session_id, command, cause, fresh=True)
        with contextlib.suppress(Unavailable):
            await self.access_reader.reached(outcome.position, SETTLE_S)
        return await self._renewed(session_id, user_id, now + self.life)

    async def renew(self, refresh_token: str) -> Renewed:
        """The next token of the session a refresh token belongs to.

        Raises:
            Unauthenticated: the token is not good; a used one has ended its session.
        """
        now = self.clock.now()
        if not refresh_token.startswith(REFRESH_PREFIX) or len(refresh_token) > REFRESH_CHARACTERS_MAX:
            raise Unauthenticated(NOT_GOOD)
        row, unused = await self.refresh_tokens.take(digest_of(refresh_token), now)
        if row is None:
            raise Unauthenticated(NOT_GOOD)
        session_id, user_id = str(row["session_id"]), str(row["user_id"])
        if not unused:
            await self.end(session_id, user_id, "refresh-token-reused", Cause(session_id, user_id, "user"))
            raise Unauthenticated(NOT_GOOD)
        try:
            self.access.credentials.demand_live_session(session_id, ("user", user_id), now)
        except Unauthenticated:
            raise Unauthenticated(NOT_GOOD) from None
        return await self._renewed(session_id, user_id, row["expires_at"])

    async def end(self, session_id: str, user_id: str, cause: End, why: Cause, reason: str | None = None) -> int:
        """Refuse everything of a session from now on; the log position of its end.

        Raises:
            NotFound: that person has no such session.
        """
        position = await self._end(session_id, user_id, cause, why, reason)
        with contextlib.suppress(Unavailable):
            await self.access_reader.reached(position, SETTLE_S)
        return position

    async def _end(self, session_id: str, user_id: str, cause: End, why: Cause, reason: str | None) -> int:
        command = EndSession(user_id=user_id, cause=cause, reason=reason)
        once = replace(why, id=derived_id(why.id, "end", session_id), digest=None)
        return (await self.commands.execute(SESSION, PLATFORM, session_id, command, once)).position

    async def end_all(self, user_id: str, cause: End, why: Cause, reason: str | None = None) -> int:
        """Refuse everything of all of a person's sessions from now on; the position of the last end, 0 if none."""
        open_ones = self.access.credentials.sessions_of(("user", user_id), self.clock.now())
        ends = [await self.end(session_id, user_id, cause, why, reason) for session_id in open_ones]
        return max(ends, default=0)

    async def end_of_tenant(self, tenant_id: str, why: Cause, reason: str) -> tuple[int, int]:
        """End all sessions of everybody who holds something in the tenant itself: how many, the last position."""
        now, rights, ended, last = self.clock.now(), self.access.rights, 0, 0
        for user_id, session_ids in self.access.credentials.sessions_by_person(now).items():
            if any(grant.scope.tenant_id == tenant_id and grant.in_force(now) for grant in rights.grants_of(user_id)):
                for session_id in session_ids:
                    last = max(last, await self._end(session_id, user_id[1], "revoked", why, reason))
                    ended += 1
        with contextlib.suppress(Unavailable):
            await self.access_reader.reached(last, SETTLE_S)
        return ended, last

    async def _renewed(self, session_id: str, user_id: str, expires_at: datetime) -> Renewed:
        refresh_token = REFRESH_PREFIX + secrets.token_hex(32)
        await self.refresh_tokens.keep(digest_of(refresh_token), session_id, user_id, expires_at)
        position = self.access.position
        token, ends = self.signer.token(("user", user_id), PLATFORM, position, session_id=session_id)
        return Renewed(session_id, user_id, token, ends, refresh_token, position)
