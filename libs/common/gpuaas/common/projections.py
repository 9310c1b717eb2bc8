"""Read models: events folded into PostgreSQL. One law: rows and position commit together, so a crash changes nothing.

The position moves by compare-and-set in the transaction of the rows; two instances that fold the same projection
cannot both move it. An event that cannot be applied stops the projection, by name, until someone repairs the cause.
A rebuild folds from position 0 into tables beside the live ones and changes places with them in one transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import ClassVar

from gpuaas.common import tables
from gpuaas.common.envelope import Fact, Recorded
from gpuaas.common.errors import Unavailable, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.ids import new_id
from gpuaas.common.log import Batch, EventLog, Follower
from gpuaas.common.logs.chain import Delivered
from gpuaas.common.readers import Reader
from gpuaas.common.tables import LIVE, Database, Record, Rows, insert, upsert
from gpuaas.common.telemetry import SPANS_MAX, spans
from sqlalchemy import Table

__all__ = ["Database", "Fact", "Projection", "Projector", "Record", "Rows", "decoded", "digest", "insert", "upsert"]


class Projection:
    """One read model: its tables, its fold and its questions. Subclass it in one file.

    Attributes:
        answer: the question it answers, as a name: `active_allocations`.
        version: goes up when the tables or the fold change; the new one is built from position 0.
        reads: the events it folds. Its own service's events must be among them if its door answers commands with
            positions that this view is asked to have seen.
        tables: SQLAlchemy tables; names end in `_v<version>`.
        notes_holes: it reads everything and records itself what the log leaves out; others stop there.
    """

    answer: ClassVar[str]
    version: ClassVar[int]
    reads: ClassVar[tuple[type[Event], ...]]
    tables: ClassVar[tuple[Table, ...]]
    notes_holes: ClassVar[bool] = False

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        """Apply consecutive events inside the transaction that also moves the position.

        Deterministic: nothing but the events decides what is written. Table names are unqualified; the connection's
        search path says whether they are the live tables or a rebuild's.
        """
        raise NotImplementedError

    def vocabulary(self) -> Vocabulary:
        """The event types it can read; override to add upcasters."""
        return Vocabulary(*self.reads)

    def subjects(self) -> list[str]:
        """The log subjects it reads; override to read everything."""
        return self.vocabulary().subjects()

    async def fold_recorded(self, rows: Rows, events: Sequence[Recorded]) -> None:
        """Apply stored events. The default decodes those it reads and skips the rest by their type header."""
        await self.fold(rows, decoded(self.vocabulary_once(), events))

    def vocabulary_once(self) -> Vocabulary:
        known: Vocabulary | None = self.__dict__.get("_vocabulary")
        if known is None:
            known = self.__dict__["_vocabulary"] = self.vocabulary()
        return known

    @property
    def name(self) -> str:
        return f"{self.answer}_v{self.version}"


def decoded(vocabulary: Vocabulary, events: Iterable[Recorded]) -> list[Fact]:
    """The events whose type the vocabulary knows, decoded.

    The `ce-type` header only lets a reader skip; for what it takes, the payload's own type decides.

    Raises:
        Unreadable: bytes that are no event, data that its schema refuses, a header that lies, or a version that the
            vocabulary does not know of a fact that it does.
    """
    facts: list[Fact] = []
    for recorded in events:
        if recorded.type not in vocabulary and recorded.type.startswith("gpuaas."):
            if vocabulary.may_skip(recorded.type):
                continue
            raise Unreadable(
                f"position {recorded.position} on {recorded.subject}: {recorded.type} is a version that this reader "
                "does not know; deploy one that does"
            )
        envelope = recorded.envelope()
        if envelope.type not in vocabulary:
            if recorded.type == envelope.type or not recorded.type:
                continue
            raise Unreadable(f"position {recorded.position}: header says {recorded.type}, payload {envelope.type}")
        try:
            event = vocabulary.read(envelope.type, bytes(envelope.data))
        except Unreadable as broken:
            raise Unreadable(f"position {recorded.position} on {recorded.subject}: {broken.detail}") from broken
        facts.append(Fact(recorded.position, recorded.subject, envelope, event))
    return facts


class Projector(Reader):
    """Keeps one projection up to the log. Started and watched by the service."""

    def __init__(self, projection: Projection, log: EventLog, database: Database) -> None:
        super().__init__(f"projection {projection.name}", log)
        self.projection = projection
        self.notes_holes = projection.notes_holes
        self._database = database
        self._instance = new_id()

    async def make_tables(self) -> None:
        """Create the tables where they are missing."""
        await self._open()

    async def _open(self) -> int:
        return await self._database.open_checkpoint(
            self.projection.name, self.projection.tables, await self._log.incarnation(), LIVE
        )

    async def _begin(self) -> int:
        position = await self._open()
        last = await self._log.last_position()
        if position > last:
            raise Unreadable(
                f"{self.projection.name} stands at {position} but the log ends at {last}: the log was replaced or "
                "rewound. Restore it, or rebuild this projection."
            )
        return position

    def _follow(self, after: int) -> Follower:
        return self._log.follow(self.projection.subjects(), after)

    async def _apply(self, batch: Batch, after: int) -> None:
        await self._fold(LIVE, batch.events, after, batch.seen)

    async def _fold(self, place: str, events: Sequence[Recorded], after: int, seen: int) -> None:
        live = place == LIVE and len(events) <= SPANS_MAX
        with spans(f"project {self.projection.name}", map(_traceparent_in, events) if live else ()):
            await self._write(place, events, after, seen)

    async def _write(self, place: str, events: Sequence[Recorded], after: int, seen: int) -> None:
        async with self._database.writing(place) as rows:
            # First, because it locks the checkpoint: of two instances the slower one ends here, before it writes rows.
            await tables.move_checkpoint(rows, self.projection.name, after, seen, self._instance)
            if events:
                await self.projection.fold_recorded(rows, events)

    async def rebuild(self) -> int:
        """Fold everything again beside the live tables, then change places; the position it switched at.

        The live tables answer meanwhile. Raises what the fold raises, and then leaves the live tables as they were.
        """
        name = self.projection.name
        place = f"rebuild_{name}"
        self.rebuilding = 0.0
        await self._database.drop_place(place)
        await self._database.open_checkpoint(name, self.projection.tables, await self._log.incarnation(), place)
        follower = self._log.follow(self.projection.subjects(), 0)
        try:
            reached = await self._fold_again(place, follower)
        finally:
            self.rebuilding = None
            await follower.close()
        self.position = reached
        self._missed = None
        await self.begin_again()
        return reached

    async def _fold_again(self, place: str, follower: Follower) -> int:
        """Fold everything into the tables in `place` until they may take the live ones' place; where that was."""
        target = await self._log.last_position()
        seen = 0
        delivered = Delivered(0)
        async for batch in follower.batches():
            if not self.notes_holes:
                delivered.take(batch.events)
            await self._fold(place, batch.events, seen, batch.seen)
            seen = batch.seen
            self.rebuilding = min(1.0, seen / target) if target else 1.0
            if not batch.caught_up:
                continue
            reached = max(seen, await follower.settle())
            if reached >= target and await self._database.change_places(
                self.projection.name, self.projection.tables, place, LIVE, reached
            ):
                return reached
        raise Unavailable(f"{self.projection.name} was not rebuilt: its reading ended")


def _traceparent_in(recorded: Recorded) -> str | None:
    """The trace an event belongs to, as far as it can be read."""
    try:
        return recorded.envelope().traceparent
    except Unreadable:
        return None


async def digest(database: Database, projection: Projection, place: str = LIVE) -> str:
    """SHA-256 over every row of the projection's tables, by primary key: equal rows, equal digest."""
    whole = hashlib.sha256()
    for table in projection.tables:
        keys = ", ".join(f'"{column.name}"' for column in table.primary_key.columns)
        async with database.reading() as rows:
            async for row in rows.cursor(
                f'SELECT to_jsonb(t)::text AS row FROM "{place}"."{table.name}" t ORDER BY {keys}'  # noqa: S608
            ):
                whole.update(row["row"].encode() + b"\n")
    return whole.hexdigest()
