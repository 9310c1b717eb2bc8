"""Where the trail stands: its end, what grew, its gaps. One law: one snapshot, so that the counts fit each other."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from gpuaas.audit.domain.entries import shown_subject
from gpuaas.audit.projections.audit_trail import GAPS, TRAIL
from gpuaas.common.envelope import Recorded
from gpuaas.common.tables import Database
from sqlalchemy import func, select

_OWN_SUBJECTS = "events.audit.%"
_GROWN = """
SELECT t.tree, t.size, t.peaks, coalesce(signed.size, 0) AS signed_size, coalesce(signed.root, '') AS signed_root,
    coalesce(signed.position, 0) AS signed_position
FROM audit_trees_v2 t LEFT JOIN (
    SELECT DISTINCT ON (tree) tree, size, root, position FROM audit_heads_v1 ORDER BY tree, size DESC
) signed USING (tree)
WHERE signed.size IS NULL OR t.size <> signed.size ORDER BY t.tree"""


@dataclass(frozen=True, slots=True)
class GrownTree:
    """A tree that is not as large as its newest signed head (signed at `signed_position`; 0 before the first)."""

    tree: str
    size: int
    peaks: bytes
    signed_size: int
    signed_root: bytes
    signed_position: int


@dataclass(frozen=True, slots=True)
class TrailEnd:
    """The trail at one moment.

    Attributes:
        position: of its newest row; 0 when it is empty.
        leaves, gaps: events and empty positions behind the position asked about.
        has_news: one of these events is not the audit service's own.
        grown: every tree that is not as large as its newest signed head.
    """

    position: int
    leaves: int
    gaps: int
    has_news: bool
    grown: tuple[GrownTree, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """What makes two events at one position the same."""

    position: int
    subject: str
    sha256: bytes

    @classmethod
    def of(cls, recorded: Recorded) -> Compared:
        """Of an event as the log gives it now."""
        return cls(recorded.position, shown_subject(recorded.subject), sha256(recorded.payload).digest())


async def trail_end(db: Database, behind: int) -> TrailEnd:
    """Where the trail stands, and what is in it behind the position `behind`."""
    async with db.reading() as rows:
        position = await rows.fetchval("SELECT coalesce(max(position), 0) FROM audit_trail_v2")
        leaves = await rows.fetchval("SELECT count(*) FROM audit_trail_v2 WHERE position > $1", behind)
        gaps = await rows.fetchval(
            "SELECT coalesce(sum(last_position - first_position + 1), 0) FROM audit_gaps_v2 WHERE first_position > $1",
            behind,
        )
        has_news = await rows.fetchval(
            "SELECT EXISTS (SELECT FROM audit_trail_v2 WHERE position > $1 AND subject NOT LIKE $2)",
            behind,
            _OWN_SUBJECTS,
        )
        grown = await rows.fetch(_GROWN)
    return TrailEnd(position, leaves, int(gaps), has_news, tuple(GrownTree(*row.values()) for row in grown))


async def trail_position(db: Database) -> int:
    """Position of the trail's newest row; 0 when it is empty."""
    row = await db.fetch_one(select(func.max(TRAIL.c.position).label("position")))
    return (row and row["position"]) or 0


async def known_log(db: Database, reader: str) -> str | None:
    """The incarnation of the log that the trail was folded from; None before its first start."""
    async with db.reading() as rows:
        known: str | None = await rows.fetchval("SELECT incarnation FROM checkpoints WHERE reader = $1", reader)
    return known


async def first_gap(db: Database) -> int | None:
    """The first position that the log passed over without an event."""
    row = await db.fetch_one(select(func.min(GAPS.c.first_position).label("gap")))
    return None if row is None else row["gap"]


async def compared_rows(db: Database, after: int, upto: int) -> list[Compared]:
    """What the trail holds at the positions (after, upto]."""
    columns = (TRAIL.c.position, TRAIL.c.subject, TRAIL.c.payload_sha256)
    rows = await db.fetch(select(*columns).where(TRAIL.c.position > after, TRAIL.c.position <= upto))
    return sorted((Compared(*row.values()) for row in rows), key=lambda row: row.position)
