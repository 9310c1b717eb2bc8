"""The trail: a row, a leaf and the exact bytes of every event. One law: whatever stands in the log stands here.

One projection, so that rows, trees and tiles move in one transaction with the position. A tree's state is its right
edge; its hashes are kept as tlog-tiles, one row a tile, which only grow.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, NamedTuple

from gpuaas.audit.domain.entries import Entry, Header, entry_of, read_header, tree_of
from gpuaas.audit.domain.merkle import HASH_BYTES, Frontier, grown
from gpuaas.audit.domain.outcomes import outcome_of
from gpuaas.audit.domain.tiles import tile_rows
from gpuaas.common.envelope import Recorded
from gpuaas.common.errors import Unreadable
from gpuaas.common.events import Event
from gpuaas.common.projections import Database, Projection, Rows, insert, upsert
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]
_META = MetaData()

TRAIL = Table(
    "audit_trail_v2",
    _META,
    Column("position", BigInteger, primary_key=True),
    Column("tree", Text, nullable=False),
    Column("leaf_index", BigInteger, nullable=False),
    Column("subject", Text, nullable=False),
    Column("type", Text),
    Column("event_id", Text),
    Column("time", Text),
    Column("happened_at", DateTime(timezone=True)),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("actor", Text),
    Column("actor_kind", Text),
    Column("on_behalf_of", Text),
    Column("project_id", Text),
    Column("correlation_id", Text),
    Column("causation_id", Text),
    Column("outcome", Text, nullable=False),
    Column("sealed_by", Text),
    Column("payload_sha256", LargeBinary, nullable=False),
    Column("payload_bytes", Integer, nullable=False),
    Index("audit_trail_v2_leaf", "tree", "leaf_index", unique=True),
    Index("audit_trail_v2_type", "tree", "type", "leaf_index"),
    Index("audit_trail_v2_subject", "subject", "position"),
    Index("audit_trail_v2_tree_actor", "tree", "actor", "leaf_index"),
    Index("audit_trail_v2_actor", "actor", "position"),
    Index("audit_trail_v2_every_type", "type", "position"),
    Index("audit_trail_v2_correlation", "correlation_id", "position"),
    Index("audit_trail_v2_sealed_by", "sealed_by", postgresql_where=text("sealed_by IS NOT NULL")),
    Index("audit_trail_v2_failures", "tree", "leaf_index", postgresql_where=text("outcome <> 'success'")),
)
"""`tree` is a tenant's id or `platform`; `subject`, `type`, `event_id`, `time` and `payload_sha256` are the leaf's
entry, so a leaf can be written again from its row. Columns are null where the bytes are no readable event. `sealed_by`
names the key that opens the event's personal data."""

PAYLOADS = Table(
    "audit_payloads_v2",
    _META,
    Column("position", BigInteger, primary_key=True),
    Column("payload", LargeBinary, nullable=False),
)
"""The bytes as they were stored: what a divergence is held against, and what a log can be restored from."""

TREES = Table(
    "audit_trees_v2",
    _META,
    Column("tree", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("peaks", LargeBinary, nullable=False),
    Column("last_position", BigInteger, nullable=False),
)

TILES = Table(
    "audit_tiles_v2",
    _META,
    Column("tree", Text, primary_key=True),
    Column("level", SmallInteger, primary_key=True),
    Column("index", BigInteger, primary_key=True),
    Column("width", SmallInteger, nullable=False),
    Column("hashes", LargeBinary, nullable=False),
)

GAPS = Table(
    "audit_gaps_v2",
    _META,
    Column("first_position", BigInteger, primary_key=True),
    Column("last_position", BigInteger, nullable=False),
)
"""Positions that the log passed over without an event."""

_GROW_TILES = """
INSERT INTO audit_tiles_v2 AS kept (tree, level, index, width, hashes)
SELECT * FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::smallint[], $5::bytea[])
ON CONFLICT (tree, level, index) DO UPDATE SET width = EXCLUDED.width, hashes = kept.hashes || EXCLUDED.hashes
WHERE kept.width * 32 + length(EXCLUDED.hashes) = EXCLUDED.width * 32"""


YIELD_AFTER: Final = 64
"""Events after which the database's answers are looked at."""


class _Leaf(NamedTuple):
    """One event on its way into the trail."""

    recorded: Recorded
    header: Header
    entry: Entry


class AuditTrail(Projection):
    """Reads everything, decodes nothing it does not have to, and refuses nothing."""

    answer = "audit_trail"
    version = 2
    reads: ClassVar[tuple[type[Event], ...]] = ()
    tables = (TRAIL, PAYLOADS, TREES, TILES, GAPS)
    notes_holes = True

    def subjects(self) -> list[str]:
        return ["events.>"]

    async def fold_recorded(self, rows: Rows, events: Sequence[Recorded]) -> None:
        if not events:
            return
        await self._note_gaps(rows, events)
        payloads = [(each.position, each.payload) for each in events]
        # While the database takes one table, the next one's rows are made: each has a processor of its own.
        async with asyncio.TaskGroup() as beside:
            beside.create_task(
                rows.copy_records_to_table(PAYLOADS.name, records=payloads, columns=PAYLOADS.columns.keys())
            )
            by_tree = await _by_tree(events)
        known = await rows.fetch("SELECT tree, size, peaks FROM audit_trees_v2 WHERE tree = ANY($1)", list(by_tree))
        edges = {row["tree"]: Frontier.decode(row["size"], row["peaks"]) for row in known}
        trail: list[tuple[Any, ...]] = []
        for tree, leaves in by_tree.items():
            start = edges[tree].size if tree in edges else 0
            trail += [_row(tree, start + number, leaf) for number, leaf in enumerate(leaves)]
        # In the order of the log, so that the index that everything else hangs on grows at its end.
        trail.sort()
        async with asyncio.TaskGroup() as beside:
            beside.create_task(rows.copy_records_to_table(TRAIL.name, records=trail, columns=TRAIL.columns.keys()))
            trees, tiles = await _grown(by_tree, edges)
        await upsert(rows, TREES, trees)
        await _grow_tiles(rows, tiles)

    async def _note_gaps(self, rows: Rows, events: Sequence[Recorded]) -> None:
        """Positions between the events, and between them and the trail's end, that hold nothing."""
        before = await rows.fetchval("SELECT max(position) FROM audit_trail_v2") or 0
        gaps: list[dict[str, Any]] = []
        for recorded in events:
            if recorded.position > before + 1:
                gaps.append({"first_position": before + 1, "last_position": recorded.position - 1})
            before = recorded.position
        await insert(rows, GAPS, gaps)


async def _by_tree(events: Sequence[Recorded]) -> dict[str, list[_Leaf]]:
    found: defaultdict[str, list[_Leaf]] = defaultdict(list)
    for number, recorded in enumerate(events):
        if number % YIELD_AFTER == 0:
            await asyncio.sleep(0)
        header = read_header(recorded.payload)
        leaf = _Leaf(recorded, header, entry_of(recorded.position, recorded.subject, header, recorded.payload))
        found[tree_of(recorded.subject)].append(leaf)
    return found


async def _grown(
    by_tree: Mapping[str, list[_Leaf]], edges: Mapping[str, Frontier]
) -> tuple[list[dict[str, Any]], list[tuple[str, int, int, int, bytes]]]:
    """The trees' new edges, and what is appended to their tiles."""
    trees: list[dict[str, Any]] = []
    tiles: list[tuple[str, int, int, int, bytes]] = []
    for tree, leaves in by_tree.items():
        await asyncio.sleep(0)
        edge = edges.get(tree, Frontier())
        growth = grown(edge, (leaf.entry.hash() for leaf in leaves))
        trees.append(_tree_row(tree, growth.frontier, leaves[-1].recorded.position))
        tiles += [
            (tree, part.level, part.index, part.start + len(part.hashes) // HASH_BYTES, part.hashes)
            for part in tile_rows(edge, growth)
        ]
    return trees, tiles


async def make_indexes(db: Database, timeout_s: float | None = None) -> None:
    """Make the indexes that tables of an earlier day do not have yet; `timeout_s` bounds each."""
    async with db.writing() as rows:
        for index in sorted(TRAIL.indexes, key=lambda index: str(index.name)):
            made = str(CreateIndex(index, if_not_exists=True).compile(dialect=_DIALECT))
            await rows.execute(made, timeout=timeout_s)


async def _grow_tiles(rows: Rows, tiles: list[tuple[str, int, int, int, bytes]]) -> None:
    """Append to tiles; a tile whose width is not the expected one means that the tree's tables disagree."""
    done = await rows.execute(_GROW_TILES, *(list(column) for column in zip(*tiles, strict=True)))
    if done != f"INSERT 0 {len(tiles)}":
        raise Unreadable(f"{len(tiles)} tiles were to grow and the tables say {done}: rebuild the trail")


def _row(tree: str, leaf_index: int, leaf: _Leaf) -> tuple[Any, ...]:
    """The row of one event, in the order of the table's columns."""
    header, entry, recorded = leaf.header, leaf.entry, leaf.recorded
    return (
        recorded.position,
        tree,
        leaf_index,
        entry.subject,
        header.type,
        header.id,
        header.time,
        _moment(header.time),
        recorded.recorded_at,
        header.actor,
        header.actorkind,
        header.onbehalfof,
        header.projectid,
        header.correlationid,
        header.causationid,
        outcome_of(header.type),
        header.sealedby,
        entry.sha256,
        len(recorded.payload),
    )


def _tree_row(tree: str, edge: Frontier, last_position: int) -> dict[str, Any]:
    return {"tree": tree, "size": edge.size, "peaks": edge.encode(), "last_position": last_position}


def _moment(text: str | None) -> datetime | None:
    """When it happened, for searching; None where the text is no time with a zone."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is UTC:
            return moment
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
