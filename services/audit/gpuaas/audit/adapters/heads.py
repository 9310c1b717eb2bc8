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

_FORGET: Final = """
DELETE FROM audit_heads_v1 h USING (
    SELECT tree, max(size) AS size FROM audit_heads_v1 WHERE tree = ANY($1) AND position <= $2 GROUP BY tree
) kept WHERE h.tree = kept.tree AND h.size < kept.size"""


@dataclass(frozen=True, slots=True)
class SealedHead:
    """One signed checkpoint; `note` is the whole signed note."""

    tree: str
    size: int
    root: bytes
    position: int
    note: str


class Heads:
    """The signed heads of one log."""

    def __init__(self, database: Database, log: EventLog) -> None:
        self._database = database
        self._log = log

    async def open(self) -> None:
        """Make the table where it is missing. Raises Misconfigured when it belongs to another log."""
        await self._database.open_checkpoint("heads", (HEADS,), await self._log.incarnation())

    async def newest(self, tree: str) -> SealedHead | None:
        """The newest head of one tree; None before its first."""
        query = select(HEADS).where(HEADS.c.tree == tree).order_by(HEADS.c.size.desc()).limit(1)
        row = await self._database.fetch_one(query)
        return None if row is None else SealedHead(**dict(row))

    async def all_newest(self, up_to: int | None = None) -> dict[str, SealedHead]:
        """The newest head of every tree, as of a position of the log."""
        query = select(HEADS).ext(distinct_on(HEADS.c.tree)).order_by(HEADS.c.tree, HEADS.c.size.desc())
        if up_to is not None:
            query = query.where(HEADS.c.position <= up_to)
        return {row["tree"]: SealedHead(**dict(row)) for row in await self._database.fetch(query)}

    async def keep(self, heads: Sequence[SealedHead], sealed_to: int) -> None:
        """Store heads, all or none, and forget those of the same trees that came before the epoch up to `sealed_to`."""
        names = ("tree", "size", "root", "position", "note")
        async with self._database.writing() as rows:
            await upsert(rows, HEADS, [{name: getattr(head, name) for name in names} for head in heads])
            await rows.execute(_FORGET, [head.tree for head in heads], sealed_to)
