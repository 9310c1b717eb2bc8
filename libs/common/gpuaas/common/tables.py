"""Tables in PostgreSQL: SQLAlchemy Core writes the SQL, asyncpg carries it. One law: what is here can be rebuilt.

A *place* is a PostgreSQL schema that holds one generation of read models: `live` answers, a rebuild has its own.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy
from gpuaas.common.errors import Invalid, Misconfigured, Unavailable
from gpuaas.common.readers import Moved
from sqlalchemy import JSON, Table
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

Record: TypeAlias = asyncpg.Record
Rows: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
"""A connection inside a transaction: what folds write through."""
LIVE: Final = "live"
COMMAND_TIMEOUT_S: Final = 30
_DIALECT: Final = asyncpg_dialect()  # type: ignore[no-untyped-call]
_CHECKPOINTS: Final = """
CREATE TABLE IF NOT EXISTS "{place}".checkpoints (
    reader text PRIMARY KEY,
    position bigint NOT NULL,
    instance text NOT NULL,
    incarnation text NOT NULL
)"""


_AWAY: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    TimeoutError,
)


async def _prepare(connection: asyncpg.Connection) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind,
            encoder=lambda value: msgspec.json.encode(value).decode(),
            decoder=msgspec.json.decode,
            schema="pg_catalog",
        )


class Database:
    """This service's own database.

    Args:
        dsn: PostgreSQL URL; the role in it owns the database and nothing else.
        pool_max: connections at most.
        tls: who may vouch for the server; given, the connection is TLS or none.
    """

    def __init__(self, dsn: str, pool_max: int = 6, tls: ssl.SSLContext | None = None) -> None:
        self._dsn = dsn
        self._pool_max = pool_max
        self._tls = tls
        self._pool: asyncpg.Pool | None = None

    async def open(self) -> None:
        """Connect. Raises Unavailable while there is no server, Misconfigured without an address."""
        if not self._dsn:
            raise Misconfigured("no database: set GPUAAS_POSTGRES_DSN to this service's own PostgreSQL database")
        try:
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=self._pool_max,
                command_timeout=COMMAND_TIMEOUT_S,
                init=_prepare,
                ssl=self._tls,
                server_settings={"search_path": LIVE, "timezone": "UTC"},
            )
        except (OSError, asyncpg.PostgresError) as away:
            raise Unavailable(f"PostgreSQL does not answer: {away}") from away
        async with self.pool.acquire() as connection:
            await _make_place(connection, LIVE)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    @property
    def pool(self) -> asyncpg.Pool:
        if self._pool is None:
            raise Unavailable("the database is not open yet")
        return self._pool

    async def fetch(self, query: ClauseElement) -> list[Record]:
        """All rows of a SQLAlchemy `select`. Raises Invalid: a value in it cannot stand in its column."""
        sql, values = compiled(query)
        async with self._asking() as connection:
            rows: list[Record] = await connection.fetch(sql, *values)
        return rows

    async def fetch_one(self, query: ClauseElement) -> Record | None:
        """The first row, or None. Raises Invalid: a value in the query cannot stand in its column."""
        sql, values = compiled(query)
        async with self._asking() as connection:
            return await connection.fetchrow(sql, *values)

    async def execute(self, statement: ClauseElement) -> str:
        """Run a statement on a table of the service's own that is not a read model (keys, sessions)."""
        sql, values = compiled(statement)
        async with self._asking() as connection:
            return await connection.execute(sql, *values)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Rows]:
        """A connection inside one repeatable-read transaction: several questions, one state."""
        async with (
            self._reporting(),
            self.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read"),
        ):
            yield connection

    @asynccontextmanager
    async def writing(self, place: str = LIVE) -> AsyncIterator[Rows]:
        """A transaction whose unqualified names mean the tables of `place`.

        Losing the newest transactions in a power cut is harmless here: rows and position go together, and the log
        is the truth. So commits do not wait for the disk.
        """
        async with self._reporting(), self.pool.acquire() as connection, connection.transaction():
            await connection.execute(f'SET LOCAL search_path TO "{place}"; SET LOCAL synchronous_commit TO off')
            yield connection

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Rows]:
        """A connection for one statement. Its values come from outside: what fits no column is the asker's mistake."""
        async with self._reporting(), self.pool.acquire() as connection:
            try:
                yield connection
            except asyncpg.DataError as odd:
                # asyncpg can refuse a value after the server has begun the statement; only a further one ends it.
                await connection.execute("SELECT 1")
                raise Invalid("a value asked for is too large, of another kind, or holds a NUL character") from odd

    @asynccontextmanager
    async def _reporting(self) -> AsyncIterator[None]:
        try:
            yield
        except (OSError, asyncpg.InterfaceError, *_AWAY) as away:
            raise Unavailable(f"PostgreSQL does not answer: {away}") from away

    async def open_checkpoint(self, reader: str, tables: Sequence[Table], incarnation: str, place: str = LIVE) -> int:
        """Create the tables where they are missing and give the reader's position, 0 for a new one.

        Raises:
            Misconfigured: the tables were folded from another log.
        """
        async with self._reporting(), self.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"{place}/{reader}")
            await _make_place(connection, place)
            row = await connection.fetchrow(
                f'SELECT position, incarnation FROM "{place}".checkpoints WHERE reader = $1',  # noqa: S608
                reader,
            )
            if row is None:
                await _make_tables(connection, tables, place)
                await connection.execute(
                    f'INSERT INTO "{place}".checkpoints VALUES ($1, 0, $2, $3)',  # noqa: S608
                    reader,
                    "",
                    incarnation,
                )
                return 0
            if row["incarnation"] != incarnation:
                raise Misconfigured(
                    f"{reader} was folded from log {row['incarnation']}, this log is {incarnation}: point the "
                    "service at the right log, or rebuild the projection"
                )
            return int(row["position"])

    async def drop_place(self, place: str) -> None:
        """Forget a rebuild's tables."""
        async with self._reporting(), self.pool.acquire() as connection:
            await connection.execute(f'DROP SCHEMA IF EXISTS "{place}" CASCADE')

    async def change_places(self, reader: str, tables: Sequence[Table], source: str, target: str, reached: int) -> bool:
        """Put the tables of `reader` from `source` into `target` at position `reached`, in one transaction.

        False, and nothing changed, when those in `target` have been told more than that meanwhile.
        """
        async with self._reporting(), self.pool.acquire() as connection, connection.transaction():
            stands = await connection.fetchval(
                f'SELECT position FROM "{target}".checkpoints WHERE reader = $1 FOR UPDATE',  # noqa: S608
                reader,
            )
            if stands is not None and stands > reached:
                return False
            for table in tables:
                await connection.execute(f'DROP TABLE IF EXISTS "{target}"."{table.name}" CASCADE')
                await connection.execute(f'ALTER TABLE "{source}"."{table.name}" SET SCHEMA "{target}"')
            await connection.execute(
                f'DELETE FROM "{target}".checkpoints WHERE reader = $1',  # noqa: S608
                reader,
            )
            await connection.execute(
                f'INSERT INTO "{target}".checkpoints SELECT reader, $2, instance, incarnation '  # noqa: S608
                f'FROM "{source}".checkpoints WHERE reader = $1',
                reader,
                reached,
            )
            await connection.execute(f'DROP SCHEMA "{source}" CASCADE')
        return True


async def _make_place(connection: Rows, place: str) -> None:
    # Two processes that create a schema at once can both find it missing; the lock makes them take turns.
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('place'))")
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{place}"')
        await connection.execute(_CHECKPOINTS.format(place=place))


async def _make_tables(connection: Rows, tables: Sequence[Table], place: str) -> None:
    await connection.execute(f'SET LOCAL search_path TO "{place}"')
    for table in tables:
        await connection.execute(f'DROP TABLE IF EXISTS "{table.name}" CASCADE')
        await connection.execute(str(CreateTable(table).compile(dialect=_DIALECT)))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            await connection.execute(str(CreateIndex(index).compile(dialect=_DIALECT)))


async def move_checkpoint(rows: Rows, reader: str, after: int, seen: int, instance: str) -> None:
    """Compare-and-set of the position, in the caller's transaction.

    Raises:
        Moved: another instance was here first; the caller's transaction must not commit.
    """
    done = await rows.execute(
        "UPDATE checkpoints SET position = $3, instance = $4 WHERE reader = $1 AND position = $2",
        reader,
        after,
        seen,
        instance,
    )
    if done != "UPDATE 1":
        raise Moved(f"{reader} is no longer at {after}")


def compiled(query: ClauseElement) -> tuple[str, list[Any]]:
    """SQL text with `$n` and its values in order."""
    compiler = query.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    assert isinstance(compiler, SQLCompiler)
    values = compiler.construct_params()
    return str(compiler), [values[name] for name in compiler.positiontup or ()]


async def upsert(rows: Rows, table: Table, records: Sequence[dict[str, Any]]) -> None:
    """Insert the records or, where the primary key stands, replace the columns they name. One statement.

    Every record has the same keys. Of two records with one primary key the later counts.
    """
    if not records:
        return
    keys = [column.name for column in table.primary_key.columns]
    latest = {tuple(record[key] for key in keys): record for record in records}
    names = tuple(records[0])
    await rows.execute(_insert_sql(table, names) + _on_conflict(table, names), *_columns(table, names, latest.values()))


async def insert(rows: Rows, table: Table, records: Sequence[dict[str, Any]]) -> None:
    """Insert new records; a primary key that stands already is an error.

    By COPY, the fastest way into PostgreSQL, where no column is JSON (COPY is binary, JSON goes as text).
    """
    if not records:
        return
    names = list(records[0])
    if any(isinstance(table.c[name].type, JSON) for name in names):
        await rows.execute(_insert_sql(table, tuple(names)), *_columns(table, names, records))
        return
    await rows.copy_records_to_table(
        table.name, records=[tuple(record[name] for name in names) for record in records], columns=names
    )


def _columns(table: Table, names: Sequence[str], records: Collection[dict[str, Any]]) -> list[list[Any]]:
    return [
        [_as_text(record[name]) for record in records]
        if isinstance(table.c[name].type, JSON)
        else [record[name] for record in records]
        for name in names
    ]


def _as_text(value: object) -> str | None:
    # asyncpg would take a list inside a jsonb[] for one more dimension of the array; JSON text it cannot mistake.
    return None if value is None else msgspec.json.encode(value).decode()


@lru_cache(maxsize=512)
def _insert_sql(table: Table, names: tuple[str, ...]) -> str:
    is_json = [isinstance(table.c[name].type, JSON) for name in names]
    kinds = [
        "TEXT" if json else table.c[name].type.compile(dialect=_DIALECT)
        for name, json in zip(names, is_json, strict=True)
    ]
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(kinds, start=1))
    given = ", ".join(f"g{number}::jsonb" if json else f"g{number}" for number, json in enumerate(is_json))
    places = ", ".join(f"g{number}" for number in range(len(names)))
    columns = ", ".join(f'"{name}"' for name in names)
    return f'INSERT INTO "{table.name}" ({columns}) SELECT {given} FROM unnest({arrays}) AS g({places})'  # noqa: S608


@lru_cache(maxsize=512)
def _on_conflict(table: Table, names: tuple[str, ...]) -> str:
    keys = [column.name for column in table.primary_key.columns]
    changes = ", ".join(f'"{name}" = EXCLUDED."{name}"' for name in names if name not in keys)
    action = f"DO UPDATE SET {changes}" if changes else "DO NOTHING"
    quoted = ", ".join(f'"{key}"' for key in keys)
    return f" ON CONFLICT ({quoted}) {action}"
