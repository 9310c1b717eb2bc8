"""The signed heads of all trees. One law: of one tree the newest counts; what is lost is signed again, word for word.

Not a read model, for signing needs the key. Of each tree, the heads before the one that the newest epoch commits to are
forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gpuaas.common.log import EventLog
from gpuaas.common.tables import Database, upsert
from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, Text, select
from sqlalchemy.dialects.postgresql import distinct_on

HEADS: Final = Table(
    "audit_heads_v1",
    MetaData(),
    Column("tree", Text, primary_key=True),
    Column("size", BigInteger, primary_key=True),
    Column("root", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
)
"""`position` is the log position the tree was complete to when it was signed."""

COSIGNATURES: Final = Table(
    "audit_cosignatures_v1",
    HEADS.metadata,
    Column("tree", Text, primary_key=True),
    Column("witness", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("line", Text, nullable=False),
)
"""The newest cosignature of each witness for each tree; `line` is empty where a size is all that is known."""

_NEWEST: Final = """
SELECT h.tree, h.size, h.root, h.position, h.note, coalesce((
    SELECT string_agg(c.line, '' ORDER BY c.witness) FROM audit_cosignatures_v1 c
    WHERE c.tree = h.tree AND c.size = h.size
), '') AS cosignatures
FROM audit_heads_v1 h WHERE h.tree = $1 ORDER BY h.size DESC LIMIT 1"""

_LAGGING: Final = """
SELECT h.tree, h.size, h.root, h.position, h.note FROM (
    SELECT DISTINCT ON (tree) * FROM audit_heads_v1 ORDER BY tree, size DESC
) h LEFT JOIN audit_cosignatures_v1 c ON c.tree = h.tree AND c.witness = $1
WHERE c.size IS NULL OR c.size <> h.size OR c.line = '' ORDER BY h.tree LIMIT $2"""

_FORGET: Final = """
DELETE FROM audit_heads_v1 h USING (
    SELECT tree, max(size) AS size FROM audit_heads_v1 WHERE tree = ANY($1) AND position <= $2 GROUP BY tree
) kept WHERE h.tree = kept.tree AND h.size < kept.size"""


@dataclass(frozen=True, slots=True)
class SealedHead:
    """One signed checkpoint; `note` is the whole signed note, `cosignatures` the lines that witnesses added to it."""

    tree: str
    size: int
    root: bytes
    position: int
    note: str
    cosignatures: str = ""

    @property
    def cosigned(self) -> str:
        """The note as it is given out."""
        return self.note + self.cosignatures


@dataclass(frozen=True, slots=True)
class Cosigned:
    """What one witness said: (tree, size, line) of each head."""

    witness: str
    lines: tuple[tuple[str, int, str], ...]


class Heads:
    """The signed heads of one log."""

    def __init__(self, database: Database, log: EventLog) -> None:
        self._database = database
        self._log = log

    async def open(self) -> None:
        """Make the table where it is missing. Raises Misconfigured when it belongs to another log."""
        incarnation = await self._log.incarnation()
        await self._database.open_checkpoint("heads", (HEADS,), incarnation)
        await self._database.open_checkpoint("cosignatures", (COSIGNATURES,), incarnation)

    async def newest(self, tree: str) -> SealedHead | None:
        """The newest head of one tree; None before its first."""
        async with self._database.reading() as rows:
            row = await rows.fetchrow(_NEWEST, tree)
        return None if row is None else SealedHead(**dict(row))

    async def all_newest(self, up_to: int | None = None) -> dict[str, SealedHead]:
        """The newest head of every tree, as of a position of the log."""
        query = select(HEADS).ext(distinct_on(HEADS.c.tree)).order_by(HEADS.c.tree, HEADS.c.size.desc())
        if up_to is not None:
            query = query.where(HEADS.c.position <= up_to)
        return {row["tree"]: SealedHead(**dict(row)) for row in await self._database.fetch(query)}

    async def lagging(self, witness: str, limit: int) -> list[SealedHead]:
        """Newest heads that this witness has not cosigned."""
        async with self._database.reading() as rows:
            return [SealedHead(**dict(row)) for row in await rows.fetch(_LAGGING, witness, limit)]

    async def witnessed(self, witness: str, trees: Sequence[str]) -> dict[str, int]:
        """The size of each tree that this witness cosigned last."""
        query = select(COSIGNATURES).where(COSIGNATURES.c.witness == witness, COSIGNATURES.c.tree.in_(list(trees)))
        return {row["tree"]: row["size"] for row in await self._database.fetch(query)}

    async def keep_cosignatures(self, *cosigned: Cosigned) -> None:
        """Store what witnesses said of heads that are kept already."""
        async with self._database.writing() as rows:
            await upsert(rows, COSIGNATURES, _lines(cosigned))

    async def keep(self, heads: Sequence[SealedHead], cosigned: Sequence[Cosigned], sealed_to: int) -> None:
        """Store heads with their cosignatures, all or none: a witness's newest cosignature takes the place of its last,
        so kept first it would leave the head before without any. Those of the same trees that came before the epoch up
        to `sealed_to` are forgotten.
        """
        names = ("tree", "size", "root", "position", "note")
        async with self._database.writing() as rows:
            await upsert(rows, HEADS, [{name: getattr(head, name) for name in names} for head in heads])
            await upsert(rows, COSIGNATURES, _lines(cosigned))
            await rows.execute(_FORGET, [head.tree for head in heads], sealed_to)


def _lines(cosigned: Sequence[Cosigned]) -> list[dict[str, object]]:
    return [
        {"tree": tree, "witness": each.witness, "size": size, "line": line}
        for each in cosigned
        for tree, size, line in each.lines
    ]
