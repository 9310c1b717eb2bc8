"""Audit's copy of every event, for a log that has lost one. One law: it is compared with what was signed afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from gpuaas.cli.state import Endpoints
from gpuaas.cli.trail_check import StoredEvent
from gpuaas.common.errors import Unavailable

_ONE = """
SELECT t.subject, coalesce(t.type, '') AS type, p.payload
FROM live.audit_trail_v2 t JOIN live.audit_payloads_v2 p USING (position) WHERE t.position = $1"""


class AuditCopy:
    """The events as audit stored them in its database, by position."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.given: list[int] = []

    async def event(self, position: int) -> tuple[str, StoredEvent] | None:
        """(type header, event); None when audit has not got it either."""
        row = await self._connection.fetchrow(_ONE, position)
        if row is None:
            return None
        self.given.append(position)
        return row["type"], StoredEvent(position, row["subject"], bytes(row["payload"]))

    async def digests(self) -> dict[int, bytes]:
        """Position → SHA-256 of the bytes that audit saw there, in order."""
        rows = await self._connection.fetch(
            "SELECT position, payload_sha256 FROM live.audit_trail_v2 ORDER BY position"
        )
        return {row["position"]: bytes(row["payload_sha256"]) for row in rows}


@asynccontextmanager
async def open_audit_copy(endpoints: Endpoints) -> AsyncIterator[AuditCopy]:
    """Audit's database of a suite on this machine, read as its superuser.

    Raises:
        Unavailable: it does not answer.
    """
    at = urlsplit(endpoints.postgres_url)
    password = Path(endpoints.postgres_password_file).read_text("utf-8").strip()
    try:
        connection = await asyncpg.connect(
            host=at.hostname, port=at.port, user="postgres", password=password, database="gpuaas_audit"
        )
    except (OSError, asyncpg.PostgresError) as away:
        raise Unavailable(f"audit's database does not answer, so nothing can be taken from it: {away}") from away
    try:
        yield AuditCopy(connection)
    finally:
        await connection.close()
