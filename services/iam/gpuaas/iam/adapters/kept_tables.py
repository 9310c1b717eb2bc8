"""Secrets of people, by digest, in iam's own database. One law: nothing here is in the log, and nothing secret is here.

Passwords as argon2id hashes; one-time codes and refresh tokens as SHA-256 of 256 random bits; device requests until
they are taken; sign-ins that are under way (`kept_sign_ins.py`). Unlike read models these tables cannot be rebuilt: who
loses them has people set passwords anew. Each step that must happen once is one statement, so two processes cannot both
do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

import asyncpg
from gpuaas.common.tables import Database, Record
from sqlalchemy import Column, DateTime, Index, Integer, MetaData, Table, Text, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.schema import CreateIndex, CreateSchema, CreateTable, ExecutableDDLElement

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]
KEPT: Final = MetaData(schema="kept")
_PASSWORDS: Final = Table(
    "passwords",
    KEPT,
    Column("user_id", Text, primary_key=True),
    Column("login", Text, nullable=False, unique=True),
    Column("argon2id", Text, nullable=False),
)
_CODES: Final = Table(
    "password_codes",
    KEPT,
    Column("user_id", Text, primary_key=True),
    Column("code_sha256", Text, nullable=False, unique=True),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)
_REFRESH: Final = Table(
    "refresh_tokens",
    KEPT,
    Column("token_sha256", Text, primary_key=True),
    Column("session_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
)
_DEVICES: Final = Table(
    "device_requests",
    KEPT,
    Column("device_sha256", Text, primary_key=True),
    Column("user_code", Text, nullable=False, unique=True),
    Column("client", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("interval_s", Integer, nullable=False),
    Column("next_poll_at", DateTime(timezone=True), nullable=False),
    Column("decision", Text),
    Column("user_id", Text),
    Column("approved_in", Text),
)
_ORIGINS: Final = Table(
    "device_origins",
    KEPT,
    Column("user_code", Text, primary_key=True),
    Column("address", Text),
    Column("asked_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)
Index("refresh_tokens_end", _REFRESH.c.expires_at)
Index("device_requests_end", _DEVICES.c.expires_at)


def digest_of(secret: str) -> str:
    """What is kept of a random secret."""
    return sha256(secret.encode()).hexdigest()


async def make_tables(database: Database) -> None:
    """Create what is missing; two processes that start at once do it one after the other."""
    orders: list[ExecutableDDLElement] = [CreateSchema("kept", if_not_exists=True)]
    orders += [CreateTable(table, if_not_exists=True) for table in KEPT.sorted_tables]
    indices = sorted(
        (index for table in KEPT.sorted_tables for index in table.indexes), key=lambda each: str(each.name)
    )
    orders += [CreateIndex(index, if_not_exists=True) for index in indices]
    async with database.writing() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('kept'))")
        for order in orders:
            await connection.execute(str(order.compile(dialect=_DIALECT)))


async def forget_expired(database: Database, now: datetime) -> None:
    """Drop what nobody can use any more."""
    for table in KEPT.sorted_tables:
        if "expires_at" in table.c:
            await database.execute(delete(table).where(table.c.expires_at <= now))


@dataclass(frozen=True, slots=True)
class Passwords:
    """Who signs in with what."""

    database: Database

    async def of(self, login: str) -> Record | None:
        """`user_id` and `argon2id` of a login name (an e-mail address, case folded)."""
        return await self.database.fetch_one(select(_PASSWORDS).where(_PASSWORDS.c.login == login))

    async def keep(self, user_id: str, login: str, argon2id: str) -> bool:
        """Set the person's password; False: that login name is another person's."""
        row = {"user_id": user_id, "login": login, "argon2id": argon2id}
        order = insert(_PASSWORDS).values(row).on_conflict_do_nothing().returning(_PASSWORDS.c.user_id)
        if await self.database.fetch_one(order) is not None:
            return True
        mine = _PASSWORDS.c.user_id == user_id
        taken = select(_PASSWORDS.c.user_id).where(_PASSWORDS.c.login == login, ~mine).exists()
        change = update(_PASSWORDS).where(mine, ~taken).values(row).returning(_PASSWORDS.c.user_id)
        try:
            return await self.database.fetch_one(change) is not None
        except asyncpg.UniqueViolationError:
            return False  # somebody took it between the look and the change

    async def forget(self, user_id: str) -> None:
        """Keep nothing of that person, in any kept table: the login name is their e-mail address."""
        for table in KEPT.sorted_tables:
            if "user_id" in table.c:
                await self.database.execute(delete(table).where(table.c.user_id == user_id))

    async def allow_once(self, user_id: str, code_sha256: str, expires_at: datetime) -> None:
        """One code per person: a new one replaces the last."""
        row = {"user_id": user_id, "code_sha256": code_sha256, "expires_at": expires_at}
        order = insert(_CODES).values(row).on_conflict_do_update(index_elements=["user_id"], set_=row)
        await self.database.execute(order)

    async def whose(self, code_sha256: str, now: datetime) -> str | None:
        """Whom a code lets choose a password; None: it is none, used or over."""
        at = _CODES.c
        row = await self.database.fetch_one(
            select(at.user_id).where(at.code_sha256 == code_sha256, at.expires_at > now)
        )
        return None if row is None else str(row["user_id"])

    async def take(self, code_sha256: str, now: datetime) -> str | None:
        """Use a code up: whose it was; None: it is none, or somebody was faster."""
        at = _CODES.c
        order = delete(_CODES).where(at.code_sha256 == code_sha256, at.expires_at > now).returning(at.user_id)
        row = await self.database.fetch_one(order)
        return None if row is None else str(row["user_id"])


@dataclass(frozen=True, slots=True)
class RefreshTokens:
    """One unused refresh token per session, and the used ones, so that a copy gives itself away."""

    database: Database

    async def keep(self, token_sha256: str, session_id: str, user_id: str, expires_at: datetime) -> None:
        row = {"token_sha256": token_sha256, "session_id": session_id, "user_id": user_id, "expires_at": expires_at}
        await self.database.execute(insert(_REFRESH).values(row))

    async def take(self, token_sha256: str, now: datetime) -> tuple[Record | None, bool]:
        """The row of a token and whether it was unused until now: it is used from now on. None: there is none."""
        at = _REFRESH.c
        mine = at.token_sha256 == token_sha256
        order = update(_REFRESH).where(mine, at.used_at.is_(None)).values(used_at=now).returning(_REFRESH)
        if (row := await self.database.fetch_one(order)) is not None:
            return row, True
        return await self.database.fetch_one(select(_REFRESH).where(mine)), False


@dataclass(frozen=True, slots=True)
class DeviceRequests:
    """Programs that wait for a person's approval (RFC 8628)."""

    database: Database

    async def waiting(self, now: datetime) -> int:
        """How many there are."""
        row = await self.database.fetch_one(
            select(func.count().label("waiting")).select_from(_DEVICES).where(_DEVICES.c.expires_at > now)
        )
        return 0 if row is None else int(row["waiting"])

    async def keep(
        self, device_sha256: str, user_code: str, client: str, now: datetime, expires_at: datetime, interval_s: int
    ) -> bool:
        """Wait for approval; False: that user code is in use."""
        row = {
            "device_sha256": device_sha256,
            "user_code": user_code,
            "client": client,
            "expires_at": expires_at,
            "interval_s": interval_s,
            "next_poll_at": now,
        }
        order = insert(_DEVICES).values(row).on_conflict_do_nothing().returning(_DEVICES.c.user_code)
        return await self.database.fetch_one(order) is not None

    async def came_from(self, user_code: str, address: str | None, now: datetime, expires_at: datetime) -> None:
        """From where the program asked, and when: for the person to recognise it."""
        row = {"user_code": user_code, "address": address, "asked_at": now, "expires_at": expires_at}
        order = insert(_ORIGINS).values(row).on_conflict_do_update(index_elements=["user_code"], set_=row)
        await self.database.execute(order)

    async def asking(self, user_code: str, now: datetime) -> Record | None:
        """What waits with that code: `client`, `user_code`, `address`, `asked_at`; None: nothing does."""
        at, came = _DEVICES.c, _ORIGINS.c
        both = _DEVICES.join(_ORIGINS, at.user_code == came.user_code)
        waits = (at.user_code == user_code, at.expires_at > now, at.decision.is_(None))
        shown = select(at.client, at.user_code, came.address, came.asked_at).select_from(both).where(*waits)
        return await self.database.fetch_one(shown)

    async def decide(self, user_code: str, decision: str, user_id: str, approved_in: str, now: datetime) -> str | None:
        """Approve or deny once; the program's name, or None: no such code waits."""
        at = _DEVICES.c
        order = (
            update(_DEVICES)
            .where(at.user_code == user_code, at.expires_at > now, at.decision.is_(None))
            .values(decision=decision, user_id=user_id, approved_in=approved_in)
            .returning(at.client)
        )
        row = await self.database.fetch_one(order)
        return None if row is None else str(row["client"])

    async def poll(self, device_sha256: str, now: datetime) -> Record | None:
        """The row as it stands, with `early`: asked before its time, which makes the interval longer by 5 s."""
        at = _DEVICES.c
        mine = at.device_sha256 == device_sha256
        row = await self.database.fetch_one(select(_DEVICES, (at.next_poll_at > now).label("early")).where(mine))
        if row is not None:
            interval = at.interval_s + (5 if row["early"] else 0)
            due = now + func.make_interval(0, 0, 0, 0, 0, 0, interval)
            await self.database.execute(update(_DEVICES).where(mine).values(interval_s=interval, next_poll_at=due))
        return row

    async def take(self, device_sha256: str) -> Record | None:
        """Use an approval up; None: there is none, or somebody was faster."""
        at = _DEVICES.c
        done = or_(at.decision == "approved", at.decision == "denied")
        order = delete(_DEVICES).where(at.device_sha256 == device_sha256, done).returning(_DEVICES)
        return await self.database.fetch_one(order)
