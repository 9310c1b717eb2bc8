"""Questions to the trees: tiles and proofs. One law: a proof is computed from tiles, for a tree that was sealed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gpuaas.audit.domain.merkle import Span, consistency_spans, inclusion_spans
from gpuaas.audit.domain.tiles import Tile, Tiles, tiles_under
from gpuaas.audit.projections.audit_trail import TILES
from gpuaas.common.tables import Database
from sqlalchemy import select, tuple_

TILES_AT_ONCE: Final = 4_000
"""Tiles fetched by one statement: 32 MB."""


async def inclusion_proofs(db: Database, tree: str, indices: Sequence[int], size: int) -> dict[int, list[bytes]]:
    """The inclusion proof of each leaf in the tree of `size` leaves."""
    tiles = await _fetched(db, tree, (span for index in indices for span in inclusion_spans(index, size)))
    return {index: tiles.inclusion(index, size) for index in indices}


async def consistency_proof(db: Database, tree: str, old: int, new: int) -> list[bytes]:
    """The consistency proof between two sizes of a tree."""
    return (await _fetched(db, tree, consistency_spans(old, new))).consistency(old, new)


async def roots_at(db: Database, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """The root that each tree had at a size (≥ 1), computed from its tiles as they stand."""
    wanted = [(tree, level, index) for tree, size in sizes.items() for level, index in tiles_under([(0, size)])]
    stored: defaultdict[str, dict[Tile, bytes]] = defaultdict(dict)
    for start in range(0, len(wanted), TILES_AT_ONCE):
        these = tuple_(TILES.c.tree, TILES.c.level, TILES.c.index).in_(wanted[start : start + TILES_AT_ONCE])
        for row in await db.fetch(select(TILES).where(these)):
            stored[row["tree"]][row["level"], row["index"]] = row["hashes"]
    return {tree: Tiles(stored[tree]).root(size) for tree, size in sizes.items()}


async def tile(db: Database, tree: str, at: Tile) -> bytes:
    """The hashes stored in one tile; empty when there are none."""
    return (await _stored(db, tree, [at])).get(at, b"")


async def _fetched(db: Database, tree: str, spans: Iterable[Span]) -> Tiles:
    return Tiles(await _stored(db, tree, sorted(tiles_under(spans))))


async def _stored(db: Database, tree: str, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
    found: dict[Tile, bytes] = {}
    for start in range(0, len(tiles), TILES_AT_ONCE):
        wanted = tuple_(TILES.c.level, TILES.c.index).in_(tiles[start : start + TILES_AT_ONCE])
        for row in await db.fetch(select(TILES).where(TILES.c.tree == tree, wanted)):
            found[row["level"], row["index"]] = row["hashes"]
    return found
