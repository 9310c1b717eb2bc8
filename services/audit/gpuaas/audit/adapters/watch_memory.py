"""Where the watching of the log stands, kept over restarts. One law: what was not written down is compared again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from gpuaas.audit.domain.watches import Watch
from gpuaas.common.log import EventLog
from gpuaas.common.tables import Database, upsert
from sqlalchemy import BigInteger, Column, DateTime, MetaData, Table, Text, select

WATCH: Final = Table(
    "audit_watch_v1",
    MetaData(),
    Column("reader", Text, primary_key=True),
    Column("imprint", Text, nullable=False),
    Column("cursor", BigInteger, nullable=False),
    Column("sweep_to", BigInteger, nullable=False),
    Column("pass_began", DateTime(timezone=True)),
    Column("whole_since", DateTime(timezone=True)),
)


class WatchMemory:
    """One row for each trail that is watched."""

    def __init__(self, database: Database, log: EventLog, reader: str) -> None:
        self._database = database
        self._log = log
        self._reader = reader

    async def open(self) -> None:
        """Make the table where it is missing. Raises Misconfigured when it belongs to another log."""
        await self._database.open_checkpoint("watch", (WATCH,), await self._log.incarnation())

    async def recall(self) -> Watch:
        """Where it stood; a new watch where nothing is known."""
        row = await self._database.fetch_one(select(WATCH).where(WATCH.c.reader == self._reader))
        return Watch() if row is None else Watch(**{name: row[name] for name in asdict(Watch())})

    async def keep(self, watch: Watch) -> None:
        """Write it down."""
        async with self._database.writing() as rows:
            await upsert(rows, WATCH, [{"reader": self._reader, **asdict(watch)}])
