"""Sign-ins through a provider, while they last and what remains. One law: each step is taken once, by one statement.

What binds a browser, a provider's answer and a program together is kept as digests, for minutes. Which subject at a
provider is which person is kept as long as it is so: by digest, for a provider's name for somebody is personal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from gpuaas.common.tables import Database, Record
from gpuaas.iam.adapters.kept_tables import KEPT
from sqlalchemy import Boolean, Column, DateTime, Index, Table, Text, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

_IDENTITIES: Final = Table(
    "identities",
    KEPT,
    Column("provider_id", Text, primary_key=True),
    Column("subject_sha256", Text, primary_key=True),
    Column("identity_id", Text, nullable=False, unique=True),
    Column("user_id", Text, nullable=False),
    Column("said", Boolean, nullable=False),
)
_UNDER_WAY: Final = Table(
    "sign_ins_under_way",
    KEPT,
    Column("state_sha256", Text, primary_key=True),
    Column("provider_id", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("redirect_uri", Text),
    Column("client_state", Text),
    Column("code_challenge", Text),
    Column("user_code", Text),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)
_CODES: Final = Table(
    "sign_in_codes",
    KEPT,
    Column("code_sha256", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("provider_id", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("redirect_uri", Text, nullable=False),
    Column("code_challenge", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    Column("session_id", Text),
)
Index("identities_user", _IDENTITIES.c.user_id)
Index("sign_ins_under_way_end", _UNDER_WAY.c.expires_at)
Index("sign_in_codes_end", _CODES.c.expires_at)


def subject_digest(provider_id: str, subject: str) -> str:
    """By what a subject at a provider is found again."""
    return sha256(f"{provider_id}\n{subject}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class KeptIdentities:
    """Who is who. The primary key decides: of two that link one subject at once, one does."""

    database: Database

    async def of(self, provider_id: str, subject: str) -> Record | None:
        """The link of a subject: `identity_id`, `user_id`, and whether it was `said` in the log; None: nobody's."""
        return await self.database.fetch_one(select(_IDENTITIES).where(*_is(provider_id, subject)))

    async def keep(self, provider_id: str, subject: str, identity_id: str, user_id: str) -> Record:
        """Link the subject unless it is linked; the link that stands."""
        row = {
            "provider_id": provider_id,
            "subject_sha256": subject_digest(provider_id, subject),
            "identity_id": identity_id,
            "user_id": user_id,
            "said": False,
        }
        await self.database.execute(insert(_IDENTITIES).values(row).on_conflict_do_nothing())
        kept = await self.of(provider_id, subject)
        assert kept is not None, "a link that was kept a moment ago is gone"
        return kept

    async def is_said(self, identity_id: str) -> None:
        """The log has it now."""
        await self.database.execute(
            update(_IDENTITIES).where(_IDENTITIES.c.identity_id == identity_id).values(said=True)
        )

    async def forget(self, identity_id: str) -> None:
        """That subject is nobody's any more."""
        await self.database.execute(delete(_IDENTITIES).where(_IDENTITIES.c.identity_id == identity_id))


def _is(provider_id: str, subject: str) -> tuple[Any, ...]:
    at = _IDENTITIES.c
    return (at.provider_id == provider_id, at.subject_sha256 == subject_digest(provider_id, subject))


@dataclass(frozen=True, slots=True)
class SignInsUnderWay:
    """Browsers that were sent to a provider, and programs that wait for a code of ours."""

    database: Database

    async def count(self, now: datetime) -> int:
        """How many are under way."""
        query = select(func.count().label("count")).select_from(_UNDER_WAY).where(_UNDER_WAY.c.expires_at > now)
        row = await self.database.fetch_one(query)
        return 0 if row is None else int(row["count"])

    async def begin(self, **row: Any) -> None:
        """Remember what a provider's answer is for; `state_sha256` is new."""
        await self.database.execute(insert(_UNDER_WAY).values(row))

    async def take(self, state_sha256: str, now: datetime) -> Record | None:
        """Use it up; None: there is none, it is over, or somebody was faster."""
        at = _UNDER_WAY.c
        order = delete(_UNDER_WAY).where(at.state_sha256 == state_sha256, at.expires_at > now).returning(_UNDER_WAY)
        return await self.database.fetch_one(order)

    async def offer(self, **row: Any) -> None:
        """A code with which the program that asked gets its session."""
        await self.database.execute(insert(_CODES).values(row))

    async def redeem(self, code_sha256: str, now: datetime) -> tuple[Record | None, bool]:
        """The row of a code and whether it was unused until now; None: there is none, or it is over."""
        at = _CODES.c
        mine = (at.code_sha256 == code_sha256, at.expires_at > now)
        order = update(_CODES).where(*mine, at.used_at.is_(None)).values(used_at=now).returning(_CODES)
        if (row := await self.database.fetch_one(order)) is not None:
            return row, True
        return await self.database.fetch_one(select(_CODES).where(*mine)), False

    async def began(self, code_sha256: str, session_id: str, until: datetime) -> None:
        """Which session a code began, remembered as long as somebody may come with the code again."""
        change = {"session_id": session_id, "expires_at": until}
        await self.database.execute(update(_CODES).where(_CODES.c.code_sha256 == code_sha256).values(change))


_DIRECTORY_NAMES: Final = Table(
    "directory_names",
    KEPT,
    Column("tenant_id", Text, primary_key=True),
    Column("name_sha256", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
)
Index("directory_names_user", _DIRECTORY_NAMES.c.user_id)


@dataclass(frozen=True, slots=True)
class DirectoryNames:
    """Which user name is whose in a tenant's directory, by digest. The primary key decides between two at once."""

    database: Database

    async def whose(self, tenant_id: str, name: str) -> str | None:
        """The id of the person with that name (case and form folded before); None: nobody."""
        at = _DIRECTORY_NAMES.c
        mine = (at.tenant_id == tenant_id, at.name_sha256 == subject_digest(tenant_id, name))
        row = await self.database.fetch_one(select(at.user_id).where(*mine))
        return None if row is None else str(row["user_id"])

    async def take(self, tenant_id: str, name: str, user_id: str) -> bool:
        """Whether the name is that person's now."""
        row = {"tenant_id": tenant_id, "name_sha256": subject_digest(tenant_id, name), "user_id": user_id}
        await self.database.execute(insert(_DIRECTORY_NAMES).values(row).on_conflict_do_nothing())
        return await self.whose(tenant_id, name) == user_id

    async def leave(self, tenant_id: str, user_id: str, but: str | None = None) -> None:
        """The person has no name there any more, but this one."""
        at = _DIRECTORY_NAMES.c
        order = delete(_DIRECTORY_NAMES).where(at.tenant_id == tenant_id, at.user_id == user_id)
        if but is not None:
            order = order.where(at.name_sha256 != subject_digest(tenant_id, but))
        await self.database.execute(order)
