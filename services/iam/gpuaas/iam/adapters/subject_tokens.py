"""What an issuer signed about a workload. One law: believed for one audience, now, and once where that is asked.

The signature, the keys and what two readers could read differently are judged as of a provider's ID token
(`id_tokens.py`); here is what is different: there was no question of ours, and the subject is looked at whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from gpuaas.common.tables import Database
from gpuaas.iam.adapters.id_tokens import SKEW_S, NotBelieved, signed_claims
from gpuaas.iam.adapters.kept_tables import KEPT
from sqlalchemy import Column, DateTime, Index, Table, Text
from sqlalchemy.dialects.postgresql import insert

LIFE_S_MAX: Final = 86_400
"""A subject token lives a day at most: so long it is remembered that it was used."""
ID_MAX: Final = 255
_USED: Final = Table(
    "subject_tokens_used",
    KEPT,
    Column("token_sha256", Text, primary_key=True),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)
Index("subject_tokens_used_end", _USED.c.expires_at)


@dataclass(frozen=True, slots=True)
class Said:
    """What an issuer says about a workload. `token_id` is empty where the token has no id of its own."""

    subject: str
    token_id: str
    expires_at: datetime


def believed_about(token: str, keys: Sequence[Mapping[str, Any]], issuer: str, audience: str, now: datetime) -> Said:
    """What the token says.

    Raises:
        UnknownKey: look whether the issuer has newer keys.
        NotBelieved: anything else about it is wrong; each wrong thing has a sentence of its own.
    """
    header, claims = signed_claims(token, keys)
    if str(header.get("typ", "")).lower() == "at+jwt":
        raise NotBelieved("it is an access token, which is for calling somebody and says nothing about a workload")
    if claims.get("iss") != issuer:
        raise NotBelieved("it is another issuer's")
    if claims.get("aud") not in (audience, [audience]):
        raise NotBelieved("it is for another audience, or for further ones")
    subject, token_id = claims.get("sub"), claims.get("jti", "")
    if not isinstance(subject, str) or not 0 < len(subject) <= ID_MAX or not subject.isascii():
        raise NotBelieved("its subject is no text of 1 to 255 ASCII characters")
    if not subject.isprintable() or " " in subject:
        raise NotBelieved("its subject holds characters that do not show")
    if not isinstance(token_id, str) or len(token_id) > ID_MAX:
        raise NotBelieved("its jti is no text of at most 255 characters")
    return Said(subject, token_id, _ends(claims, now))


def _ends(claims: Mapping[str, Any], now: datetime) -> datetime:
    at = now.timestamp()
    issued, expires = claims.get("iat"), claims.get("exp")
    starts = claims.get("nbf", issued)
    if any(type(moment) not in (int, float) for moment in (issued, expires, starts)):
        raise NotBelieved("it does not say from when until when it is good")
    assert isinstance(issued, int | float)
    assert isinstance(expires, int | float)
    assert isinstance(starts, int | float)
    if at >= expires + SKEW_S:
        raise NotBelieved("it has expired")
    if max(issued, starts) > at + SKEW_S:
        raise NotBelieved("it is of the future: a clock is wrong")
    if expires - issued > LIFE_S_MAX:
        raise NotBelieved("it lives longer than a day")
    return datetime.fromtimestamp(expires, UTC)


@dataclass(frozen=True, slots=True)
class UsedTokens:
    """Tokens that were good once. The primary key decides: of two that show one at once, one is let in."""

    database: Database

    async def take(self, issuer: str, said: Said) -> bool:
        """Use it up; False: it was used before."""
        digest = sha256(f"{issuer}\n{said.token_id}".encode()).hexdigest()
        row = {"token_sha256": digest, "expires_at": said.expires_at + timedelta(seconds=2 * SKEW_S)}
        order = insert(_USED).values(row).on_conflict_do_nothing().returning(_USED.c.token_sha256)
        return await self.database.fetch_one(order) is not None
