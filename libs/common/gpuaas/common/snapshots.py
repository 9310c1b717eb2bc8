"""Long histories kept folded in the service's database. One law: a snapshot is a cache; without it only time is lost.

A snapshot is believed only by the code that wrote it (a digest of the service's domain and contracts), for the log it
was folded from, and while the event it ends at still stands there. It carries the id of every event behind it, so that
a cause which spoke long ago is recognised as before.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, Generic, Protocol, TypeVar

from gpuaas.common.log import EventLog
from gpuaas.common.tables import Database, upsert
from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, Text, select

State = TypeVar("State")

_ID_BYTES: Final = 16
_META: Final = MetaData()
SNAPSHOTS: Final = Table(
    "snapshots_v1",
    _META,
    Column("subject", Text, primary_key=True),
    Column("code", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
)
SAID: Final = Table(
    "snapshots_said_v1",
    _META,
    Column("subject", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("ids", LargeBinary, nullable=False),
    Column("positions", LargeBinary, nullable=False),
)
"""Ids (16 bytes each) and positions (8 bytes each) of the events between one snapshot and the one before it."""


@dataclass(frozen=True, slots=True)
class Keep(Generic[State]):
    """How an entity's state is written down, for entities whose histories grow long.

    Attributes:
        write: state → bytes. Called before the next event is folded.
        read: what `write` gave → an equal state.
        every: events between two snapshots of one history.
    """

    write: Callable[[State], bytes]
    read: Callable[[bytes], State]
    every: int = 2_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One history up to `position`.

    Attributes:
        version: how many events are behind it.
        said: event id → position. To be saved: of the events since `since`; as loaded: of all.
        since: the version that the snapshot before this one stood at.
    """

    subject: str
    code: str
    position: int
    version: int
    state: bytes
    said: dict[str, int] = field(repr=False)
    since: int = 0


class Snapshots(Protocol):
    """Where snapshots are kept."""

    async def load(self, subject: str, code: str) -> Snapshot | None:
        """The newest one that may be believed, or None. Raises Unavailable."""
        ...

    async def save(self, snapshot: Snapshot) -> None:
        """Keep it in place of the one before. Raises Unavailable."""
        ...


class NoSnapshots:
    """For a service without a database: every history is folded from its beginning."""

    async def load(self, subject: str, code: str) -> Snapshot | None:
        return None

    async def save(self, snapshot: Snapshot) -> None:
        return None


class DatabaseSnapshots:
    """Snapshots in the service's own database."""

    def __init__(self, database: Database, log: EventLog) -> None:
        self._database = database
        self._log = log

    async def make_tables(self) -> None:
        """Create the tables where they are missing. Raises Misconfigured: they belong to another log."""
        await self._database.open_checkpoint("snapshots_v1", (SNAPSHOTS, SAID), await self._log.incarnation())

    async def load(self, subject: str, code: str) -> Snapshot | None:
        row = await self._database.fetch_one(select(SNAPSHOTS).where(SNAPSHOTS.c.subject == subject))
        if row is None or row["code"] != code:
            return None
        chunks = select(SAID).where(SAID.c.subject == subject, SAID.c.version <= row["version"])
        said: dict[str, int] = {}
        for chunk in await self._database.fetch(chunks.order_by(SAID.c.version)):
            said.update(_unpacked(chunk["ids"], chunk["positions"]))
        # A log that was taken back holds something else there; an incomplete list of ids could hide a repeat.
        last = await self._log.at(row["position"])
        if last is None or last.subject != subject:
            return None
        envelope = last.envelope()
        if said.get(envelope.id) != last.position or not (len(said) == row["version"] == envelope.version):
            return None
        return Snapshot(subject, code, row["position"], row["version"], row["state"], said)

    async def save(self, snapshot: Snapshot) -> None:
        """Keep it. Of several instances each adds the ids since its own last one; what they overlap in is the same."""
        ids, positions = _packed(snapshot.said.items())
        row = {
            "subject": snapshot.subject,
            "code": snapshot.code,
            "position": snapshot.position,
            "version": snapshot.version,
            "state": snapshot.state,
        }
        chunk = {"subject": snapshot.subject, "version": snapshot.version, "ids": ids, "positions": positions}
        async with self._database.writing() as rows:
            await upsert(rows, SNAPSHOTS, [row])
            if snapshot.since == 0:
                older = f'DELETE FROM "{SAID.name}" WHERE subject = $1 AND version <= $2'  # noqa: S608
                await rows.execute(older, snapshot.subject, snapshot.version)
            await upsert(rows, SAID, [chunk])


@cache
def code_of(service: str) -> str:
    """A digest of everything that decides what a service's events add up to: its domain and its contracts."""
    whole = hashlib.sha256()
    for package in (f"gpuaas.{service}.domain", "gpuaas.contracts"):
        try:
            root = files(package)
        except ModuleNotFoundError:
            continue
        for name, content in sorted(_sources(root, package)):
            whole.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return whole.hexdigest()


def _sources(folder: Traversable, name: str) -> Iterable[tuple[str, bytes]]:
    for each in folder.iterdir():
        if each.is_dir() and each.name != "__pycache__":
            yield from _sources(each, f"{name}/{each.name}")
        elif each.is_file():
            yield f"{name}/{each.name}", each.read_bytes()


def _packed(said: Iterable[tuple[str, int]]) -> tuple[bytes, bytes]:
    ids, positions = bytearray(), array("q")
    for event_id, position in said:
        ids += bytes.fromhex(event_id.replace("-", ""))
        positions.append(position)
    return bytes(ids), positions.tobytes()


def _unpacked(ids: bytes, positions: bytes) -> Iterable[tuple[str, int]]:
    digits = ids.hex()
    for number, position in enumerate(array("q", positions)):
        one = digits[number * 2 * _ID_BYTES :][: 2 * _ID_BYTES]
        yield f"{one[:8]}-{one[8:12]}-{one[12:16]}-{one[16:20]}-{one[20:]}", position
